/* A network namespace gets a path, since CNI takes one: a bind mount of its nsfs file below /run/netns, where `ip netns`
 * and plugins look. Source: iproute2's ip-netns(8); mount(2), network_namespaces(7). */
#include "base/file.h"
#include "cni/cni.h"
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define NETNS_DIR "/run/netns"

static struct error *check_name(const char *name)
{
        if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 200)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is no name for a network namespace", name);
        return NULL;
}

/* Shared, so that what is pinned here is seen in other mount namespaces too, and what is unpinned goes there. Only a
 * mount point can be: where the directory is none it is bound onto itself, as `ip netns add` does. */
static struct error *make_shared(void)
{
        if (mount("", NETNS_DIR, "none", MS_SHARED, NULL) == 0)
                return NULL;
        if (errno != EINVAL)
                return error_errno(errno, "make " NETNS_DIR " shared");
        if (mount(NETNS_DIR, NETNS_DIR, "none", MS_BIND | MS_REC, NULL) < 0)
                return error_errno(errno, "bind " NETNS_DIR);
        if (mount("", NETNS_DIR, "none", MS_SHARED, NULL) < 0)
                return error_errno(errno, "make " NETNS_DIR " shared");
        return NULL;
}

/* The directory, locked against another `ip netns add` or skiffd that would bind it a second time. */
static struct error *dir_open(int *out_fd)
{
        if (mkdir(NETNS_DIR, 0755) < 0 && errno != EEXIST)
                return error_errno(errno, "make " NETNS_DIR);
        _cleanup_(closep) int fd = open(NETNS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "open " NETNS_DIR);
        if (flock(fd, LOCK_EX) < 0)
                return error_errno(errno, "lock " NETNS_DIR);
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static bool is_pinned(int netns_fd, const char *path)
{
        struct stat wanted, there;
        return fstat(netns_fd, &wanted) == 0 && stat(path, &there) == 0 && wanted.st_dev == there.st_dev &&
               wanted.st_ino == there.st_ino;
}

static struct error *unpin_path(const char *path)
{
        /* EINVAL: a plain file, left from between its making and the mount. */
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
                return error_errno(errno, "unmount %s", path);
        if (unlink(path) < 0 && errno != ENOENT)
                return error_errno(errno, "remove %s", path);
        return NULL;
}

static struct error *pin_path(int netns_fd, const char *path)
{
        char source[64];
        TRY(unpin_path(path)); /* of another namespace: the name is ours */
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        if (fd < 0)
                return error_errno(errno, "make %s", path);
        (void) snprintf(source, sizeof(source), "/proc/self/fd/%d", netns_fd);
        if (mount(source, path, "none", MS_BIND, NULL) < 0) {
                struct error *e = error_errno(errno, "mount on %s", path);
                (void) unlink(path);
                return e;
        }
        return NULL;
}

struct error *netns_pin(int netns_fd, const char *name)
{
        _cleanup_(closep) int lock_fd = -1;
        TRY(check_name(name));
        TRY(dir_open(&lock_fd));
        TRY(make_shared());
        _cleanup_(freep) char *path = format_string("%s/%s", NETNS_DIR, name);
        return is_pinned(netns_fd, path) ? NULL : pin_path(netns_fd, path);
}

struct error *netns_unpin(const char *name)
{
        TRY(check_name(name));
        _cleanup_(freep) char *path = format_string("%s/%s", NETNS_DIR, name);
        return unpin_path(path);
}

bool netns_is_at(const char *path)
{
        struct statfs fs;
        return statfs(path, &fs) == 0 && (unsigned long) fs.f_type == NSFS_MAGIC;
}
