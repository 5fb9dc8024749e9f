/* sys.h - system calls that musl has no wrapper for, and whose headers differ between musl and glibc. Each is what its
 * man page says: -1 and errno on failure. Safe between clone and exec. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
/* linux/sched.h collides with sched.h in some libcs */
#define SYS_CLONE_PIDFD 0x00001000ULL
#define SYS_CLONE_INTO_CGROUP 0x200000000ULL
#define SYS_UMOUNT_DETACH 2

struct sys_clone_args {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
                set_tid_size, cgroup;
};

static inline pid_t sys_clone3(const struct sys_clone_args *args)
{
        return (pid_t) syscall(__NR_clone3, args, sizeof(*args));
}

/* For one that a seccomp program is on already: those that know clone3(2) not to be seen through refuse it. */
static inline pid_t sys_fork(void)
{
        return (pid_t) syscall(__NR_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
        return (int) syscall(__NR_pivot_root, new_root, put_old);
}

static inline int sys_umount(const char *path, int flags)
{
        return (int) syscall(__NR_umount2, path, flags);
}

static inline int sys_fsopen(const char *type)
{
        return (int) syscall(__NR_fsopen, type, FSOPEN_CLOEXEC);
}

static inline int sys_fsconfig(int fs_fd, unsigned command, const char *key, const char *value)
{
        return (int) syscall(__NR_fsconfig, fs_fd, command, key, value, 0);
}

static inline int sys_fsmount(int fs_fd, uint64_t attributes)
{
        return (int) syscall(__NR_fsmount, fs_fd, FSMOUNT_CLOEXEC, (unsigned) attributes);
}

static inline int sys_open_tree(int dir_fd, const char *path, unsigned flags)
{
        return (int) syscall(__NR_open_tree, dir_fd, path, flags | OPEN_TREE_CLOEXEC);
}

/* Attaches mount_fd on what to_fd is. */
static inline int sys_attach(int mount_fd, int to_fd)
{
        return (int) syscall(__NR_move_mount, mount_fd, "", to_fd, "",
                             MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static inline int sys_mount_setattr(int mount_fd, int recursive, uint64_t set, uint64_t propagation)
{
        struct mount_attr attr = { .attr_set = set, .propagation = propagation };
        return (int) syscall(__NR_mount_setattr, mount_fd, "", AT_EMPTY_PATH | (recursive ? 0x8000 : 0),
                             &attr, sizeof(attr));
}

static inline int sys_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t resolve)
{
        struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };
        return (int) syscall(__NR_openat2, dir_fd, path, &how, sizeof(how));
}

static inline int sys_pidfd_open(pid_t pid)
{
        return (int) syscall(__NR_pidfd_open, pid, 0);
}

static inline int sys_pidfd_signal(int pid_fd, int signal)
{
        return (int) syscall(__NR_pidfd_send_signal, pid_fd, signal, NULL, 0);
}

static inline int sys_close_range(unsigned first, unsigned flags)
{
        return (int) syscall(__NR_close_range, first, ~0U, flags);
}
