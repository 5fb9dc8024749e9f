#include "base/file.h"
#include "base/mount.h"
#include "runtime/cgroup/cgroup_internal.h"
#include "runtime/cgroup/systemd_bus.h"
#include "runtime/cgroup/tree.h"
#include <linux/mount.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define PATH_MAX_BYTES 4096
#define NOTES_MAX_BYTES (1 << 20)
#define RETRY_FIRST_MS 1
#define RETRY_MOST_MS 50
#define SELF_EMPTY_MS 100
#define MAKE_TRIES 3
#define SLICE_STOP_MS 2000

/* --- notes: the parents that we made --- */

static struct error *notes_read(struct cgroups *c)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes;
        if (!c->notes_path)
                return NULL;
        struct error *e = file_read(AT_FDCWD, c->notes_path, NOTES_MAX_BYTES, &text, &len_bytes);
        if (e && error_errnum_of(e) == ENOENT) {
                error_free(e);
                return NULL;
        }
        TRY(e);
        char *rest = text;
        for (char *line; (line = strsep(&rest, "\n"));) {
                if (!*line)
                        continue;
                c->notes = grow_array(c->notes, c->n_notes + 1, sizeof(*c->notes));
                c->notes[c->n_notes++] = dup_string(line);
        }
        return NULL;
}

static struct error *notes_write(struct cgroups *c)
{
        _cleanup_(buf_done) struct buf text;
        buf_init(&text, NOTES_MAX_BYTES);
        if (!c->notes_path)
                return NULL;
        for (size_t i = 0; i < c->n_notes; i++)
                TRY(buf_append_format(&text, "%s\n", c->notes[i]));
        return file_replace(AT_FDCWD, c->notes_path, text.bytes ? text.bytes : "", text.len_bytes, 0600,
                            false);
}

size_t note_find(const struct cgroups *c, const char *path)
{
        for (size_t i = 0; i < c->n_notes; i++)
                if (strcmp(c->notes[i], path) == 0)
                        return i;
        return SIZE_MAX;
}

struct error *note_add(struct cgroups *c, const char *path)
{
        if (note_find(c, path) != SIZE_MAX)
                return NULL;
        c->notes = grow_array(c->notes, c->n_notes + 1, sizeof(*c->notes));
        c->notes[c->n_notes++] = dup_string(path);
        return notes_write(c);
}

struct error *note_drop(struct cgroups *c, size_t i)
{
        free(c->notes[i]);
        c->notes[i] = c->notes[--c->n_notes];
        return notes_write(c);
}

/* --- making --- */

struct error *cgroup_path_check(const char *path, const char **out)
{
        bool bad = !path || path[0] != '/' || !path[1] || strlen(path) >= PATH_MAX_BYTES / 2;
        for (const char *at = path; !bad && at && *at;) {
                at++;
                size_t len_bytes = strcspn(at, "/");
                bad = len_bytes == 0 || (len_bytes <= 2 && strspn(at, ".") == len_bytes);
                at += len_bytes;
        }
        if (bad)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a cgroup path", path ? path : "");
        *out = path + 1;
        return NULL;
}

/* Makes one level in the hierarchies of its kind. *made tells whether it was missing in all: what kubelet made in some is
 * kubelet's to remove. */
static struct error *level_make(struct cgroups *c, const char *path, enum cgroup_kind kind, bool *made)
{
        *made = true;
        if (c->driver->announce && kind == CGROUP_CONTAINER)
                c->driver->announce(c, path);
        for (size_t i = 0; i < c->n; i++) {
                if (kind == CGROUP_SANDBOX && !c->hierarchies[i].has_sandboxes)
                        continue;
                if (mkdirat(c->hierarchies[i].fd, path, 0755) == 0)
                        continue;
                *made = false;
                if (errno != EEXIST)
                        return error_errno(errno, "make %s/%s", c->hierarchies[i].mount, path);
        }
        return kind == CGROUP_SANDBOX && !cgroups_is_v2(c) ? NULL : c->driver->prepare(c, path);
}

static bool level_exists(const struct cgroups *c, const char *path)
{
        for (size_t i = 0; i < c->n; i++)
                if (faccessat(c->hierarchies[i].fd, path, F_OK, 0) == 0)
                        return true;
        return false;
}

/* Whether a container's is there in every hierarchy. */
static bool level_is_whole(const struct cgroups *c, const char *path)
{
        for (size_t i = 0; i < c->n; i++)
                if (faccessat(c->hierarchies[i].fd, path, F_OK, 0) < 0)
                        return false;
        return true;
}

/* Noted before it is made: a kill between its hierarchies must not leave what nobody removes. Should kubelet have been
 * faster in one of them, it is kubelet's. */
static struct error *parent_make(struct cgroups *c, const char *path)
{
        bool made, missing = !level_exists(c, path);
        if (missing)
                TRY_WRAP(note_add(c, path), "note cgroup %s", path);
        TRY(level_make(c, path, CGROUP_CONTAINER, &made));
        size_t note = missing && !made ? note_find(c, path) : SIZE_MAX;
        return note == SIZE_MAX ? NULL : note_drop(c, note);
}

/* Parents have all that a container's cgroup has. */
static struct error *parents_make(struct cgroups *c, const char *path)
{
        _cleanup_(freep) char *part = dup_string(path);
        for (char *slash = part; (slash = strchr(slash, '/')); slash++) {
                *slash = '\0';
                TRY(parent_make(c, part));
                *slash = '/';
        }
        return NULL;
}

static struct error *levels_make(struct cgroups *c, const char *path, enum cgroup_kind kind)
{
        bool made;
        if (!scope_of(path, NULL)) /* which only systemd makes */
                TRY(parents_make(c, path));
        return level_make(c, path, kind, &made);
}

static struct error *limits_set(struct cgroups *c, const char *below, const struct cgroup_limits *limits,
                                bool in_use)
{
        _cleanup_(settings_done) struct settings settings = { 0 };
        TRY(c->driver->limits(c, below, limits, in_use, &settings));
        return settings_apply(&settings, below, in_use);
}

struct error *cgroup_make(struct cgroups *c, const char *path, enum cgroup_kind kind,
                          const struct cgroup_limits *limits)
{
        const char *below;
        struct error *e = NULL;
        TRY(cgroup_path_check(path, &below));
        bool in_scope = scope_of(below, NULL);
        if (in_scope && kind == CGROUP_SANDBOX)
                return NULL; /* cgroup_adopt's */
        /* Its parents are nearly always there: kubelet's, or ours from the pod before. kubelet may remove an empty parent at
         * the very moment: then once more from the top. v2 has one hierarchy, whose levels hand controllers down. */
        for (int i = cgroups_is_v2(c) ? 1 : 0; i <= MAKE_TRIES; i++) {
                bool made;
                error_free(e);
                (void) pthread_mutex_lock(&c->lock);
                e = i == 0 ? level_make(c, below, kind, &made) : levels_make(c, below, kind);
                (void) pthread_mutex_unlock(&c->lock);
                if (!e || in_scope || error_errnum_of(e) != ENOENT)
                        break;
        }
        if (e && in_scope && error_errnum_of(e) == ENOENT)
                return error_as(error_wrap(e, "the pod's scope is gone"), ERROR_FAILED_PRECONDITION);
        TRY(e);
        if (limits)
                TRY_WRAP(limits_set(c, below, limits, false), "limits of cgroup %s", path);
        return NULL;
}

/* Somebody may have removed it behind our back. */
static struct error *or_gone(const struct cgroups *c, const char *below, struct error *e)
{
        if (!e || error_errnum_of(e) != ENOENT || level_is_whole(c, below))
                return e;
        return error_as(error_wrap(e, "the cgroup is gone"), ERROR_FAILED_PRECONDITION);
}

struct error *cgroup_update(struct cgroups *c, const char *path, const struct cgroup_limits *limits)
{
        const char *below;
        TRY(cgroup_path_check(path, &below));
        struct error *e = level_is_whole(c, below) ? limits_set(c, below, limits, true)
                                                   : error_errno(ENOENT, "open it");
        TRY_WRAP(or_gone(c, below, e), "limits of cgroup %s", path);
        return NULL;
}

struct error *cgroup_devices(struct cgroups *c, const char *path, const struct device_rule *rules,
                             size_t n_rules, bool allow_all)
{
        const char *below;
        TRY(cgroup_path_check(path, &below));
        TRY_WRAP(c->driver->devices(c, below, rules, n_rules, allow_all), "devices of cgroup %s", path);
        return NULL;
}

static struct error *entry_open(struct cgroups *c, const char *below, enum cgroup_kind kind,
                                struct cgroup_entry *out)
{
        struct error *e = c->driver->entry(c, below, kind, out);
        if (e)
                cgroup_entry_done(out);
        return e;
}

struct error *cgroup_entry_open(struct cgroups *c, const char *path, enum cgroup_kind kind,
                                struct cgroup_entry *out)
{
        const char *below;
        struct cgroup_entry entry = { .n = 0 };
        TRY(cgroup_path_check(path, &below));
        struct error *e = entry_open(c, below, kind, &entry);
        if (e && error_errnum_of(e) == ENOENT && kind == CGROUP_SANDBOX) {
                /* The parent is not there in a hierarchy where the cgroup itself has no directory. */
                error_free(e);
                (void) pthread_mutex_lock(&c->lock);
                e = parents_make(c, below);
                (void) pthread_mutex_unlock(&c->lock);
                if (!e)
                        e = entry_open(c, below, kind, &entry);
        }
        if (!e)
                *out = entry;
        return kind == CGROUP_CONTAINER ? or_gone(c, below, e) : e;
}

void cgroup_entry_done(struct cgroup_entry *entry)
{
        for (size_t i = 0; i < entry->n; i++)
                closep(&entry->fds[i]);
        entry->n = 0;
}

struct error *cgroup_oom_open(struct cgroups *c, const char *path, int *out_fd)
{
        const char *below;
        const struct hierarchy *h = hierarchy_of(c, c->driver->oom_controller);
        TRY(cgroup_path_check(path, &below));
        if (!h)
                return error_new(ERROR_FAILED_PRECONDITION, "this host has no cgroup controller memory");
        return cgroup_open(h, below, c->driver->oom_file, O_RDONLY, out_fd);
}

struct error *cgroup_oom_event(struct cgroups *c, const char *path, int oom_fd, int *out_fd)
{
        const char *below;
        TRY(cgroup_path_check(path, &below));
        _cleanup_(closep) int fd =
                cgroups_is_v2(c) ? fcntl(oom_fd, F_DUPFD_CLOEXEC, 3) : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
                return error_errno(errno, "out-of-memory event");
        if (!cgroups_is_v2(c)) {
                char text[32];
                (void) snprintf(text, sizeof(text), "%d %d", fd, oom_fd);
                TRY(cgroup_put(hierarchy_of(c, "memory"), below, "cgroup.event_control", text));
        }
        *out_fd = TAKE_FD(fd);
        return NULL;
}

struct error *cgroup_tree_open(struct cgroups *c, const char *path, int *out_fd)
{
        const char *below;
        TRY(cgroup_path_check(path, &below));
        return cgroup_open(&c->hierarchies[0], below, "", O_RDONLY | O_DIRECTORY, out_fd);
}

static struct error *view_add(const struct hierarchy *h, const char *below, bool readonly,
                              struct cgroup_views *views)
{
        struct cgroup_view *view = &views->views[views->n];
        const char *name = strrchr(h->mount, '/');
        TRY(mount_clone(h->fd, *below ? below : ".", false, &view->fd));
        views->n++;
        (void) snprintf(view->name, sizeof(view->name), "%s", name ? name + 1 : h->mount);
        uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        return mount_attributes(view->fd, safe | (readonly ? MOUNT_ATTR_RDONLY : 0U), 0, MS_PRIVATE, false);
}

struct error *cgroup_views_open(struct cgroups *c, const char *path, bool whole, bool readonly,
                                struct cgroup_views *out)
{
        const char *below;
        struct cgroup_views views = { .n = 0 };
        struct error *e = NULL;
        TRY(cgroup_path_check(path, &below));
        if (cgroups_is_v2(c) && whole) {
                e = view_add(&c->hierarchies[0], "", readonly, &views);
                views.views[0].name[0] = '\0';
        }
        for (size_t i = 0; !cgroups_is_v2(c) && !e && i < c->n; i++)
                e = view_add(&c->hierarchies[i], below, readonly, &views);
        if (e)
                cgroup_views_done(&views);
        else
                *out = views;
        return e;
}

void cgroup_views_done(struct cgroup_views *views)
{
        for (size_t i = 0; i < views->n; i++)
                closep(&views->views[i].fd);
        views->n = 0;
}

/* --- the end --- */

/* The directory of the hierarchy that holds trees; *fd is -1 where there is none. */
static struct error *tree_open(struct cgroups *c, const char *path, int *fd)
{
        const char *below;
        TRY(cgroup_path_check(path, &below));
        struct error *e = cgroup_open(&c->hierarchies[0], below, "", O_RDONLY | O_DIRECTORY, fd);
        if (!e || error_errnum_of(e) != ENOENT)
                return e;
        error_free(e);
        *fd = -1;
        return NULL;
}

struct error *cgroup_kill(struct cgroups *c, const char *path)
{
        _cleanup_(closep) int fd = -1;
        TRY(tree_open(c, path, &fd));
        tree_kill(fd, cgroups_is_v2(c));
        return NULL;
}

struct error *cgroup_freeze(struct cgroups *c, const char *path, bool frozen)
{
        _cleanup_(closep) int fd = -1;
        TRY(tree_open(c, path, &fd));
        if (fd < 0 || tree_freeze(fd, cgroups_is_v2(c), frozen) == 0)
                return NULL;
        return error_as(error_errno(errno, "%s %s", frozen ? "freeze" : "thaw", path),
                        ERROR_FAILED_PRECONDITION);
}

/* v1 has no event for "empty", and v2's would have to be asked for before: so rmdir is tried again, at growing
 * intervals. */
struct error *level_remove(const struct hierarchy *h, const char *path, const struct wait *wait)
{
        int64_t delay_ms = RETRY_FIRST_MS;
        while (tree_remove(h->fd, path) < 0) {
                if (errno != EBUSY && errno != ENOTEMPTY)
                        return error_errno(errno, "remove %s/%s", h->mount, path);
                TRY_WRAP(wait_delay(wait, delay_ms, "a process is still in it"), "remove %s/%s", h->mount,
                         path);
                delay_ms = delay_ms * 2 < RETRY_MOST_MS ? delay_ms * 2 : RETRY_MOST_MS;
        }
        return NULL;
}

/* One level of parents, in all hierarchies; *gone says whether it had no other child. Where the first has let it go, none
 * of the others has a child either, but a process of the sandbox may be in one for another moment of its end. A stranger
 * that stays in one keeps it, and the note of it, until the next child's removal. */
static struct error *parent_remove(struct cgroups *c, const char *path, const struct wait *wait, bool *gone)
{
        *gone = unlinkat(c->hierarchies[0].fd, path, AT_REMOVEDIR) == 0 || errno == ENOENT;
        for (size_t i = 1; *gone && i < c->n; i++) {
                struct wait moment = wait_within(wait, SELF_EMPTY_MS);
                struct error *e = level_remove(&c->hierarchies[i], path, &moment);
                *gone = !e;
                if (e && error_code_of(e) != ERROR_DEADLINE_EXCEEDED)
                        return e;
                error_ignore(e);
        }
        return NULL;
}

/* Parents that we made go with their last child; the first that is in use ends it. */
static struct error *parents_remove(struct cgroups *c, const char *path, const struct wait *wait)
{
        _cleanup_(freep) char *part = dup_string(path);
        for (char *slash; (slash = strrchr(part, '/'));) {
                bool gone = false;
                *slash = '\0';
                size_t note = note_find(c, part);
                if (note == SIZE_MAX)
                        return NULL;
                TRY(parent_remove(c, part, wait, &gone));
                if (!gone)
                        return NULL;
                TRY_WRAP(note_drop(c, note), "note cgroups");
        }
        return NULL;
}

static bool is_slice_of_systemd(const struct cgroups *c, const char *path)
{
        size_t len_bytes = strlen(path);
        return cgroups_is_v2(c) && len_bytes > 6 && strcmp(path + len_bytes - 6, ".slice") == 0 &&
               systemd_has_socket();
}

/* Whether the parent is gone, and its note. The next removal tries too. */
static bool note_sweep(struct cgroups *c, size_t i)
{
        bool gone = false;
        if (is_slice_of_systemd(c, c->notes[i])) {
                _cleanup_(freep) char *path = dup_string(c->notes[i]);
                struct wait moment = wait_of_ms(SLICE_STOP_MS);
                error_ignore(slices_stop(c, path, &moment));
                return note_find(c, path) == SIZE_MAX;
        }
        struct wait moment = wait_of_ms(SELF_EMPTY_MS);
        error_ignore(parent_remove(c, c->notes[i], &moment, &gone));
        if (gone)
                error_ignore(note_drop(c, i)); /* a note of nothing harms nobody */
        return gone;
}

/* What an earlier process noted and did not come to use, or could not remove. A parent may go after its children. */
static void notes_sweep(struct cgroups *c)
{
        for (bool any = true; any;) {
                any = false;
                for (size_t i = 0; i < c->n_notes && !any; i++)
                        any = note_sweep(c, i);
        }
}

struct error *cgroup_remove(struct cgroups *c, const char *path, const struct wait *wait)
{
        const char *below;
        _cleanup_(scope_names_done) struct scope_names names = { .unit = NULL };
        TRY(cgroup_path_check(path, &below));
        if (scope_of(below, &names) && names.is_leaf)
                return scope_remove(c, &names, wait);
        /* The last processes go by themselves in a moment; what does not, left frozen by a killer that was killed, say, is
         * killed here: a cgroup that is removed has no owner any more. */
        struct wait moment = wait_within(wait, SELF_EMPTY_MS);
        struct error *slow = level_remove(&c->hierarchies[0], below, &moment);
        if (slow && (error_code_of(slow) != ERROR_DEADLINE_EXCEEDED || wait_left_ms(wait) == 0))
                return slow;
        if (slow)
                TRY(cgroup_kill(c, path));
        error_free(slow);
        for (size_t i = 0; i < c->n; i++)
                TRY(level_remove(&c->hierarchies[i], below, wait));
        (void) pthread_mutex_lock(&c->lock);
        struct error *e = parents_remove(c, below, wait);
        (void) pthread_mutex_unlock(&c->lock);
        return e;
}

struct error *cgroup_stats(struct cgroups *c, const char *path, struct cgroup_stats *out)
{
        const char *below;
        struct cgroup_stats stats = { .memory_limit_bytes = CGROUP_NO_LIMIT,
                                      .swap_limit_bytes = CGROUP_NO_LIMIT };
        TRY(cgroup_path_check(path, &below));
        TRY(c->driver->stats(c, below, &stats));
        *out = stats;
        return NULL;
}

/* --- the whole --- */

void cgroups_free(struct cgroups *c)
{
        if (!c)
                return;
        for (size_t i = 0; i < c->n; i++) {
                free(c->hierarchies[i].mount);
                free(c->hierarchies[i].controllers);
                closep(&c->hierarchies[i].fd);
        }
        for (size_t i = 0; i < c->n_notes; i++)
                free(c->notes[i]);
        free(c->notes);
        free(c->slices_used);
        systemd_free(c->systemd);
        free(c->mount_root);
        free(c->notes_path);
        (void) pthread_mutex_destroy(&c->lock);
        free(c);
}

struct error *cgroups_open(const char *mount_root, const char *notes_path, struct cgroups **out)
{
        _cleanup_(cgroups_freep) struct cgroups *c = NEW(struct cgroups);
        (void) pthread_mutex_init(&c->lock, NULL);
        c->mount_root = dup_string(mount_root);
        c->notes_path = dup_string(notes_path);
        TRY(hierarchies_find(c, true));
        c->driver = &cgroup_v2_driver;
        if (c->n == 0) {
                c->driver = &cgroup_v1_driver;
                TRY(hierarchies_find(c, false));
        }
        if (c->n == 0)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "no cgroup hierarchy is mounted below %s: mount cgroup2 there", mount_root);
        TRY_WRAP(notes_read(c), "read %s", c->notes_path);
        notes_sweep(c);
        *out = TAKE(c);
        return NULL;
}
