/* A terminal of the container's own: nothing of the host's devpts is ever in it. */
#include "base/socket.h"
#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <linux/magic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

#define ROWS 24 /* of a terminal whose size nobody has told */
#define COLUMNS 80

/* Whatever an image or a process of the container has put in its place is not it. */
static int is_ptmx(int fd)
{
        struct stat st;
        struct statfs fs;
        return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2) &&
               fstatfs(fd, &fs) == 0 && (long) fs.f_type == DEVPTS_SUPER_MAGIC;
}

/* The multiplexer of the devpts that is mounted there, looked at before it is opened. */
static int master_open(const struct child *child)
{
        char path[32];
        int path_fd = sys_openat2(AT_FDCWD, "/dev/pts/ptmx", O_PATH, CHILD_IN_ROOT | RESOLVE_NO_SYMLINKS);
        if (path_fd < 0)
                return -1;
        if (!is_ptmx(path_fd)) {
                errno = ENODEV;
                return -1;
        }
        (void) snprintf(path, sizeof(path), "self/fd/%d", path_fd);
        int fd = openat(child->pod->proc_fd, path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        (void) close(path_fd);
        return fd;
}

/* By the master, not by a name: none that a container could have put something else behind. */
static int slave_open(int master_fd)
{
        int unlocked = 0;
        if (ioctl(master_fd, TIOCSPTLCK, &unlocked) < 0)
                return -1;
        return ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int is_link(int fd)
{
        struct stat st;
        return fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

/* The slave on /dev/console, which is made where it is absent; a link that stands there is not followed. */
static void console_bind(const struct child *child, int slave_fd)
{
        int dev_fd = sys_openat2(AT_FDCWD, "/dev", O_PATH | O_DIRECTORY, CHILD_IN_ROOT | RESOLVE_NO_SYMLINKS);
        if (dev_fd < 0 || (mknodat(dev_fd, "console", S_IFREG | 0600, 0) < 0 && errno != EEXIST))
                child_fail(child, STAGE_CONSOLE, 0);
        int target_fd = openat(dev_fd, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (target_fd >= 0 && is_link(target_fd)) {
                errno = ELOOP;
                child_fail(child, STAGE_CONSOLE, 0);
        }
        int mount_fd = sys_open_tree(slave_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
        if (target_fd < 0 || mount_fd < 0 || sys_attach(mount_fd, target_fd) < 0)
                child_fail(child, STAGE_CONSOLE, 0);
        (void) close(mount_fd);
        (void) close(target_fd);
        (void) close(dev_fd);
}

/* To whoever reads it: an exec's client; or skiff-pod, which gets a slave too and so keeps the terminal of a container that
 * closes its own. */
static void master_send(const struct child *child, int master_fd, int slave_fd)
{
        static const struct wait for_ever = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        const int fds[] = { master_fd, slave_fd };
        struct error *e = socket_send(child->console_fd, "", 1, fds, child->message ? 2 : 1, &for_ever);
        if (e) {
                errno = error_errnum_of(e);
                child_fail(child, STAGE_TERMINAL, 0);
        }
        (void) close(child->console_fd);
        (void) close(master_fd);
}

void child_terminal(const struct child *child)
{
        const struct winsize size = { .ws_row = child->rows ? child->rows : ROWS,
                                      .ws_col = child->columns ? child->columns : COLUMNS };
        int master_fd = master_open(child), slave_fd = master_fd < 0 ? -1 : slave_open(master_fd);
        if (slave_fd < 0 || ioctl(slave_fd, TIOCSWINSZ, &size) < 0 ||
            fchown(slave_fd, child->process->uid, (gid_t) -1) < 0)
                child_fail(child, STAGE_TERMINAL, 0);
        if (child->message)
                console_bind(child, slave_fd);
        for (int i = 0; i < 3; i++)
                if (dup2(slave_fd, i) < 0)
                        child_fail(child, STAGE_STDIO, (size_t) i);
        if (ioctl(0, TIOCSCTTY, 0) < 0)
                child_fail(child, STAGE_TERMINAL, 0);
        master_send(child, master_fd, slave_fd);
        (void) close(slave_fd);
}
