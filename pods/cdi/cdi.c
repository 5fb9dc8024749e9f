#include "pods/cdi/cdi.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "pods/cdi/document.h"
#include "pods/cdi/host_node.h"
#include "pods/cdi/names.h"
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define FILES_MAX 4096
#define NAMES_SHOWN_BYTES 4096
#define FRESH_NS                                                                                             \
        1000000000 /* a file that was written so short a time before it was read may have been written after */

/* What tells that a file is another one than it was. */
struct stamp {
        char *path;
        dev_t device;
        ino_t inode;
        off_t size_bytes;
        struct timespec modified, changed;
};

struct stamps {
        struct stamp *all;
        size_t n;
        char **errors; /* of directories that cannot be read; NULL-terminated, or NULL */
        size_t n_errors;
};

struct cdi_file {
        char *path;
        size_t rank; /* of its directory: a higher one wins */
        struct cdi_document document;
};

struct cdi {
        char **dirs; /* NULL-terminated */
        pthread_mutex_t lock;
        /* locked */
        struct stamps stamps;
        bool stale; /* read again whatever the stamps say */
        struct cdi_file *files;
        size_t n_files;
        char **errors; /* of files */
        size_t n_errors;
};

struct cdi *cdi_new(const char *dirs)
{
        struct cdi *cdi = NEW(struct cdi);
        _cleanup_(freep) char *copy = dup_string(dirs ? dirs : "");
        char *rest = copy;
        size_t n = 0;
        cdi->dirs = NEW_ARRAY(char *, strlen(copy) + 2);
        for (char *dir; (dir = strsep(&rest, ":"));)
                if (*dir)
                        cdi->dirs[n++] = dup_string(dir);
        cdi->stale = true;
        (void) pthread_mutex_init(&cdi->lock, NULL);
        return cdi;
}

static void note(char ***errors, size_t *n, char *text)
{
        *errors = grow_array(*errors, *n + 2, sizeof(char *));
        (*errors)[(*n)++] = text;
        (*errors)[*n] = NULL;
}

static void stamps_done(struct stamps *stamps)
{
        for (size_t i = 0; i < stamps->n; i++)
                free(stamps->all[i].path);
        free(stamps->all);
        free_strings(stamps->errors);
        *stamps = (struct stamps){ .n = 0 };
}

static void drop_files(struct cdi *cdi)
{
        for (size_t i = 0; i < cdi->n_files; i++) {
                free(cdi->files[i].path);
                cdi_document_done(&cdi->files[i].document);
        }
        free(cdi->files);
        free_strings(cdi->errors);
        cdi->files = NULL;
        cdi->errors = NULL;
        cdi->n_files = cdi->n_errors = 0;
}

void cdi_free(struct cdi *cdi)
{
        if (!cdi)
                return;
        drop_files(cdi);
        stamps_done(&cdi->stamps);
        free_strings(cdi->dirs);
        (void) pthread_mutex_destroy(&cdi->lock);
        free(cdi);
}

/* --- what is there --- */

static bool is_ours(const char *name)
{
        const char *dot = strrchr(name, '.');
        return dot && (strcmp(dot, ".json") == 0 || strcmp(dot, ".yaml") == 0);
}

static void stamp_add(struct stamps *stamps, const char *dir, const char *name, int dir_fd)
{
        struct stat st = { .st_mode = 0 };
        if (fstatat(dir_fd, name, &st, 0) == 0 && S_ISDIR(st.st_mode))
                return;
        stamps->all = grow_array(stamps->all, stamps->n + 1, sizeof(*stamps->all));
        stamps->all[stamps->n++] = (struct stamp){ .path = format_string("%s/%s", dir, name),
                                                   .device = st.st_dev,
                                                   .inode = st.st_ino,
                                                   .size_bytes = st.st_size,
                                                   .modified = st.st_mtim,
                                                   .changed = st.st_ctim };
}

static int by_path(const void *a, const void *b)
{
        const struct stamp *x = a, *y = b;
        return strcmp(x->path, y->path);
}

/* A directory need not be there. */
static void look_into(const char *path, struct stamps *stamps)
{
        size_t from = stamps->n;
        _cleanup_(closedirp) DIR *dir = opendir(path);
        if (!dir && errno != ENOENT)
                note(&stamps->errors, &stamps->n_errors, format_string("%s: %s", path, strerror(errno)));
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
                if (!is_ours(entry->d_name))
                        continue;
                if (stamps->n == FILES_MAX) {
                        note(&stamps->errors, &stamps->n_errors,
                             format_string("%s: more than %d files: the rest is left out", path, FILES_MAX));
                        break;
                }
                stamp_add(stamps, path, entry->d_name, dirfd(dir));
        }
        if (stamps->n > from)
                qsort(stamps->all + from, stamps->n - from, sizeof(*stamps->all), by_path);
}

static void look(const struct cdi *cdi, struct stamps *out)
{
        for (char **dir = cdi->dirs; *dir; dir++)
                look_into(*dir, out);
}

static bool is_same_time(struct timespec a, struct timespec b)
{
        return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_same(const struct stamps *a, const struct stamps *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                const struct stamp *x = &a->all[i], *y = &b->all[i];
                if (strcmp(x->path, y->path) != 0 || x->device != y->device || x->inode != y->inode ||
                    x->size_bytes != y->size_bytes || !is_same_time(x->modified, y->modified) ||
                    !is_same_time(x->changed, y->changed))
                        return false;
        }
        return true;
}

/* --- reading it --- */

static size_t rank_of(const struct cdi *cdi, const char *path)
{
        size_t rank = 0, dir_bytes = (size_t) (strrchr(path, '/') - path);
        for (size_t i = 0; cdi->dirs[i]; i++)
                if (strlen(cdi->dirs[i]) == dir_bytes && strncmp(cdi->dirs[i], path, dir_bytes) == 0)
                        rank = i;
        return rank;
}

static struct error *read_document(const char *path, struct cdi_document *out)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes = 0;
        TRY(file_read(AT_FDCWD, path, CDI_FILE_MAX_BYTES, &text, &len_bytes));
        TRY(cdi_document_parse(text, len_bytes, out));
        struct error *e = cdi_check_document(out);
        if (e)
                cdi_document_done(out);
        return e;
}

static void read_file(struct cdi *cdi, const struct stamp *stamp)
{
        struct cdi_document document;
        struct error *e = read_document(stamp->path, &document);
        if (e) {
                note(&cdi->errors, &cdi->n_errors, format_string("%s: %s", stamp->path, error_message(e)));
                error_free(e);
                return;
        }
        cdi->files = grow_array(cdi->files, cdi->n_files + 1, sizeof(*cdi->files));
        cdi->files[cdi->n_files++] = (struct cdi_file){ .path = dup_string(stamp->path),
                                                        .rank = rank_of(cdi, stamp->path),
                                                        .document = document };
}

static bool is_fresh(const struct stamp *stamp, int64_t now_ns)
{
        int64_t changed_ns = (int64_t) stamp->changed.tv_sec * 1000000000 + stamp->changed.tv_nsec;
        return now_ns - changed_ns < FRESH_NS;
}

/* With the lock held. */
static void refresh(struct cdi *cdi)
{
        struct stamps stamps = { .n = 0 };
        look(cdi, &stamps);
        if (!cdi->stale && is_same(&stamps, &cdi->stamps)) {
                stamps_done(&cdi->stamps);
                cdi->stamps = stamps; /* what is wrong with a directory is not among what is compared */
                return;
        }
        drop_files(cdi);
        stamps_done(&cdi->stamps);
        cdi->stamps = stamps;
        cdi->stale = false;
        int64_t now_ns = clock_wall_ns();
        for (size_t i = 0; i < stamps.n; i++) {
                cdi->stale = cdi->stale || is_fresh(&stamps.all[i], now_ns);
                read_file(cdi, &stamps.all[i]);
        }
}

/* --- devices --- */

struct found {
        const struct cdi_file *file;
        const struct cdi_device *device;
        bool conflicts; /* the name is lost, whoever else has it */
};

static const struct cdi_device *device_in(const struct cdi_file *file, const char *name)
{
        size_t kind_bytes = strlen(file->document.kind);
        if (strncmp(file->document.kind, name, kind_bytes) != 0 || name[kind_bytes] != '=')
                return NULL;
        for (size_t i = 0; i < file->document.n_devices; i++)
                if (strcmp(file->document.devices[i].name, name + kind_bytes + 1) == 0)
                        return &file->document.devices[i];
        return NULL;
}

/* Files are in the order of their directories. */
static struct found find(const struct cdi *cdi, const char *name)
{
        struct found found = { .file = NULL };
        for (size_t i = 0; i < cdi->n_files; i++) {
                const struct cdi_device *device = device_in(&cdi->files[i], name);
                if (!device)
                        continue;
                found.conflicts = found.conflicts || (found.file && found.file->rank == cdi->files[i].rank);
                found.file = &cdi->files[i];
                found.device = device;
        }
        return found;
}

/* " (not read: ...; ...)", or nothing. */
static void put_errors(struct buf *text, const struct cdi *cdi)
{
        char *const *const lists[] = { cdi->stamps.errors, cdi->errors };
        size_t n = 0;
        for (size_t i = 0; i < LENGTH(lists); i++)
                for (char *const *line = lists[i]; line && *line; line++)
                        error_ignore(buf_append_format(text, "%s%s", n++ ? "; " : " (not read: ", *line));
        if (n)
                error_ignore(buf_append_text(text, ")"));
}

/* NULL when all of them are there. */
static struct error *check_all_found(const struct cdi *cdi, char *const *names)
{
        _cleanup_(buf_done) struct buf text;
        size_t n_missing = 0;
        buf_init(&text, NAMES_SHOWN_BYTES);
        for (; *names; names++) {
                struct found found = find(cdi, *names);
                if (found.device && !found.conflicts)
                        continue;
                error_ignore(buf_append_format(&text, "%s%s%s", n_missing++ ? ", " : "", *names,
                                               found.conflicts ? " (which two files have)" : ""));
        }
        if (n_missing == 0)
                return NULL;
        put_errors(&text, cdi);
        return error_new(ERROR_INVALID_ARGUMENT, "unresolvable CDI devices %s", text.bytes ? text.bytes : "");
}

static bool was_before(const struct cdi *cdi, char *const *names, size_t i, const struct cdi_file *file)
{
        for (size_t j = 0; j < i; j++)
                if (find(cdi, names[j]).file == file)
                        return true;
        return false;
}

/* With the lock held. */
static struct error *collect(const struct cdi *cdi, char *const *names, struct cdi_edits *out)
{
        TRY(check_all_found(cdi, names));
        for (size_t i = 0; names[i]; i++) {
                struct found found = find(cdi, names[i]);
                if (!was_before(cdi, names, i, found.file))
                        cdi_edits_append(out, &found.file->document.edits);
                cdi_edits_append(out, &found.device->edits);
        }
        return NULL;
}

/* What no container can have here. */
static struct error *check_built(const struct cdi_edits *edits)
{
        if (edits->rdt.is_set)
                return error_new(ERROR_UNIMPLEMENTED,
                                 "intelRdt of a CDI device: classes of cache and memory bandwidth are not "
                                 "supported by skiff");
        if (edits->n_net_devices)
                return error_new(
                        ERROR_UNIMPLEMENTED,
                        "netDevices of a CDI device (%s): network interfaces of the host are not moved "
                        "into pods by skiff; a CNI plugin does that",
                        edits->net_devices[0].host_name);
        return NULL;
}

struct error *cdi_resolve(struct cdi *cdi, char *const *names, struct cdi_edits *out)
{
        *out = (struct cdi_edits){ .env = NULL };
        (void) pthread_mutex_lock(&cdi->lock);
        refresh(cdi);
        struct error *e = collect(cdi, names, out);
        (void) pthread_mutex_unlock(&cdi->lock);
        if (!e)
                e = check_built(out);
        for (size_t i = 0; !e && i < out->n_nodes; i++)
                e = cdi_host_node(&out->nodes[i]);
        if (e)
                cdi_edits_done(out);
        return e;
}

/* --- for people --- */

struct owned_name {
        const struct cdi_file *file;
        const char *device;
};

static int by_full_name(const void *a, const void *b)
{
        const struct owned_name *x = a, *y = b;
        int order = (x->file->rank > y->file->rank) - (x->file->rank < y->file->rank);
        if (!order)
                order = strcmp(x->file->document.kind, y->file->document.kind);
        if (!order)
                order = strcmp(x->device, y->device);
        return order ? order : strcmp(x->file->path, y->file->path);
}

static bool is_same_name(const struct owned_name *x, const struct owned_name *y)
{
        return x->file->rank == y->file->rank &&
               strcmp(x->file->document.kind, y->file->document.kind) == 0 &&
               strcmp(x->device, y->device) == 0;
}

/* A name that two files of one directory have. Sorted, since there may be tens of thousands. */
static void put_conflicts(const struct cdi *cdi, char ***lines, size_t *n)
{
        size_t n_names = 0, at = 0;
        for (size_t i = 0; i < cdi->n_files; i++)
                n_names += cdi->files[i].document.n_devices;
        _cleanup_(freep) struct owned_name *names = NEW_ARRAY(struct owned_name, n_names);
        for (size_t i = 0; i < cdi->n_files; i++)
                for (size_t j = 0; j < cdi->files[i].document.n_devices; j++)
                        names[at++] =
                                (struct owned_name){ &cdi->files[i], cdi->files[i].document.devices[j].name };
        qsort(names, n_names, sizeof(*names), by_full_name);
        for (size_t i = 1; i < n_names; i++)
                if (is_same_name(&names[i - 1], &names[i]))
                        note(lines, n,
                             format_string("%s: %s=%s is in %s too: neither can be had",
                                           names[i - 1].file->path, names[i].file->document.kind,
                                           names[i].device, names[i].file->path));
}

char **cdi_problems(struct cdi *cdi)
{
        char **lines = NEW_ARRAY(char *, 1);
        size_t n = 0;
        (void) pthread_mutex_lock(&cdi->lock);
        refresh(cdi);
        char *const *const lists[] = { cdi->stamps.errors, cdi->errors };
        for (size_t i = 0; i < LENGTH(lists); i++)
                for (char *const *line = lists[i]; line && *line; line++)
                        note(&lines, &n, dup_string(*line));
        put_conflicts(cdi, &lines, &n);
        (void) pthread_mutex_unlock(&cdi->lock);
        return lines;
}
