#include "runtime/supervisor/spawn.h"
#include "runtime/supervisor/sys.h"
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#define WAIT_CALL __NR_pause
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#define WAIT_CALL __NR_ppoll
#else
#error "infra's seccomp program is not written for this architecture"
#endif

_Noreturn static void infra_fail(int report_fd)
{
        struct child_report report = { .stage = STAGE_CAPABILITIES, .errnum = errno };
        ssize_t ignored = write(report_fd, &report, sizeof(report));
        (void) ignored;
        _exit(1);
}

static int seccomp_lock(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WAIT_CALL, 4, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_restart_syscall, 3, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit, 2, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = LENGTH(filter), .filter = filter };
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
                       ? -1
                       : (int) syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

/* madvise(from, bytes, MADV_DONTNEED) in place: libc's own functions look at the canary when they return. */
#if !defined(__GLIBC__)
static inline void forget(uintptr_t from, uintptr_t bytes)
{
#if defined(__x86_64__)
        long result = __NR_madvise;
        register long advice __asm__("rdx") = MADV_DONTNEED;
        __asm__ volatile("syscall"
                         : "+a"(result)
                         : "D"(from), "S"(bytes), "r"(advice)
                         : "rcx", "r11", "memory");
#else
        register long number __asm__("x8") = __NR_madvise;
        register long x0 __asm__("x0") = (long) from;
        register long x1 __asm__("x1") = (long) bytes;
        register long x2 __asm__("x2") = MADV_DONTNEED;
        __asm__ volatile("svc 0" : "+r"(x0) : "r"(number), "r"(x1), "r"(x2) : "memory");
#endif
}
#endif

/* Gives back the memory that infra was copied with: it will not touch it again, and a node has hundreds of infras. From
 * here on errno and the stack protector's canary read as 0, so only system calls that succeed may follow, in functions that
 * are entered later. Only with musl, whose static program lies where the linker's symbols say; a sanitizer would object. */
__attribute__((no_stack_protector)) static void memory_release(const struct pod *pod)
{
#if !defined(__GLIBC__)
        extern char __bss_start[], _end[];
        const uintptr_t page_bytes = (uintptr_t) sysconf(_SC_PAGESIZE);
        uintptr_t heap = pod->heap_start, brk = (uintptr_t) syscall(__NR_brk, 0);
        uintptr_t bss = ((uintptr_t) __bss_start + page_bytes - 1) & ~(page_bytes - 1);
        uintptr_t end = ((uintptr_t) _end + page_bytes - 1) & ~(page_bytes - 1);
        if (brk > heap)
                forget(heap, brk - heap);
        if (end > bss)
                forget(bss, end - bss);
#else
        (void) pod;
#endif
}

/* Nothing is left to it but to exist. Children that are given to it as pid 1 of the pid namespace are reaped by the
 * kernel, since it ignores SIGCHLD. */
_Noreturn static void infra_run(const struct pod *pod, int report_fd)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[2] = { { 0 } };
        (void) prctl(PR_SET_NAME, "skiff-infra");
        (void) signal(SIGCHLD, SIG_IGN);
        (void) setsid();
        if (prctl(PR_SET_DUMPABLE, 0) < 0 || syscall(__NR_capset, &header, none) < 0)
                infra_fail(report_fd);
        (void) sys_close_range(0, 0);
        memory_release(pod);
        if (seccomp_lock() < 0)
                _exit(1);
        for (;;) {
#if defined(__x86_64__)
                (void) syscall(__NR_pause);
#else
                (void) syscall(__NR_ppoll, NULL, 0, NULL, NULL, 0);
#endif
        }
}

/* infra has ended, and with it all that was in the pod's pid namespace. skiffd decides what that means. */
static void infra_ended(struct source *source, uint32_t events)
{
        (void) events;
        struct pod *pod = CONTAINER_OF(CONTAINER_OF(source, struct infra, exit), struct pod, infra);
        struct wire_writer w;
        siginfo_t info;
        (void) waitid(P_PIDFD, (id_t) source->fd, &info, WEXITED | WNOHANG | __WALL);
        loop_remove(&pod->loop, source);
        closep(&source->fd);
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_INFRA_EXIT);
        events_send(pod, &w);
        wire_done(&w);
}

void infra_settled(struct pod *pod, struct child_report *report)
{
        struct source *source = &pod->infra.report;
        if (source->fd < 0)
                return;
        (void) report_look(source->fd, true, report);
        loop_remove(&pod->loop, source);
        closep(&source->fd);
}

/* One that failed ends, and is seen by that. */
static void report_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct child_report ignored;
        infra_settled(CONTAINER_OF(CONTAINER_OF(source, struct infra, report), struct pod, infra), &ignored);
}

void infra_start(struct pod *pod, struct child_report *report)
{
        _cleanup_(closep) int write_fd = -1;
        const struct spawn spawn = { .flags = CLONE_NEWPID, .pid_namespace = -1, .cgroup_fd = -1 };
        if (report_socket(&pod->infra.report.fd, &write_fd) < 0) {
                *report = (struct child_report){ .stage = STAGE_PIPE, .errnum = errno };
                return;
        }
        pid_t pid = spawn_clone(pod, &spawn, &pod->infra.exit.fd, report);
        if (pid == 0)
                infra_run(pod, write_fd);
        if (pid < 0)
                return;
        /* What it still does takes some microseconds of its own, and is waited for by the first container. */
        pod->infra.exit.ready = infra_ended;
        pod->infra.report.ready = report_ready;
        error_ignore(
                loop_add(&pod->loop, &pod->infra.exit, EPOLLIN)); /* it would be seen at the next attach */
        error_ignore(loop_add(&pod->loop, &pod->infra.report, EPOLLIN)); /* the first container looks */
}
