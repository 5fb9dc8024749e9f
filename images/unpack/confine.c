#include "images/unpack/confine.h"
#include "base/mount.h"
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0 /* sanitizers reserve terabytes and make system calls of their own */
#endif

#define CAP(name) (UINT64_C(1) << (name))

static const uint64_t kept_capabilities = CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) |
                                          CAP(CAP_FSETID) | CAP(CAP_MKNOD) | CAP(CAP_SETFCAP);

static struct error *enter_layer(int layer_fd)
{
        if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
                return error_errno(errno, "new namespaces");
        return mount_pivot(layer_fd);
}

static struct error *limit_resources(void)
{
        static const struct {
                __rlimit_resource_t what;
                rlim_t limit;
        } limits[] = {
                { RLIMIT_CORE, 0 },
                /* Few are open at once; but no descriptor can be sent while more than this are on their way from any process
                 * of root's, and each start of a container has dozens. */
                { RLIMIT_NOFILE, 1024 },
                { RLIMIT_DATA,
                  768 << 20 }, /* zstd's window is 128 MiB, names of directories are kept to the end */
                { RLIMIT_MEMLOCK, 0 },
                { RLIMIT_MSGQUEUE, 0 },
                { RLIMIT_SIGPENDING, 16 },
        };
        for (size_t i = 0; i < LENGTH(limits); i++) {
                struct rlimit own, limit = { limits[i].limit, limits[i].limit };
                if (getrlimit(limits[i].what, &own) == 0 && own.rlim_max < limit.rlim_max)
                        limit = (struct rlimit){ own.rlim_max,
                                                 own.rlim_max }; /* skiffd may have little itself */
                if (setrlimit(limits[i].what, &limit) < 0)
                        return error_errno(errno, "limit resources");
        }
        return NULL;
}

static struct error *drop_capabilities(void)
{
        /* The bounding set's end is the kernel's last capability: EINVAL. */
        for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (!(kept_capabilities & CAP(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return error_errno(errno, "drop capability %lu", cap);
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return error_errno(errno, "drop ambient capabilities");
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };
        for (size_t i = 0; i < LENGTH(data); i++)
                data[i].effective = data[i].permitted = (uint32_t) (kept_capabilities >> (32 * i));
        if (syscall(SYS_capset, &header, data) < 0)
                return error_errno(errno, "keep six capabilities");
        return NULL;
}

static const char *const allowed_calls[] = {
        /* the stream, the socket, the files */
        "read",
        "write",
        "pread64",
        "pwrite64",
        "readv",
        "writev",
        "lseek",
        "close",
        "fcntl",
        "poll",
        "ppoll",
        "sendmsg",
        "sendto",
        "recvmsg",
        "recvfrom",
        /* the layer */
        "openat",
        "openat2",
        "mkdirat",
        "mknodat",
        "symlinkat",
        "linkat",
        "readlinkat",
        "renameat",
        "renameat2",
        "getdents64",
        "fchmodat",
        "unlinkat",
        "unlink",
        "rmdir",
        "ftruncate",
        "fchmod",
        "fchown",
        "fchownat",
        "fsetxattr",
        "utimensat",
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

static struct error *filter_calls(void)
{
        if (IS_SANITIZED)
                return NULL;
        _cleanup_(filter_free) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        if (!filter)
                return error_new(ERROR_INTERNAL, "seccomp: no filter");
        for (size_t i = 0; i < LENGTH(allowed_calls); i++) {
                int number = seccomp_syscall_resolve_name(allowed_calls[i]);
                if (number == __NR_SCMP_ERROR) /* this architecture has another of the same use */
                        continue;
                int status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
                if (status < 0)
                        return error_errno(-status, "seccomp: allow %s", allowed_calls[i]);
        }
        int status = seccomp_load(filter);
        return status < 0 ? error_errno(-status, "seccomp: load") : NULL;
}

struct error *confine(int layer_fd)
{
        (void) umask(0);
        TRY(enter_layer(layer_fd));
        if (!IS_SANITIZED)
                TRY(limit_resources());
        TRY(drop_capabilities());
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_errno(errno, "no new privileges");
        return filter_calls();
}
