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

/* The way down: the upper levels keep their place in an open directory. Below them only the deepest is open; its parent is
 * found again by "..", and the place in it by the child's inode. */
struct usage {
        DIR *upper[TREE_FDS_MAX - 2];
        size_t n_upper;
        DIR *deep;      /* the deepest, or NULL */
        size_t n_below; /* levels between upper's last and deep, deep among them */
        struct stat top;
        double shared_bytes, shared_inodes; /* of what has several links */
        uint64_t bytes, inodes;
};

static void usage_done(struct usage *usage)
{
        for (size_t i = 0; i < usage->n_upper; i++)
                (void) closedir(usage->upper[i]);
        if (usage->deep)
                (void) closedir(usage->deep);
}

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
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                closep(&fd);
                return;
        }
        if (usage->n_upper < LENGTH(usage->upper)) {
                usage->upper[usage->n_upper++] = dir;
                return;
        }
        if (usage->deep)
                (void) closedir(usage->deep);
        usage->deep = dir;
        usage->n_below++;
}

/* Goes on behind the child of which everything was counted. */
static void find_place(DIR *dir, ino_t child)
{
        for (struct dirent *entry; (entry = readdir(dir));)
                if (entry->d_ino == child && !is_dots(entry->d_name))
                        return;
}

/* One of a tree that is being changed may not be where it was: above the top nothing is read. */
static void usage_leave_deep(struct usage *usage)
{
        struct stat child, parent;
        _cleanup_(closedirp) DIR *from = TAKE(usage->deep);
        if (--usage->n_below == 0 || fstat(dirfd(from), &child) < 0)
                return;
        int fd = openat(dirfd(from), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool is_inside = fd >= 0 && fstat(fd, &parent) == 0 && parent.st_dev == usage->top.st_dev &&
                         parent.st_ino != usage->top.st_ino;
        usage->deep = is_inside ? fdopendir(fd) : NULL;
        if (!usage->deep) {
                closep(&fd);
                usage->n_below = 0;
                return;
        }
        find_place(usage->deep, child.st_ino);
}

static void usage_leave(struct usage *usage)
{
        if (usage->deep)
                usage_leave_deep(usage);
        else
                (void) closedir(usage->upper[--usage->n_upper]);
}

static void usage_step(struct usage *usage)
{
        struct stat st;
        DIR *dir = usage->deep ? usage->deep : usage->upper[usage->n_upper - 1];
        struct dirent *entry = readdir(dir);
        if (!entry) {
                usage_leave(usage);
                return;
        }
        if (is_dots(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_dev != usage->top.st_dev)
                return;
        usage_add(usage, &st);
        if (S_ISDIR(st.st_mode))
                usage_enter(usage, dirfd(dir), entry->d_name);
}

struct error *tree_usage(int dir_fd, const char *name, uint64_t *bytes, uint64_t *inodes)
{
        _cleanup_(usage_done) struct usage usage = { .n_upper = 0 };
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
