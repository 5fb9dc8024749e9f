#include "base/mount.h"
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
#define OPTION_MAX_BYTES 255 /* fsconfig(2) takes strings of at most this */

static int sys_fsconfig(int fs_fd, unsigned command, const char *key, const void *value, int aux)
{
        return (int) syscall(__NR_fsconfig, fs_fd, command, key, value, aux);
}

/* The kernel's own words about what went wrong: one line of the fs context's log, "e overlay: ...". */
static struct error *fs_error(int fs_fd, int errnum, const char *what)
{
        char said[256];
        ssize_t len_bytes = read(fs_fd, said, sizeof(said) - 1);
        if (len_bytes <= 2)
                return error_errno(errnum, "%s", what);
        said[len_bytes] = '\0';
        said[strcspn(said, "\n")] = '\0';
        return error_errno(errnum, "%s: %s", what, said + 2);
}

static struct error *fs_open(const char *type, int *out_fd)
{
        int fd = (int) syscall(__NR_fsopen, type, FSOPEN_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "fsopen %s", type);
        /* What mount tables show as the device: tools know "overlay" and "proc", not "none". */
        (void) sys_fsconfig(fd, FSCONFIG_SET_STRING, "source", type, 0);
        *out_fd = fd;
        return NULL;
}

static struct error *fs_set(int fs_fd, const char *key, const char *value)
{
        int rc = value ? sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value, 0)
                       : sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, key, NULL, 0);
        return rc < 0 ? fs_error(fs_fd, errno, key) : NULL;
}

static struct error *fs_mount(int fs_fd, const char *type, uint64_t attributes, int *out_fd)
{
        if (sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
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

/* --- overlay: the ways to name its directories, newest first --- */

struct overlay {
        const int *lower_fds;
        size_t n;
        int upper_fd, work_fd;
        bool is_volatile;
        const struct mount_map *map; /* of the lower directories; NULL: none */
};

static int set_fd(int fs_fd, const char *key, int fd)
{
        return sys_fsconfig(fs_fd, FSCONFIG_SET_FD, key, NULL, fd);
}

static int set_name(int fs_fd, const char *key, int fd)
{
        char name[32];
        (void) snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        return sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, key, name, 0);
}

/* Sets the directories by `set`; a kernel that does not know this way fails the first call with EINVAL, EBADF or
 * EOPNOTSUPP. */
static struct error *overlay_set(int fs_fd, const struct overlay *o, int (*set)(int, const char *, int))
{
        for (size_t i = 0; i < o->n; i++)
                if (set(fs_fd, "lowerdir+", o->lower_fds[i]) < 0)
                        return fs_error(fs_fd, errno, "lowerdir+");
        if (o->upper_fd >= 0 && set(fs_fd, "upperdir", o->upper_fd) < 0)
                return fs_error(fs_fd, errno, "upperdir");
        if (o->upper_fd >= 0 && set(fs_fd, "workdir", o->work_fd) < 0)
                return fs_error(fs_fd, errno, "workdir");
        return o->is_volatile ? fs_set(fs_fd, "volatile", NULL) : NULL;
}

/* "lowerdir=A:B" of /proc/self/fd names into text; false when it does not fit. */
static bool lower_names(const struct overlay *o, char *text, size_t size_bytes)
{
        size_t len_bytes = 0;
        for (size_t i = 0; i < o->n; i++) {
                int n = snprintf(text + len_bytes, size_bytes - len_bytes, "%s/proc/self/fd/%d", i ? ":" : "",
                                 o->lower_fds[i]);
                len_bytes += (size_t) n;
                if (len_bytes >= size_bytes)
                        return false;
        }
        return true;
}

static struct error *overlay_set_old(int fs_fd, const struct overlay *o, const char *lower)
{
        TRY(fs_set(fs_fd, "lowerdir", lower));
        if (o->upper_fd >= 0 && set_name(fs_fd, "upperdir", o->upper_fd) < 0)
                return fs_error(fs_fd, errno, "upperdir");
        if (o->upper_fd >= 0 && set_name(fs_fd, "workdir", o->work_fd) < 0)
                return fs_error(fs_fd, errno, "workdir");
        return o->is_volatile ? fs_set(fs_fd, "volatile", NULL) : NULL;
}

enum { PAGE_BYTES = 4096, STACK_BYTES = 65536 };

/* mount(2) takes a page of options where fsconfig takes 255 bytes, but mounts into a namespace: so a child that
 * shares memory and descriptors, in a mount namespace of its own, mounts and clones it detached. Before 6.15 overlay
 * takes only directories of the caller's own namespace, so the child opens them anew, by the names that they have, and
 * checks that they are the same. Directories with other ids must be of a mount of that namespace too: a mapped clone of
 * what holds them is attached there, and they are opened below it.
 *
 * All of it is attached at /proc, which is surely a mount, so the descriptors' own directory is opened before, and is the
 * working directory: "12" then is a directory by its descriptor. */
struct old_mount {
        const struct overlay *overlay;
        char *options; /* PAGE_BYTES */
        int *opened;   /* the descriptors are shared: what it opened it closes */
        size_t n_opened;
        int fd, errnum;
        int map_fd;            /* the mapped clone; -1: none */
        char root[PAGE_BYTES]; /* the path of what it is a clone of */
};

/* The path of a descriptor, in the directory of descriptors that is the working directory. */
static bool path_of(int fd, char path[PAGE_BYTES])
{
        char link[16];
        (void) snprintf(link, sizeof(link), "%d", fd);
        ssize_t len_bytes = readlink(link, path, PAGE_BYTES - 1);
        path[len_bytes < 0 ? 0 : len_bytes] = '\0';
        return len_bytes >= 0;
}

/* The directory of fd in this process's mount namespace, below the mapped clone where there is one and is_mapped; -1 and errno. */
static int open_again(const struct old_mount *m, int fd, bool is_mapped)
{
        char path[PAGE_BYTES];
        struct stat was, is;
        if (!path_of(fd, path))
                return -1;
        const char *below = path;
        if (is_mapped && m->map_fd >= 0) {
                size_t root_bytes = strlen(m->root);
                if (strncmp(path, m->root, root_bytes) != 0 || path[root_bytes] != '/') {
                        errno = ESTALE; /* it would not have the ids that it is to have */
                        return -1;
                }
                below = path + root_bytes + 1;
        }
        int again = openat(below == path ? AT_FDCWD : m->map_fd, below, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (again < 0)
                return -1;
        if (fstat(fd, &was) == 0 && fstat(again, &is) == 0 && was.st_dev == is.st_dev &&
            was.st_ino == is.st_ino)
                return again;
        (void) close(again);
        errno = ESTALE;
        return -1;
}

/* Appends "KEYfd" for the directory opened anew; false and errno. */
static bool put_again(struct old_mount *m, size_t *len_bytes, const char *key, int fd, bool is_mapped)
{
        int again = open_again(m, fd, is_mapped);
        if (again < 0)
                return false;
        m->opened[m->n_opened++] = again;
        *len_bytes += (size_t) snprintf(m->options + *len_bytes, PAGE_BYTES - *len_bytes, "%s%d", key, again);
        if (*len_bytes < PAGE_BYTES - sizeof(",volatile"))
                return true;
        errno = E2BIG;
        return false;
}

static bool old_mount_options(struct old_mount *m)
{
        const struct overlay *o = m->overlay;
        size_t len_bytes = 0;
        for (size_t i = 0; i < o->n; i++)
                if (!put_again(m, &len_bytes, i ? ":" : "lowerdir=", o->lower_fds[i], true))
                        return false;
        if (o->upper_fd >= 0 && (!put_again(m, &len_bytes, ",upperdir=", o->upper_fd, false) ||
                                 !put_again(m, &len_bytes, ",workdir=", o->work_fd, false)))
                return false;
        if (o->is_volatile)
                (void) snprintf(m->options + len_bytes, PAGE_BYTES - len_bytes, ",volatile");
        return true;
}

/* What is mounted on a shared mount is mounted for its peers too, the host's /proc: not on / alone, which in a chroot may be
 * no mount. */
static bool enter_descriptors(void)
{
        int fd = syscall(__NR_mount, NULL, "/proc", NULL, MS_PRIVATE, NULL) == 0
                         ? open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)
                         : -1;
        bool entered = fd >= 0 && fchdir(fd) == 0;
        if (fd >= 0)
                (void) close(fd);
        return entered;
}

static bool attach_mapped(struct old_mount *m)
{
        const struct mount_map *map = m->overlay->map;
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .propagation = MS_PRIVATE };
        if (!map)
                return true;
        attr.userns_fd = (__u64) map->userns_fd;
        if (!path_of(map->root_fd, m->root))
                return false;
        m->map_fd = (int) syscall(__NR_open_tree, AT_FDCWD, m->root, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        return m->map_fd >= 0 &&
               syscall(__NR_mount_setattr, m->map_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0 &&
               syscall(__NR_move_mount, m->map_fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

static int old_mount_child(void *argument)
{
        struct old_mount *m = argument;
        if (enter_descriptors() && attach_mapped(m) && old_mount_options(m) &&
            syscall(__NR_mount, "overlay", "/proc", "overlay", 0, m->options) == 0)
                m->fd = (int) syscall(__NR_open_tree, AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        m->errnum = errno;
        for (size_t i = 0; i < m->n_opened; i++)
                (void) close(m->opened[i]);
        if (m->map_fd >= 0)
                (void) close(m->map_fd);
        return 0;
}

static struct error *overlay_mount_with(struct old_mount *m, char *stack, int *out_fd)
{
        /* An exit signal of 0: no SIGCHLD for whoever waits for children by signal. */
        pid_t child = clone(old_mount_child, stack + STACK_BYTES,
                            CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWNS, m);
        if (child < 0)
                return error_errno(errno, "clone for an overlay mount");
        while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
                continue;
        if (m->fd < 0)
                return error_errno(m->errnum, "mount overlay of %zu layers", m->overlay->n);
        *out_fd = m->fd;
        return NULL;
}

static struct error *overlay_mount_old(const struct overlay *o, int *out_fd)
{
        char *stack = malloc(STACK_BYTES);
        struct old_mount m = { .overlay = o,
                               .options = malloc(PAGE_BYTES),
                               .opened = calloc(o->n + 2, sizeof(int)),
                               .fd = -1,
                               .map_fd = -1 };
        struct error *e = m.options && m.opened && stack ? overlay_mount_with(&m, stack, out_fd)
                                                         : error_errno(ENOMEM, "overlay options");
        free(stack);
        free(m.options);
        free(m.opened);
        return e;
}

static struct error *overlay_new(const struct overlay *o, int (*set)(int, const char *, int), int *out_fd)
{
        _cleanup_(closep) int fs_fd = -1;
        TRY(fs_open("overlay", &fs_fd));
        char lower[OPTION_MAX_BYTES + 1];
        if (set)
                TRY(overlay_set(fs_fd, o, set));
        else if (lower_names(o, lower, sizeof(lower)))
                TRY(overlay_set_old(fs_fd, o, lower));
        else
                return overlay_mount_old(o, out_fd);
        return fs_mount(fs_fd, "overlay", 0, out_fd);
}

struct error *mount_overlay(const int *lower_fds, size_t n, int upper_fd, int work_fd, bool is_volatile,
                            int *out_fd)
{
        struct overlay o = { lower_fds, n, upper_fd, work_fd, is_volatile, NULL };
        if (n == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "an overlay of no layers");
        if (n == 1 && upper_fd < 0) {
                TRY(mount_clone(lower_fds[0], "", false, out_fd));
                struct error *e = mount_attributes(*out_fd, MOUNT_ATTR_RDONLY, 0, 0, false);
                if (e)
                        closep(out_fd);
                return e;
        }
        int (*const ways[])(int, const char *, int) = { set_fd, set_name, NULL };
        for (size_t i = 0;; i++) {
                struct error *e = overlay_new(&o, ways[i], out_fd);
                if (!e || !ways[i])
                        return e;
                /* What every way would meet is told at once. */
                int errnum = error_errnum_of(e);
                if (errnum != EINVAL && errnum != EBADF && errnum != EOPNOTSUPP)
                        return e;
                error_free(e);
        }
}

struct error *mount_overlay_mapped(const int *lower_fds, size_t n, int upper_fd, int work_fd,
                                   bool is_volatile, const struct mount_map *map, int *out_fd)
{
        struct overlay o = { lower_fds, n, upper_fd, work_fd, is_volatile, map };
        _cleanup_(closep) int fd = -1;
        if (n == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "an overlay of no layers");
        if (n > 1 || upper_fd >= 0)
                return overlay_mount_old(&o, out_fd);
        TRY(mount_clone(lower_fds[0], "", false, &fd));
        TRY(mount_idmap(fd, map->userns_fd, false));
        TRY(mount_attributes(fd, MOUNT_ATTR_RDONLY, 0, 0, false));
        *out_fd = TAKE_FD(fd);
        return NULL;
}
