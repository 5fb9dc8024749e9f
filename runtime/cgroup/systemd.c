/* A pod's scope and the slices that it is in: made by systemd, ended by systemd. What is in a scope is v2's as everywhere. */
#include "runtime/cgroup/cgroup_internal.h"
#include "runtime/cgroup/systemd_bus.h"
#include "runtime/cgroup/tree.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ABANDON_MS 5000
#define PATIENCE_MS 5000 /* a daemon-reexec takes some tenths of a second */
#define RETRY_FIRST_MS 10
#define RETRY_MOST_MS 200
#define OWNER_XATTR "trusted.skiff.notes"
#define TEXT_BYTES 4096

/* --- which driver --- */

static struct error *systemd_of(struct cgroups *c, struct systemd **out)
{
        struct error *e = NULL;
        (void) pthread_mutex_lock(&c->lock);
        if (!c->systemd)
                e = systemd_open(&c->systemd);
        *out = c->systemd;
        (void) pthread_mutex_unlock(&c->lock);
        return e;
}

struct error *cgroups_choose(struct cgroups *c, const char *driver)
{
        struct systemd *systemd;
        bool wanted = strcmp(driver, "systemd") == 0, can = cgroups_is_v2(c) && systemd_is_pid_1();
        c->by_systemd = false;
        if (wanted && !cgroups_is_v2(c))
                return error_new(
                        ERROR_FAILED_PRECONDITION,
                        "cgroup_driver: the systemd driver is for cgroup v2, and this host has v1: use"
                        " cgroupfs, in kubelet's configuration too");
        if (wanted && !can)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "cgroup_driver: systemd is not this host's init: use cgroupfs, in kubelet's"
                                 " configuration too");
        if (strcmp(driver, "cgroupfs") == 0 || !can)
                return NULL;
        TRY(systemd_of(c, &systemd));
        c->by_systemd = true;
        return NULL;
}

bool cgroups_by_systemd(const struct cgroups *c)
{
        return c->by_systemd;
}

bool cgroup_is_adopted(const char *path)
{
        return scope_of(path, NULL);
}

/* --- calls that are tried again while systemd comes back --- */

struct patience {
        const struct wait *caller;
        struct wait wait;
        int64_t delay_ms;
};

static struct patience patience_of(const struct wait *wait)
{
        return (struct patience){ wait, wait_within(wait, PATIENCE_MS), RETRY_FIRST_MS };
}

/* NULL: once more. Else e, or that the caller gave up. */
static struct error *wait_if_lost(struct patience *p, struct error *e)
{
        if (!systemd_lost(e) || wait_left_ms(&p->wait) == 0)
                return e;
        struct error *given_up = wait_delay(p->caller, p->delay_ms, "wait for systemd to come back");
        p->delay_ms = p->delay_ms * 2 < RETRY_MOST_MS ? p->delay_ms * 2 : RETRY_MOST_MS;
        error_free(given_up ? e : TAKE(e));
        return given_up;
}

static struct error *reset_failed(struct systemd *systemd, const char *unit, const struct wait *wait)
{
        struct systemd_call call;
        TRY(systemd_begin_reset_failed(systemd, unit, &call));
        return systemd_finish(&call, wait);
}

/* A unit that is not there is stopped. */
static struct error *unit_stop(struct systemd *systemd, const char *unit, const struct wait *wait)
{
        struct patience patience = patience_of(wait);
        for (;;) {
                struct systemd_call call;
                struct error *e = systemd_begin_stop(systemd, unit, &call);
                bool sent = !e;
                if (sent)
                        e = systemd_finish(&call, wait);
                if (!e)
                        return NULL;
                if (sent && call.refusal == SYSTEMD_REFUSAL_NO_UNIT) {
                        error_ignore(e); /* gone */
                        return NULL;
                }
                if (sent && call.failed_job) {
                        error_ignore(reset_failed(systemd, unit, wait)); /* it may have been collected */
                        return e;
                }
                TRY(wait_if_lost(&patience, e));
        }
}

/* --- slices --- */

static bool is_there(const struct cgroups *c, const char *path)
{
        return faccessat(c->hierarchies[0].fd, *path ? path : ".", F_OK, 0) == 0;
}

/* Slices that are missing come with the scope, and stay when it goes: they are noted before. Until slices_release none on the
 * path is stopped. */
static struct error *slices_hold(struct cgroups *c, const char *slices)
{
        _cleanup_(freep) char *part = dup_string(slices);
        struct error *e = NULL;
        (void) pthread_mutex_lock(&c->lock);
        for (char *slash = part; !e && slash && *part;) {
                slash = strchr(slash + (slash != part), '/');
                if (slash)
                        *slash = '\0';
                if (!is_there(c, part))
                        e = note_add(c, part);
                if (slash)
                        *slash = '/';
        }
        if (!e) {
                c->slices_used = grow_array(c->slices_used, c->n_slices_used + 1, sizeof(*c->slices_used));
                c->slices_used[c->n_slices_used++] = slices;
        }
        (void) pthread_mutex_unlock(&c->lock);
        return e;
}

static void slices_release(struct cgroups *c, const char *slices)
{
        (void) pthread_mutex_lock(&c->lock);
        for (size_t i = 0; i < c->n_slices_used; i++) {
                if (c->slices_used[i] != slices)
                        continue;
                c->slices_used[i] = c->slices_used[--c->n_slices_used];
                break;
        }
        (void) pthread_mutex_unlock(&c->lock);
}

/* A directory below it is somebody's unit; so is a scope that is being made. */
static bool slice_is_used(const struct cgroups *c, const char *path)
{
        size_t len_bytes = strlen(path);
        for (size_t i = 0; i < c->n_slices_used; i++)
                if (strncmp(c->slices_used[i], path, len_bytes) == 0 &&
                    (c->slices_used[i][len_bytes] == '/' || !c->slices_used[i][len_bytes]))
                        return true;
        int fd = openat(c->hierarchies[0].fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        bool used = false;
        for (struct dirent *entry; dir && !used && (entry = readdir(dir));)
                used = entry->d_type == DT_DIR && entry->d_name[0] != '.';
        return used;
}

/* Under the lock, so that no scope is asked for in between: it comes to systemd after the stop, and starts the slice anew.
 * *begun: the call is to be finished; else nothing is to be done, and *ended says whether there is no such slice: an earlier
 * attempt, whose answer about one further up got lost, may have ended it. */
static struct error *slice_stop_begin(struct cgroups *c, struct systemd *systemd, const char *path,
                                      struct systemd_call *call, bool *begun, bool *ended)
{
        const char *slash = strrchr(path, '/');
        struct error *e = NULL;
        *begun = *ended = false;
        (void) pthread_mutex_lock(&c->lock);
        size_t note = note_find(c, path);
        if (!slice_is_used(c, path)) {
                *ended = !is_there(c, path);
                if (note != SIZE_MAX && *ended)
                        e = note_drop(c, note);
                else if (note != SIZE_MAX)
                        e = systemd_begin_stop(systemd, slash ? slash + 1 : path, call);
                *begun = !e && !*ended && note != SIZE_MAX;
        }
        (void) pthread_mutex_unlock(&c->lock);
        return e;
}

/* *gone: there is none any more, and no note of it. */
static struct error *slice_stop(struct cgroups *c, struct systemd *systemd, const char *path,
                                const struct wait *wait, bool *gone)
{
        struct systemd_call call;
        bool begun;
        TRY(slice_stop_begin(c, systemd, path, &call, &begun, gone));
        if (!begun)
                return NULL;
        struct error *e = systemd_finish(&call, wait);
        if (e && call.refusal == SYSTEMD_REFUSAL_NONE && !call.failed_job)
                return e;
        bool unknown = e && call.refusal == SYSTEMD_REFUSAL_NO_UNIT;
        error_ignore(e); /* no unit, or a new scope has started it again: the directory says which */
        (void) pthread_mutex_lock(&c->lock);
        size_t note = note_find(c, path);
        if (unknown && !slice_is_used(c, path))
                (void) unlinkat(c->hierarchies[0].fd, path, AT_REMOVEDIR); /* it stays noted if it stays */
        *gone = !slice_is_used(c, path) && !is_there(c, path);
        e = *gone && note != SIZE_MAX ? note_drop(c, note) : NULL;
        (void) pthread_mutex_unlock(&c->lock);
        return e;
}

static struct error *slices_stop_once(struct cgroups *c, struct systemd *systemd, const char *slices,
                                      const struct wait *wait)
{
        _cleanup_(freep) char *path = dup_string(slices);
        for (bool gone = true; gone && *path;) {
                char *slash = strrchr(path, '/');
                TRY_WRAP(slice_stop(c, systemd, path, wait, &gone), "stop slice %s",
                         slash ? slash + 1 : path);
                if (!slash)
                        break;
                *slash = '\0';
        }
        return NULL;
}

struct error *slices_stop(struct cgroups *c, const char *slices, const struct wait *wait)
{
        struct patience patience = patience_of(wait);
        struct systemd *systemd;
        (void) pthread_mutex_lock(&c->lock);
        bool is_ours = note_find(c, slices) != SIZE_MAX;
        (void) pthread_mutex_unlock(&c->lock);
        if (!is_ours) /* as kubelet's are */
                return NULL;
        TRY(systemd_of(c, &systemd));
        for (;;) {
                struct error *e = slices_stop_once(c, systemd, slices, wait);
                if (!e)
                        return NULL;
                TRY(wait_if_lost(&patience, e));
        }
}

/* --- the scope's beginning --- */

static bool scope_holds(const struct cgroups *c, const char *path, pid_t pid)
{
        char text[TEXT_BYTES], *rest = text;
        struct error *e = cgroup_read(&c->hierarchies[0], path, "cgroup.procs", text, sizeof(text));
        bool holds = false;
        for (char *line; !e && !holds && (line = strsep(&rest, "\n"));)
                holds = strtol(line, NULL, 10) == pid;
        error_ignore(e); /* it is not there */
        return holds;
}

/* A unit of that name which failed is in the way until it is forgotten: once. One that is there since the connection was
 * lost after systemd had done what it was asked has the process in it. */
static struct error *scope_start(struct cgroups *c, const struct scope_names *names,
                                 const struct systemd_scope *scope, const struct wait *wait)
{
        struct patience patience = patience_of(wait);
        struct systemd *systemd;
        TRY(systemd_of(c, &systemd));
        for (bool reset = false;;) {
                struct systemd_call call;
                struct error *e = systemd_begin_scope(systemd, scope, &call);
                bool exists = false;
                if (!e) {
                        e = systemd_finish(&call, wait);
                        exists = e && call.refusal == SYSTEMD_REFUSAL_UNIT_EXISTS;
                }
                if (!e)
                        return NULL;
                if (exists && scope_holds(c, names->path, scope->pid)) {
                        error_ignore(e); /* its own earlier answer got lost */
                        return NULL;
                }
                if (exists && !reset) {
                        reset = true;
                        error_ignore(e); /* it is told if it stays so */
                        error_ignore(reset_failed(systemd, scope->unit, wait));
                        continue;
                }
                TRY(wait_if_lost(&patience, e));
        }
}

/* Who gave up waiting has asked all the same. When the stop has been done the start has had its turn: what came of it is
 * there, slices too, for cgroup_remove to find. A supervisor would not heed systemd's SIGTERM. */
static void scope_abandon(struct cgroups *c, const char *unit, pid_t pid)
{
        struct wait wait = wait_of_ms(ABANDON_MS);
        (void) kill(pid, SIGKILL);
        error_ignore(unit_stop(c->systemd, unit, &wait)); /* its failure is told */
}

/* systemd hands down what it knows, and leaves the rest as it is. */
static void hand_down_hugetlb(struct cgroups *c, const char *path)
{
        const struct hierarchy *h = &c->hierarchies[0];
        char root[TEXT_BYTES] = "";
        error_ignore(cgroup_read(h, ".", "cgroup.controllers", root, sizeof(root)));
        if (!strstr(root, "hugetlb"))
                return;
        _cleanup_(freep) char *part = dup_string(path);
        error_ignore(cgroup_put(h, ".", "cgroup.subtree_control", "+hugetlb"));
        for (char *slash = part; (slash = strchr(slash, '/')); slash++) {
                *slash = '\0';
                error_ignore(cgroup_put(h, part, "cgroup.subtree_control", "+hugetlb"));
                *slash = '/';
        }
}

/* The process out of the scope itself, which is to have cgroups below it, into its leaf. */
static struct error *scope_settle(struct cgroups *c, const struct scope_names *names, const char *leaf,
                                  pid_t pid)
{
        const struct hierarchy *h = &c->hierarchies[0];
        const char *owner = c->notes_path ? c->notes_path : "";
        _cleanup_(closep) int fd = -1;
        TRY(cgroup_open(h, names->path, "", O_RDONLY | O_DIRECTORY, &fd));
        /* Only the sweep misses it. */
        (void) fsetxattr(fd, OWNER_XATTR, owner, strlen(owner), 0);
        if (!cgroup_has_file(h, names->path, "hugetlb.2MB.max"))
                hand_down_hugetlb(c, names->path);
        if (mkdirat(h->fd, leaf, 0755) < 0 && errno != EEXIST)
                return error_errno(errno, "make %s/%s", h->mount, leaf);
        TRY(cgroup_put_number(h, leaf, "cgroup.procs", pid));
        return c->driver->prepare(c, leaf);
}

struct error *cgroup_adopt(struct cgroups *c, const char *path, pid_t pid, int64_t cpu_shares,
                           const struct wait *wait)
{
        const char *leaf;
        _cleanup_(scope_names_done) struct scope_names names = { .unit = NULL };
        TRY(cgroup_path_check(path, &leaf));
        if (!scope_of(leaf, &names) || !names.is_leaf || !cgroups_is_v2(c))
                return error_new(ERROR_INTERNAL, "%s is no pod's place in a scope", path);
        const char *slash = strrchr(names.slices, '/');
        const char *slice = slash ? slash + 1 : *names.slices ? names.slices : "-.slice";
        _cleanup_(freep) char *description = format_string("pod %s", strrchr(leaf, '/') + 1);
        const struct systemd_scope scope = {
                .unit = names.unit,
                .description = description,
                .slice = slice,
                .pid = pid,
                .cpu_weight = cpu_shares > 0 ? cgroup_weight_of_shares(cpu_shares) : 0,
        };
        TRY_WRAP(slices_hold(c, names.slices), "note slices");
        struct error *e = scope_start(c, &names, &scope, wait);
        if (e && (error_code_of(e) == ERROR_CANCELLED || error_code_of(e) == ERROR_DEADLINE_EXCEEDED))
                scope_abandon(c, names.unit, pid);
        slices_release(c, names.slices);
        if (e)
                return error_wrap(e, "make the scope %s in %s", names.unit, slice);
        TRY_WRAP(scope_settle(c, &names, leaf, pid), "scope %s", names.unit);
        return NULL;
}

struct error *cgroup_set_shares(struct cgroups *c, const char *path, int64_t cpu_shares,
                                const struct wait *wait)
{
        const char *leaf;
        _cleanup_(scope_names_done) struct scope_names names = { .unit = NULL };
        struct patience patience = patience_of(wait);
        struct systemd *systemd;
        TRY(cgroup_path_check(path, &leaf));
        if (!scope_of(leaf, &names))
                return error_new(ERROR_INTERNAL, "%s is in no scope", path);
        TRY(systemd_of(c, &systemd));
        uint64_t weight = cpu_shares > 0 ? cgroup_weight_of_shares(cpu_shares) : SYSTEMD_WEIGHT_OWN;
        for (;;) {
                struct systemd_call call;
                struct error *e = systemd_begin_weight(systemd, names.unit, weight, &call);
                if (!e)
                        e = systemd_finish(&call, wait);
                if (!e)
                        return NULL;
                e = wait_if_lost(&patience, e);
                if (e)
                        return error_wrap(e, "set the weight of %s", names.unit);
        }
}

/* --- its end --- */

struct error *scope_remove(struct cgroups *c, const struct scope_names *names, const struct wait *wait)
{
        const struct hierarchy *h = &c->hierarchies[0];
        _cleanup_(closep) int fd =
                openat(h->fd, names->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        struct systemd *systemd;
        /* With its last process systemd has let it go, mostly, before anybody removes the pod. */
        if (fd >= 0) {
                tree_kill(fd, true);
                TRY(systemd_of(c, &systemd));
                TRY_WRAP(unit_stop(systemd, names->unit, wait), "stop %s", names->unit);
                TRY(level_remove(h, names->path, wait));
        }
        return slices_stop(c, names->slices, wait);
}

/* --- what is there --- */

struct scopes {
        const struct hierarchy *h;
        const char *owner;
        char **paths;
        size_t n;
};

static bool scope_is_of(int slice_fd, const char *name, const char *owner)
{
        char text[TEXT_BYTES];
        _cleanup_(closep) int fd = openat(slice_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        ssize_t n_bytes = fd < 0 ? -1 : fgetxattr(fd, OWNER_XATTR, text, sizeof(text));
        return n_bytes >= 0 && (size_t) n_bytes == strlen(owner) &&
               memcmp(text, owner, (size_t) n_bytes) == 0;
}

/* The walk has descriptors, the kernel their paths. */
static void scope_note(struct scopes *scopes, int slice_fd, const char *name, const char *id)
{
        char link[32], path[TEXT_BYTES];
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", slice_fd);
        ssize_t n_bytes = readlink(link, path, sizeof(path) - 1);
        size_t mount_bytes = strlen(scopes->h->mount);
        if (n_bytes < (ssize_t) mount_bytes || strncmp(path, scopes->h->mount, mount_bytes) != 0)
                return;
        path[n_bytes] = '\0';
        scopes->paths = grow_array(scopes->paths, scopes->n + 2, sizeof(char *));
        scopes->paths[scopes->n++] = format_string("%s/%s/%s", path + mount_bytes, name, id);
        scopes->paths[scopes->n] = NULL;
}

static void scopes_look(int dir_fd, void *context)
{
        struct scopes *scopes = context;
        char id[ID_LEN + 1];
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                if (scope_is_ours(entry->d_name, id) && scope_is_of(dir_fd, entry->d_name, scopes->owner))
                        scope_note(scopes, dir_fd, entry->d_name, id);
}

struct error *cgroup_scopes(struct cgroups *c, char ***out)
{
        struct scopes scopes = { .h = &c->hierarchies[0], .owner = c->notes_path ? c->notes_path : "" };
        if (cgroups_is_v2(c) && systemd_has_socket()) {
                _cleanup_(closep) int fd = openat(scopes.h->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0)
                        return error_errno(errno, "open %s", scopes.h->mount);
                tree_walk(fd, scopes_look, &scopes);
        }
        *out = scopes.paths ? scopes.paths : NEW_ARRAY(char *, 1);
        return NULL;
}
