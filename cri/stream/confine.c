#include "cri/stream/confine.h"
#include "base/mount.h"
#include <grp.h>
#include <linux/mount.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0 /* sanitizers make system calls of their own, and look for leaks in /proc */
#endif

/* The network namespace is a new one, too: what is served are sockets that come from outside it. */
static struct error *leave_host(void)
{
        static const char *const options[] = { "mode", "0555", "size", "4k", "nr_inodes", "1", NULL };
        _cleanup_(closep) int root_fd = -1;
        if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
                return error_errno(errno, "new namespaces");
        TRY(mount_new("tmpfs", options,
                      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                      &root_fd));
        return mount_pivot(root_fd);
}

static struct error *limit_resources(void)
{
        struct rlimit fds;
        static const struct {
                __rlimit_resource_t what;
                rlim_t limit;
        } limits[] = {
                { RLIMIT_CORE, 0 },     { RLIMIT_FSIZE, 0 },       { RLIMIT_MEMLOCK, 0 },
                { RLIMIT_MSGQUEUE, 0 }, { RLIMIT_SIGPENDING, 16 },
        };
        for (size_t i = 0; i < LENGTH(limits); i++) {
                const struct rlimit limit = { limits[i].limit, limits[i].limit };
                if (setrlimit(limits[i].what, &limit) < 0)
                        return error_errno(errno, "limit resources");
        }
        if (getrlimit(RLIMIT_NOFILE, &fds) < 0)
                return error_errno(errno, "limit of descriptors");
        fds.rlim_cur = fds.rlim_max; /* a session has five, and a port-forward one a connection */
        return setrlimit(RLIMIT_NOFILE, &fds) < 0 ? error_errno(errno, "limit of descriptors") : NULL;
}

static struct error *drop_privileges(uid_t uid)
{
        /* The bounding set's end is the kernel's last capability: EINVAL. */
        for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return error_errno(errno, "drop capability %lu", cap);
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return error_errno(errno, "drop ambient capabilities");
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
                return error_errno(errno, "become %u", uid); /* and with uid 0 all capabilities are gone */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, IS_SANITIZED, 0, 0, 0) < 0)
                return error_errno(errno, "give up privileges");
        return NULL;
}

static const char *const allowed_calls[] = {
        /* sockets, pipes, terminals */
        "read",
        "write",
        "recvfrom",
        "sendto",
        "recvmsg",
        "sendmsg",
        "splice",
        "pipe2",
        "accept4",
        "accept",
        "shutdown",
        "getsockopt",
        "setsockopt",
        "close",
        "fcntl",
        "poll",
        "ppoll",
        "epoll_create1",
        "epoll_ctl",
        "epoll_wait",
        "epoll_pwait",
        /* PEM from memfds */
        "pread64",
        "fstat",
        "newfstatat",
        "fstatat64",
        "statx",
        /* memory, time and the end */
        "mmap",
        "munmap",
        "mremap",
        "mprotect",
        "brk",
        "madvise",
        "futex",
        "getrandom",
        "getpid",
        "sysinfo",
        "prlimit64",
        "ugetrlimit",
        "getrlimit",
        "clock_gettime",
        "rt_sigreturn",
        "restart_syscall",
        "exit",
        "exit_group",
};

static void filter_free(scmp_filter_ctx *filter)
{
        seccomp_release(*filter);
}

static struct error *allow(scmp_filter_ctx filter, const char *name)
{
        int number = seccomp_syscall_resolve_name(name);
        if (number == __NR_SCMP_ERROR) /* this architecture has another of the same use */
                return NULL;
        int status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        return status < 0 ? error_errno(-status, "seccomp: allow %s", name) : NULL;
}

static struct error *filter_calls(void)
{
        static const unsigned long ioctls[] = { FIONREAD, TIOCSWINSZ };
        if (IS_SANITIZED)
                return NULL;
        _cleanup_(filter_free) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        if (!filter)
                return error_new(ERROR_INTERNAL, "seccomp: no filter");
        for (size_t i = 0; i < LENGTH(allowed_calls); i++)
                TRY(allow(filter, allowed_calls[i]));
        for (size_t i = 0; i < LENGTH(ioctls); i++) {
                const struct scmp_arg_cmp request = { .arg = 1, .op = SCMP_CMP_EQ, .datum_a = ioctls[i] };
                int status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, request);
                if (status < 0)
                        return error_errno(-status, "seccomp: allow ioctl");
        }
        /* libc and OpenSSL look for a time zone and the like, and do without. */
        int status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(openat), 0);
        if (status == 0)
                status = seccomp_load(filter);
        return status < 0 ? error_errno(-status, "seccomp: load") : NULL;
}

struct error *confine(uid_t uid)
{
        if (!IS_SANITIZED)
                TRY(leave_host());
        TRY(drop_privileges(uid));
        TRY(limit_resources());
        return filter_calls();
}
