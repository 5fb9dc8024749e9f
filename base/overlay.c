#include "base/overlay.h"
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

#define OPTION_MAX_BYTES 255 /* fsconfig(2) takes strings of at most this */

struct overlay {
        const int *lower_fds;
        size_t n;
        int upper_fd, work_fd;
        bool is_volatile;
        const char *context;    /* SELinux's, or NULL */
        int tree_fd, userns_fd; /* mount_overlay_mapped's; -1: none */
};

/* --- the ways to name its directories, newest first --- */

static int set_fd(int fs_fd, const char *key, int fd)
{
        return fs_config(fs_fd, FSCONFIG_SET_FD, key, NULL, fd);
}

static int set_name(int fs_fd, const char *key, int fd)
{
        char name[32];
        (void) snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        return fs_config(fs_fd, FSCONFIG_SET_STRING, key, name, 0);
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

/* mount(2) takes a page of options where fsconfig takes 255 bytes, but mounts into a namespace: so a child that
 * shares memory and descriptors, in a mount namespace of its own, mounts and clones it detached. Before 6.15 overlay
 * takes only directories of the caller's own namespace, so the child opens them anew, by the names that they have, and
 * checks that they are the same. */
struct old_mount {
        const struct overlay *overlay;
        char *options; /* PAGE_BYTES */
        int *opened;   /* the descriptors are shared: what it opened it closes */
        size_t n_opened;
        char *tree_path; /* PAGE_BYTES: the name of overlay->tree_fd, where there is one */
        int mapped_fd;   /* its idmapped clone, attached; -1 before */
        int fd, errnum;
};

enum { PAGE_BYTES = 4096, STACK_BYTES = 65536 };

static bool path_of(int fd, char *path)
{
        char link[32];
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t len_bytes = readlink(link, path, PAGE_BYTES - 1);
        path[len_bytes > 0 ? len_bytes : 0] = '\0';
        return len_bytes > 0;
}

/* The directory of fd in this process's mount namespace, to be closed by the caller; -1 and errno. */
static int open_again(const struct old_mount *m, int fd, bool is_lower)
{
        char path[PAGE_BYTES];
        struct stat was, is;
        if (!path_of(fd, path))
                return -1;
        size_t skipped = is_lower && m->mapped_fd >= 0 ? strlen(m->tree_path) + 1 : 0;
        if (skipped && (strncmp(path, m->tree_path, skipped - 1) != 0 || path[skipped - 1] != '/')) {
                errno = EXDEV;
                return -1;
        }
        int again =
                openat(skipped ? m->mapped_fd : AT_FDCWD, path + skipped, O_PATH | O_DIRECTORY | O_CLOEXEC);
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
static bool put_again(struct old_mount *m, size_t *len_bytes, const char *key, int fd, bool is_lower)
{
        int again = open_again(m, fd, is_lower);
        if (again < 0)
                return false;
        m->opened[m->n_opened++] = again;
        *len_bytes += (size_t) snprintf(m->options + *len_bytes, PAGE_BYTES - *len_bytes,
                                        "%s/proc/self/fd/%d", key, again);
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
        int n = snprintf(m->options + len_bytes, PAGE_BYTES - len_bytes, "%s%s%s%s",
                         o->is_volatile ? ",volatile" : "", o->context ? ",context=\"" : "",
                         o->context ? o->context : "", o->context ? "\"" : "");
        if ((size_t) n < PAGE_BYTES - len_bytes)
                return true;
        errno = E2BIG;
        return false;
}

/* A clone of the lowers' tree with the other ids, attached where nobody outside of this namespace sees it: /proc, which is
 * private here, has a directory that is made to be mounted on. */
static bool attach_mapped(struct old_mount *m)
{
        const struct overlay *o = m->overlay;
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP,
                                   .propagation = MS_PRIVATE,
                                   .userns_fd = (__u64) o->userns_fd };
        if (o->userns_fd < 0)
                return true;
        if (!path_of(o->tree_fd, m->tree_path))
                return false;
        int tree_fd = open_again(m, o->tree_fd, false);
        if (tree_fd < 0)
                return false;
        m->opened[m->n_opened++] = tree_fd;
        int fd = (int) syscall(__NR_open_tree, tree_fd, "",
                               OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned) AT_EMPTY_PATH);
        if (fd < 0)
                return false;
        m->opened[m->n_opened++] = fd;
        if (syscall(__NR_mount_setattr, fd, "", (unsigned) AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
            syscall(__NR_move_mount, fd, "", AT_FDCWD, "/proc/fs", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return false;
        m->mapped_fd = fd;
        return true;
}

static int old_mount_child(void *argument)
{
        struct old_mount *m = argument;
        /* What is mounted on a shared mount is mounted for its peers too, the host's /proc: not on / alone, which in a
         * chroot may be no mount. */
        if (syscall(__NR_mount, NULL, "/proc", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && attach_mapped(m) &&
            old_mount_options(m) && syscall(__NR_mount, "overlay", "/proc", "overlay", 0, m->options) == 0)
                m->fd = (int) syscall(__NR_open_tree, AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        m->errnum = errno;
        for (size_t i = 0; i < m->n_opened; i++)
                (void) close(m->opened[i]);
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
                               .tree_path = malloc(PAGE_BYTES),
                               .opened = calloc(o->n + 4, sizeof(int)),
                               .mapped_fd = -1,
                               .fd = -1 };
        struct error *e = m.options && m.tree_path && m.opened && stack
                                  ? overlay_mount_with(&m, stack, out_fd)
                                  : error_errno(ENOMEM, "overlay options");
        free(stack);
        free(m.tree_path);
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
        if (o->context)
                TRY(fs_set(fs_fd, "context", o->context));
        return fs_mount(fs_fd, "overlay", 0, out_fd);
}

/* An overlay wants two directories: of one that nobody writes to a clone shows the same. */
static struct error *overlay_of_one(const struct overlay *o, int *out_fd)
{
        _cleanup_(closep) int fd = -1;
        TRY(mount_clone(o->lower_fds[0], "", false, &fd));
        if (o->userns_fd >= 0)
                TRY(mount_idmap(fd, o->userns_fd, false));
        TRY(mount_attributes(fd, MOUNT_ATTR_RDONLY, 0, 0, false));
        *out_fd = TAKE_FD(fd);
        return NULL;
}

struct error *mount_overlay_mapped(int tree_fd, int userns_fd, const int *lower_fds, size_t n, int upper_fd,
                                   int work_fd, bool is_volatile, const char *context, int *out_fd)
{
        const struct overlay o = {
                lower_fds, n, upper_fd, work_fd, is_volatile, context, tree_fd, userns_fd
        };
        if (n == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "an overlay of no layers");
        return n == 1 && upper_fd < 0 ? overlay_of_one(&o, out_fd) : overlay_mount_old(&o, out_fd);
}

struct error *mount_overlay(const int *lower_fds, size_t n, int upper_fd, int work_fd, bool is_volatile,
                            const char *context, int *out_fd)
{
        const struct overlay o = { lower_fds, n, upper_fd, work_fd, is_volatile, context, -1, -1 };
        if (n == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "an overlay of no layers");
        if (n == 1 && upper_fd < 0)
                return overlay_of_one(&o, out_fd);
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
