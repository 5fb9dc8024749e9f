#include "base/tree.h"
#include "base/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool is_dots(const char *name)
{
        return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* --- removal --- */

struct level {
        DIR *dir;
        char name[256];
};

/* The way from the top of the tree to the directory that is being emptied. A directory below the last level is moved to
 * the top and has its turn there: so the depth of a tree costs renames, and neither descriptors nor memory. */
struct removal {
        int root_fd; /* the directory that the tree is in; borrowed */
        struct level levels[TREE_FDS_MAX];
        size_t n;
        uint64_t mount_id;
        unsigned n_moved; /* names the next one */
        bool moved;       /* since the top's last turn began */
};

static void removal_done(struct removal *removal)
{
        for (size_t i = 0; i < removal->n; i++)
                (void) closedir(removal->levels[i].dir);
}

static struct error *mount_of(int fd, uint64_t *out)
{
        struct statx stx;
        if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
                return error_errno(errno, "statx");
        *out = stx.stx_mnt_id;
        return NULL;
}

static struct error *removal_enter(struct removal *removal, int dir_fd, const char *name)
{
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == EACCES && fchmodat(dir_fd, name, 0700, 0) == 0)
                fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "open %s", name);
        uint64_t mount_id = 0;
        TRY(mount_of(fd, &mount_id));
        if (removal->n == 0) /* its own top may be a mount as well: what is in that is not ours */
                TRY(mount_of(dir_fd, &removal->mount_id));
        if (mount_id != removal->mount_id)
                return error_new(ERROR_INTERNAL, "%s is a mount point", name);
        _cleanup_(closedirp) DIR *dir = fdopendir(fd);
        if (!dir)
                return error_errno(errno, "read %s", name);
        (void) TAKE_FD(fd);
        struct level *level = &removal->levels[removal->n++];
        (void) snprintf(level->name, sizeof(level->name), "%s", name);
        level->dir = TAKE(dir);
        return NULL;
}

static struct error *removal_leave(struct removal *removal)
{
        struct level *level = &removal->levels[removal->n - 1];
        if (removal->n == 1 && removal->moved) { /* what came to the top after its turn began */
                removal->moved = false;
                rewinddir(level->dir);
                return NULL;
        }
        (void) closedir(level->dir);
        removal->n--;
        int parent_fd = removal->n ? dirfd(removal->levels[removal->n - 1].dir) : removal->root_fd;
        if (unlinkat(parent_fd, level->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                return error_errno(errno, "remove directory %s", level->name);
        return NULL;
}

static struct error *removal_move_up(struct removal *removal, int dir_fd, const char *name)
{
        char to[32];
        do {
                (void) snprintf(to, sizeof(to), ".skiff-%u", removal->n_moved++);
                if (renameat(dir_fd, name, dirfd(removal->levels[0].dir), to) == 0) {
                        removal->moved = true;
                        return NULL;
                }
        } while (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR);
        return error_errno(errno, errno == EBUSY ? "%s is a mount point" : "move %s", name);
}

static struct error *removal_step(struct removal *removal)
{
        DIR *dir = removal->levels[removal->n - 1].dir;
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry && errno)
                return error_errno(errno, "read a directory");
        if (!entry)
                return removal_leave(removal);
        if (is_dots(entry->d_name))
                return NULL;
        if (entry->d_type != DT_DIR && (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT))
                return NULL;
        if (entry->d_type != DT_DIR && errno != EISDIR)
                return error_errno(errno, "remove %s", entry->d_name);
        if (removal->n < LENGTH(removal->levels))
                return removal_enter(removal, dirfd(dir), entry->d_name);
        if (unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT)
                return NULL;
        return removal_move_up(removal, dirfd(dir), entry->d_name);
}

struct error *file_remove_tree(int dir_fd, const char *name)
{
        if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
                return NULL;
        if (errno != EISDIR)
                return error_errno(errno, "remove %s", name);
        _cleanup_(removal_done) struct removal removal = { .root_fd = dir_fd };
        TRY(removal_enter(&removal, dir_fd, name));
        while (removal.n)
                TRY_WRAP(removal_step(&removal), "remove %s", name);
        return NULL;
}

/* --- usage --- */

enum { PLACES_MAX = 1024, ENTRIES_MIN_BYTES = 512, ENTRIES_MAX_BYTES = 8 << 10 };

struct place {
        size_t level;
        ino_t dir;
        off_t at;
};

/* The way down: the upper levels keep their place in an open directory. Below them only the deepest is open; its parent is
 * found again by "..", and the place in it is remembered. Of more than PLACES_MAX levels the last ones are: a place that is
 * forgotten is found by the child's inode, and a look through the directory then comes with as many levels below it. What
 * was read ahead in a parent is read again, so little is read ahead at first, and more from read to read. */
struct usage {
        DIR *upper[TREE_FDS_MAX - 2];
        size_t n_upper;
        int deep_fd;                     /* the deepest, or -1 */
        size_t n_below;                  /* levels between upper's last and deep, deep among them */
        struct place places[PLACES_MAX]; /* that of a level is at its remainder */
        off_t deep_at;                   /* behind the entry of deep that was read last */
        size_t entries_bytes, entries_at, ask_bytes;
        _Alignas(struct dirent64) char entries[ENTRIES_MAX_BYTES]; /* of deep */
        struct stat top;
        double shared_bytes, shared_inodes; /* of what has several links */
        uint64_t bytes, inodes;
};

static void usage_done(struct usage *usage)
{
        for (size_t i = 0; i < usage->n_upper; i++)
                (void) closedir(usage->upper[i]);
        closep(&usage->deep_fd);
}

/* --- what is below the upper levels --- */

/* Takes over fd, another place to read entries at, or none. */
static void deep_set(struct usage *usage, int fd)
{
        closep(&usage->deep_fd);
        usage->deep_fd = fd;
        usage->deep_at = 0;
        usage->entries_at = usage->entries_bytes = 0;
        usage->ask_bytes = ENTRIES_MIN_BYTES;
}

static const struct dirent64 *deep_next(struct usage *usage)
{
        if (usage->entries_at == usage->entries_bytes) {
                ssize_t n = getdents64(usage->deep_fd, usage->entries, usage->ask_bytes);
                if (n <= 0)
                        return NULL;
                usage->entries_bytes = (size_t) n;
                usage->entries_at = 0;
                if (usage->ask_bytes < sizeof(usage->entries))
                        usage->ask_bytes *= 2;
        }
        const struct dirent64 *entry = (const void *) (usage->entries + usage->entries_at);
        usage->entries_at += entry->d_reclen;
        usage->deep_at = entry->d_off;
        return entry;
}

static void deep_enter(struct usage *usage, int fd)
{
        struct stat st;
        if (usage->deep_fd >= 0 && fstat(usage->deep_fd, &st) == 0)
                usage->places[usage->n_below % PLACES_MAX] =
                        (struct place){ usage->n_below, st.st_ino, usage->deep_at };
        deep_set(usage, fd);
        usage->n_below++;
}

/* Goes on behind the child of which everything was counted. */
static void deep_find(struct usage *usage, ino_t dir, ino_t child)
{
        const struct place *place = &usage->places[usage->n_below % PLACES_MAX];
        if (place->level == usage->n_below && place->dir == dir &&
            lseek(usage->deep_fd, place->at, SEEK_SET) == place->at)
                return;
        for (const struct dirent64 *entry; (entry = deep_next(usage));)
                if (entry->d_ino == child && !is_dots(entry->d_name))
                        return;
}

/* One of a tree that is being changed may not be where it was: above the top nothing is read. */
static void deep_leave(struct usage *usage)
{
        struct stat child, parent;
        _cleanup_(closep) int from_fd = TAKE_FD(usage->deep_fd), fd = -1;
        if (--usage->n_below == 0)
                return;
        if (fstat(from_fd, &child) == 0)
                fd = openat(from_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &parent) < 0 || parent.st_dev != usage->top.st_dev ||
            parent.st_ino == usage->top.st_ino) {
                usage->n_below = 0;
                return;
        }
        deep_set(usage, TAKE_FD(fd));
        deep_find(usage, parent.st_ino, child.st_ino);
}

/* --- all of it --- */

static void usage_add(struct usage *usage, const struct stat *st)
{
        uint64_t bytes = (uint64_t) st->st_blocks * 512;
        if (S_ISDIR(st->st_mode) || st->st_nlink < 2) {
                usage->bytes += bytes;
                usage->inodes++;
                return;
        }
        usage->shared_bytes += (double) bytes / (double) st->st_nlink;
        usage->shared_inodes += 1.0 / (double) st->st_nlink;
}

static void usage_enter(struct usage *usage, int dir_fd, const char *name)
{
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return;
        if (usage->n_upper == LENGTH(usage->upper)) {
                deep_enter(usage, TAKE_FD(fd));
                return;
        }
        usage->upper[usage->n_upper] = fdopendir(fd);
        if (!usage->upper[usage->n_upper])
                return;
        (void) TAKE_FD(fd);
        usage->n_upper++;
}

static void usage_count(struct usage *usage, int dir_fd, const char *name)
{
        struct stat st;
        if (is_dots(name) || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_dev != usage->top.st_dev)
                return;
        usage_add(usage, &st);
        if (S_ISDIR(st.st_mode))
                usage_enter(usage, dir_fd, name);
}

static void usage_step(struct usage *usage)
{
        if (usage->deep_fd >= 0) {
                const struct dirent64 *entry = deep_next(usage);
                if (entry)
                        usage_count(usage, usage->deep_fd, entry->d_name);
                else
                        deep_leave(usage);
                return;
        }
        DIR *dir = usage->upper[usage->n_upper - 1];
        const struct dirent *entry = readdir(dir);
        if (entry)
                usage_count(usage, dirfd(dir), entry->d_name);
        else
                (void) closedir(usage->upper[--usage->n_upper]);
}

struct error *tree_usage(int dir_fd, const char *name, uint64_t *bytes, uint64_t *inodes)
{
        _cleanup_(usage_done) struct usage usage = { .deep_fd = -1 };
        if (fstatat(dir_fd, name, &usage.top, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(errno, "look at %s", name);
        usage_add(&usage, &usage.top);
        if (S_ISDIR(usage.top.st_mode))
                usage_enter(&usage, dir_fd, name);
        while (usage.n_upper)
                usage_step(&usage);
        *bytes += usage.bytes + ((uint64_t) (usage.shared_bytes + 256) & ~UINT64_C(511));
        *inodes += usage.inodes + (uint64_t) (usage.shared_inodes + 0.5);
        return NULL;
}
