#include "images/walk.h"
#include "base/file.h"
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 256 }; /* a descriptor a level; what lies deeper is not counted */

struct walk {
        uint64_t bytes, inodes;
        dev_t device;
};

static void walk_directory(struct walk *walk, int fd, unsigned depth);

static void walk_entry(struct walk *walk, int dir_fd, const char *name, unsigned depth)
{
        struct stat st;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != walk->device)
                return;
        walk->bytes += (uint64_t) st.st_blocks * 512;
        walk->inodes++;
        if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
                return;
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
                walk_directory(walk, fd, depth + 1);
}

/* Takes fd. */
static void walk_directory(struct walk *walk, int fd, unsigned depth)
{
        _cleanup_(closedirp) DIR *dir = fdopendir(fd);
        if (!dir) {
                (void) close(fd);
                return;
        }
        for (struct dirent *entry; (entry = readdir(dir));)
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        walk_entry(walk, dirfd(dir), entry->d_name, depth);
}

struct error *walk_usage(int dir_fd, const char *name, uint64_t *bytes, uint64_t *inodes)
{
        struct stat st;
        struct walk walk = { .bytes = 0 };
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(errno, "look at %s", name);
        walk.device = st.st_dev;
        walk_entry(&walk, dir_fd, name, 0);
        *bytes += walk.bytes;
        *inodes += walk.inodes;
        return NULL;
}
