#include "base/mount.h"
#include "base/mount_fs.h"
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The system calls by number: neither musl nor an older glibc has wrappers for all of them, and glibc's
 * sys/mount.h cannot be included beside linux/mount.h. */
#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2 /* of umount2(2), in sys/mount.h */
#endif

int fs_config(int fs_fd, unsigned command, const char *key, const void *value, int aux)
{
        return (int) syscall(__NR_fsconfig, fs_fd, command, key, value, aux);
}

struct error *fs_error(int fs_fd, int errnum, const char *what)
{
        char said[256];
        ssize_t len_bytes = read(fs_fd, said, sizeof(said) - 1);
        if (len_bytes <= 2)
                return error_errno(errnum, "%s", what);
        said[len_bytes] = '\0';
        said[strcspn(said, "\n")] = '\0';
        return error_errno(errnum, "%s: %s", what, said + 2);
}

struct error *fs_open(const char *type, int *out_fd)
{
        int fd = (int) syscall(__NR_fsopen, type, FSOPEN_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "fsopen %s", type);
        /* What mount tables show as the device: tools know "overlay" and "proc", not "none". */
        (void) fs_config(fd, FSCONFIG_SET_STRING, "source", type, 0);
        *out_fd = fd;
        return NULL;
}

struct error *fs_set(int fs_fd, const char *key, const char *value)
{
        int rc = value ? fs_config(fs_fd, FSCONFIG_SET_STRING, key, value, 0)
                       : fs_config(fs_fd, FSCONFIG_SET_FLAG, key, NULL, 0);
        return rc < 0 ? fs_error(fs_fd, errno, key) : NULL;
}

struct error *fs_mount(int fs_fd, const char *type, uint64_t attributes, int *out_fd)
{
        if (fs_config(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return fs_error(fs_fd, errno, type);
        int fd = (int) syscall(__NR_fsmount, fs_fd, FSMOUNT_CLOEXEC, (unsigned) attributes);
        if (fd < 0)
                return fs_error(fs_fd, errno, type);
        *out_fd = fd;
        return NULL;
}

struct error *mount_new(const char *type, const char *const *options, uint64_t attributes, int *out_fd)
{
        _cleanup_(closep) int fs_fd = -1;
        TRY(fs_open(type, &fs_fd));
        for (; options && options[0]; options += 2)
                TRY_WRAP(fs_set(fs_fd, options[0], options[1]), "mount %s", type);
        TRY_WRAP(fs_mount(fs_fd, type, attributes, out_fd), "mount");
        return NULL;
}

struct error *mount_clone_peer(int dir_fd, const char *path, bool recursive, int *out_fd)
{
        unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned) (*path ? 0 : AT_EMPTY_PATH) |
                         (unsigned) (recursive ? AT_RECURSIVE : 0);
        int fd = (int) syscall(__NR_open_tree, dir_fd, path, flags);
        if (fd < 0)
                return error_errno(errno, "clone the mount of %s", *path ? path : "a descriptor");
        *out_fd = fd;
        return NULL;
}

struct error *mount_attributes(int mount_fd, uint64_t set, uint64_t clear, uint64_t propagation,
                               bool recursive)
{
        struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };
        unsigned flags = (unsigned) AT_EMPTY_PATH | (unsigned) (recursive ? AT_RECURSIVE : 0);
        if (syscall(__NR_mount_setattr, mount_fd, "", flags, &attr, sizeof(attr)) < 0)
                return error_errno(errno, "set mount attributes");
        return NULL;
}

struct error *mount_idmap(int mount_fd, int userns_fd, bool recursive)
{
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (__u64) userns_fd };
        unsigned flags = (unsigned) AT_EMPTY_PATH | (unsigned) (recursive ? AT_RECURSIVE : 0);
        if (syscall(__NR_mount_setattr, mount_fd, "", flags, &attr, sizeof(attr)) < 0)
                return error_errno(errno, "map the ids of a mount");
        return NULL;
}

struct error *mount_clone(int dir_fd, const char *path, bool recursive, int *out_fd)
{
        _cleanup_(closep) int fd = -1;
        TRY(mount_clone_peer(dir_fd, path, recursive, &fd));
        TRY(mount_attributes(fd, 0, 0, MS_PRIVATE, recursive));
        *out_fd = TAKE_FD(fd);
        return NULL;
}

struct error *mount_attach(int mount_fd, int dir_fd, const char *path)
{
        unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*path ? 0U : MOVE_MOUNT_T_EMPTY_PATH);
        if (syscall(__NR_move_mount, mount_fd, "", dir_fd, path, flags) < 0)
                return error_errno(errno, "attach a mount at %s", *path ? path : "a descriptor");
        return NULL;
}

/* A chroot has its parent mount outside, where MS_PRIVATE on / does not reach, or is no mount at all: setns(2) into the
 * namespace that one is in leads to its real root. */
static struct error *enter_real_root(void)
{
        _cleanup_(closep) int self_fd = (int) syscall(__NR_pidfd_open, getpid(), 0);
        if (self_fd < 0)
                return error_errno(errno, "pidfd_open");
        if (setns(self_fd, CLONE_NEWNS) < 0)
                return error_errno(errno, "enter the root of the mount namespace");
        return NULL;
}

struct error *mount_pivot(int mount_fd)
{
        TRY(enter_real_root());
        if (syscall(__NR_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return error_errno(errno, "make mounts private");
        TRY(mount_attributes(mount_fd, 0, 0, MS_PRIVATE, false));
        TRY(mount_attach(mount_fd, AT_FDCWD, "/"));
        if (fchdir(mount_fd) < 0)
                return error_errno(errno, "enter the new root");
        if (syscall(__NR_pivot_root, ".", ".") < 0)
                return errno == EINVAL
                               ? error_new(ERROR_FAILED_PRECONDITION,
                                           "pivot_root: the root filesystem is an initramfs, or skiff's "
                                           "mount namespace has none of its own: start it on a real one")
                               : error_errno(errno, "pivot_root");
        if (syscall(__NR_umount2, ".", MNT_DETACH) < 0)
                return error_errno(errno, "drop the host's filesystem");
        if (chdir("/") < 0)
                return error_errno(errno, "enter the new root");
        return NULL;
}
