#include "images/unpack/places.h"
#include "base/buf.h"
#include "base/file.h"
#include "images/unpack_protocol.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#ifndef __clang__ /* gcc's analyzer does not see that the table holds what is put into it */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
#include <uthash.h>

enum { BLOCK_BYTES = 4096, LINKS_MAX = 40 }; /* as the kernel's MAXSYMLINKS */

/* A directory that others must know of. */
struct seam {
        ino_t ino; /* the key */
        char *path;
        bool is_undescribed, has_whiteout;
        UT_hash_handle hh;
};

struct places {
        int root_fd;
        sink_dir_opaque *opaque;
        void *context;
        struct sink_usage *usage;
        /* The directory of the last entry: the next one is mostly in it too. */
        int parent_fd;
        bool parent_has_whiteout; /* which is known */
        char parent[SINK_PATH_MAX + 1];
        struct seam *seams;
        size_t seams_bytes;
};

struct places *places_new(int root_fd, sink_dir_opaque *opaque, void *context, struct sink_usage *usage)
{
        struct places *places = NEW(struct places);
        *places = (struct places){
                .root_fd = root_fd, .opaque = opaque, .context = context, .usage = usage, .parent_fd = -1
        };
        return places;
}

static void seam_drop(struct places *places, struct seam *seam)
{
        HASH_DEL(places->seams, seam);
        places->seams_bytes -= strlen(seam->path) + 2;
        free(seam->path);
        free(seam);
}

void places_free(struct places *places)
{
        struct seam *seam = NULL, *next = NULL;
        if (!places)
                return;
        HASH_ITER(hh, places->seams, seam, next)
        {
                seam_drop(places, seam);
        }
        closep(&places->parent_fd);
        free(places);
}

struct error *place_failure(int errnum, const char *what)
{
        if (errnum == ENOSPC || errnum == EDQUOT)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "no space left (%s)", what);
        if (errnum == ELOOP)
                return error_new(ERROR_INVALID_ARGUMENT, "leads through a circle of symbolic links");
        return error_errno(errnum, "%s", what);
}

bool place_is_whiteout(const struct stat *st)
{
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int open_place(int dir_fd, const char *path, int flags, uint64_t resolve)
{
        struct open_how how = {
                .flags = (uint64_t) (unsigned) (flags | O_CLOEXEC),
                .resolve = resolve | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        return (int) syscall(SYS_openat2, dir_fd, *path ? path : ".", &how, sizeof(how));
}

int places_open(const struct places *places, const char *path, int flags)
{
        return open_place(places->root_fd, path, flags, RESOLVE_IN_ROOT);
}

struct error *places_mark_opaque(struct places *places, int parent_fd, const char *name)
{
        _cleanup_(closep) int fd =
                open_place(parent_fd, name, O_RDONLY | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (fd < 0)
                return place_failure(errno, "open a directory");
        return places->opaque(places->context, fd);
}

/* --- what others must know --- */

static struct seam *seam_of(struct places *places, ino_t ino, const char *path)
{
        struct seam *seam = NULL;
        HASH_FIND(hh, places->seams, &ino, sizeof(ino), seam);
        if (seam || places->seams_bytes + strlen(path) + 2 > SEAMS_MAX_BYTES / 2) /* each may be told twice */
                return seam;
        seam = NEW(struct seam);
        seam->ino = ino;
        seam->path = dup_string(path);
        places->seams_bytes += strlen(path) + 2;
        HASH_ADD(hh, places->seams, ino, sizeof(seam->ino), seam);
        return seam;
}

void places_described(struct places *places, int dir_fd)
{
        struct seam *seam = NULL;
        struct stat st;
        if (!places->seams || fstat(dir_fd, &st) < 0)
                return;
        HASH_FIND(hh, places->seams, &st.st_ino, sizeof(st.st_ino), seam);
        if (seam)
                seam->is_undescribed = false;
}

/* --- directories --- */

static struct error *tree_remove(int parent_fd, const char *name)
{
        struct error *e = file_remove_tree(parent_fd, name);
        return e ? error_wrap(e, "replace what is there") : NULL;
}

struct error *places_make_room(struct places *places, int parent_fd, const char *name)
{
        struct error *e = tree_remove(parent_fd, name);
        /* It may have been in what was removed, or have led through it. */
        closep(&places->parent_fd);
        return e;
}

/* As places_directory; leaves the parent that was given last alone. */
static struct error *make_directory(struct places *places, int parent_fd, const char *name, mode_t mode,
                                    bool *made)
{
        struct stat st;
        bool replaced = false, hides = false;
        *made = true;
        while (mkdirat(parent_fd, name, mode) < 0) {
                if (errno != EEXIST || replaced)
                        return place_failure(errno, "make a directory");
                if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return place_failure(errno, "look at what is there");
                if (S_ISDIR(st.st_mode)) {
                        *made = false;
                        return NULL;
                }
                hides = place_is_whiteout(&st);
                if (unlinkat(parent_fd, name, 0) < 0)
                        return place_failure(errno, "replace what is there");
                replaced = true;
        }
        places->usage->inodes++;
        places->usage->bytes += BLOCK_BYTES;
        return hides ? places_mark_opaque(places, parent_fd, name) : NULL;
}

struct error *places_directory(struct places *places, int parent_fd, const char *name, mode_t mode,
                               bool *made)
{
        struct stat st;
        bool replaces = fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode);
        struct error *e = make_directory(places, parent_fd, name, mode, made);
        if (replaces) /* a link that it led through, perhaps */
                closep(&places->parent_fd);
        return e;
}

/* The way to a directory, component by component, each a directory of the layer once it is in `done`. */
struct way {
        char done[SINK_PATH_MAX + 1];
        char rest[2 * (SINK_PATH_MAX + 1) + 1];
        unsigned n_links;
};

static struct error *way_follow(struct way *way, int dir_fd, const char *name, const char *behind)
{
        char target[SINK_PATH_MAX + 1], both[sizeof(way->rest)];
        ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
        if (n < 0)
                return place_failure(errno, "read a symbolic link");
        target[n] = '\0';
        if (++way->n_links > LINKS_MAX)
                return place_failure(ELOOP, name);
        if (snprintf(both, sizeof(both), "%s/%s", target, behind) >= (int) sizeof(both))
                return error_new(ERROR_INVALID_ARGUMENT, "leads through too long symbolic links");
        memcpy(way->rest, both, sizeof(both));
        if (*target == '/')
                *way->done = '\0';
        return NULL;
}

static struct error *way_append(struct way *way, const char *name)
{
        size_t n = strlen(way->done);
        int more = snprintf(way->done + n, sizeof(way->done) - n, "%s%s", n ? "/" : "", name);
        if ((size_t) more >= sizeof(way->done) - n)
                return error_new(ERROR_INVALID_ARGUMENT, "the name is too long");
        return NULL;
}

/* One component of the way: a directory that is there, a link to follow, or a directory to make. */
static struct error *way_step(struct places *places, struct way *way, const char *name, const char *behind)
{
        struct stat st;
        bool made = false;
        _cleanup_(closep) int dir_fd = open_place(places->root_fd, way->done, O_PATH | O_DIRECTORY,
                                                  RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (dir_fd < 0)
                return place_failure(errno, "open the directory");
        bool is_there = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (is_there && S_ISLNK(st.st_mode))
                return way_follow(way, dir_fd, name, behind);
        memmove(way->rest, behind, strlen(behind) + 1);
        TRY(way_append(way, name));
        TRY(make_directory(places, dir_fd, name, 0755, &made));
        if (!made)
                return NULL;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return place_failure(errno, "look at a directory");
        struct seam *seam = seam_of(places, st.st_ino, way->done);
        if (seam)
                seam->is_undescribed = true;
        return NULL;
}

static struct error *way_go(struct places *places, const char *path, struct way *way)
{
        *way->done = '\0';
        way->n_links = 0;
        (void) snprintf(way->rest, sizeof(way->rest), "%s", path);
        while (*way->rest) {
                char name[256], *from = way->rest + strspn(way->rest, "/");
                size_t n = strcspn(from, "/");
                if (n >= sizeof(name))
                        return error_new(ERROR_INVALID_ARGUMENT, "the name is too long");
                memcpy(name, from, n);
                name[n] = '\0';
                const char *behind = from + n + strspn(from + n, "/");
                char *slash = strrchr(way->done, '/');
                if (strcmp(name, "..") == 0)
                        *(slash ? slash : way->done) = '\0';
                if (n == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                        memmove(way->rest, behind, strlen(behind) + 1);
                else
                        TRY(way_step(places, way, name, behind));
        }
        return NULL;
}

struct error *places_parent(struct places *places, const char *path, int *out_fd, const char **name)
{
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t) (slash - path) : 0;
        *name = slash ? slash + 1 : path;
        if (places->parent_fd >= 0 && strncmp(places->parent, path, n) == 0 && places->parent[n] == '\0') {
                *out_fd = places->parent_fd;
                return NULL;
        }
        closep(&places->parent_fd);
        places->parent_has_whiteout = false;
        memcpy(places->parent, path, n);
        places->parent[n] = '\0';
        int fd = places_open(places, places->parent, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
                return place_failure(errno, "open the directory");
        if (fd < 0) {
                struct way way;
                TRY(way_go(places, places->parent, &way));
                fd = open_place(places->root_fd, way.done, O_PATH | O_DIRECTORY,
                                RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
                if (fd < 0)
                        return place_failure(errno, "open the directory");
        }
        *out_fd = places->parent_fd = fd;
        return NULL;
}

struct error *places_has_whiteout(struct places *places)
{
        struct way way;
        struct stat st;
        if (places->parent_has_whiteout)
                return NULL;
        TRY(way_go(places, places->parent, &way));
        if (fstat(places->parent_fd, &st) < 0)
                return place_failure(errno, "look at a directory");
        struct seam *seam = seam_of(places, st.st_ino, way.done);
        if (seam)
                seam->has_whiteout = true;
        places->parent_has_whiteout = true;
        return NULL;
}

struct error *places_write_seams(const struct places *places, int fd)
{
        struct buf all;
        buf_init(&all, SEAMS_MAX_BYTES);
        struct error *e = NULL;
        for (const struct seam *seam = places->seams; seam && !e; seam = seam->hh.next) {
                size_t path_bytes = strlen(seam->path) + 1;
                if (seam->is_undescribed)
                        e = buf_append(&all, "d", 1);
                if (seam->is_undescribed && !e)
                        e = buf_append(&all, seam->path, path_bytes);
                if (seam->has_whiteout && !e)
                        e = buf_append(&all, "w", 1);
                if (seam->has_whiteout && !e)
                        e = buf_append(&all, seam->path, path_bytes);
        }
        if (!e)
                e = file_write_all(fd, all.bytes, all.len_bytes);
        buf_done(&all);
        return e;
}
