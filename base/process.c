#include "base/process.h"
#include "base/file.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The child runs on memory that is the parent's too: a sanitizer must not take its frames for the parent's. */
#define IN_CHILD __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

#define FIRST_PARKED_FD 1000

/* What the child was doing when it failed; it shares our memory (CLONE_VM), so it just writes here. */
enum spawn_stage {
        SPAWN_STAGE_CGROUP,
        SPAWN_STAGE_DESCRIPTORS,
        SPAWN_STAGE_MOUNTS,
        SPAWN_STAGE_CWD,
        SPAWN_STAGE_EXEC
};

struct spawned {
        const struct process_start *start;
        char *const *argv, *const *env;
        enum spawn_stage stage;
        int errnum;
};

struct process_start process_start_init(const char *path, const char *const *argv)
{
        struct process_start start = { .path = path,
                                       .exec_fd = -1,
                                       .argv = argv,
                                       .mount_namespace_fd = -1,
                                       .root_fd = -1,
                                       .namespaces_fd = -1,
                                       .cgroup_fd = -1 };
        for (size_t i = 0; i < PROCESS_FDS_MAX; i++)
                start.fds[i] = -1;
        return start;
}

/* --- in the child: shares the parent's memory until exec, so system calls only --- */

static IN_CHILD int child_fail(struct spawned *child, enum spawn_stage stage)
{
        child->stage = stage;
        child->errnum = errno;
        return -1;
}

static IN_CHILD int child_enter(struct spawned *child)
{
        for (size_t i = 0; i < child->start->n_enter_fds; i++)
                if (write(child->start->enter_fds[i], "0", 1) != 1)
                        return child_fail(child, SPAWN_STAGE_CGROUP);
        return 0;
}

static IN_CHILD int park(int fd)
{
        return fcntl(fd, F_DUPFD_CLOEXEC, FIRST_PARKED_FD);
}

/* Descriptors go to their numbers in two rounds, since one may stand where another has to go: first each is parked high
 * up, then put down. *exec_fd, *mounts_fd and *root_fd are parked too. */
static IN_CHILD int child_descriptors(struct spawned *child, int *exec_fd, int *mounts_fd, int *root_fd)
{
        const struct process_start *start = child->start;
        size_t n = start->n_fds < 3 ? 3 : start->n_fds;
        int parked[PROCESS_FDS_MAX], null_fd = -1;
        if (start->exec_fd >= 0 && (*exec_fd = park(start->exec_fd)) < 0)
                return child_fail(child, SPAWN_STAGE_DESCRIPTORS);
        if (start->mount_namespace_fd >= 0 && (*mounts_fd = park(start->mount_namespace_fd)) < 0)
                return child_fail(child, SPAWN_STAGE_DESCRIPTORS);
        if (start->root_fd >= 0 && (*root_fd = park(start->root_fd)) < 0)
                return child_fail(child, SPAWN_STAGE_DESCRIPTORS);
        for (size_t i = 0; i < n; i++) {
                bool null = i >= start->n_fds || start->fds[i] < 0;
                parked[i] = -1;
                if (null && i > 2)
                        continue;
                if (null && null_fd < 0)
                        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                int from = null ? null_fd : start->fds[i];
                if (from < 0 || (parked[i] = park(from)) < 0)
                        return child_fail(child, SPAWN_STAGE_DESCRIPTORS);
        }
        for (size_t i = 0; i < n; i++)
                if (parked[i] >= 0 && dup2(parked[i], (int) i) < 0)
                        return child_fail(child, SPAWN_STAGE_DESCRIPTORS);
        /* Everything of ours is CLOEXEC; this also catches what a library opened without it. */
        if (syscall(SYS_close_range, n, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return child_fail(child, SPAWN_STAGE_DESCRIPTORS);
        return 0;
}

/* Handlers were reset by the clone (CLONE_CLEAR_SIGHAND); what is ignored stays so, and this is all that we ignore. */
static IN_CHILD void child_signals(void)
{
        sigset_t none;
        (void) sigemptyset(&none);
        struct sigaction standard = { .sa_handler = SIG_DFL };
        (void) sigaction(SIGPIPE, &standard, NULL);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static IN_CHILD int enter_mounts(int mounts_fd, int root_fd)
{
        if (setns(mounts_fd, CLONE_NEWNS) < 0 || (root_fd >= 0 && (fchdir(root_fd) < 0 || chroot(".") < 0)))
                return -1;
        return unshare(CLONE_NEWNS);
}

static IN_CHILD int child_prepare(struct spawned *child, int *exec_fd)
{
        int mounts_fd = -1, root_fd = -1, namespaces_fd = child->start->namespaces_fd;
        if (namespaces_fd >= 0 && setns(namespaces_fd, CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
                return child_fail(child, SPAWN_STAGE_MOUNTS);
        if (child_enter(child) < 0 || child_descriptors(child, exec_fd, &mounts_fd, &root_fd) < 0)
                return -1;
        if (mounts_fd >= 0 && enter_mounts(mounts_fd, root_fd) < 0)
                return child_fail(child, SPAWN_STAGE_MOUNTS);
        if (chdir(child->start->cwd ? child->start->cwd : "/") < 0)
                return child_fail(child, SPAWN_STAGE_CWD);
        if (child->start->ends_with_us)
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) setpgid(0, 0); /* so that process_run can kill what a helper leaves behind */
        child_signals();
        return 0;
}

static IN_CHILD int child_main(void *argument)
{
        struct spawned *child = argument;
        int exec_fd = -1;
        if (child_prepare(child, &exec_fd) == 0) {
                if (exec_fd >= 0)
                        (void) syscall(SYS_execveat, exec_fd, "", child->argv, child->env, AT_EMPTY_PATH);
                else
                        (void) execve(child->start->path, child->argv, child->env);
                (void) child_fail(child, SPAWN_STAGE_EXEC);
        }
        return 127; /* the exit code: what ends this thread of execution is the caller's to do */
}

/* --- in the parent --- */

static struct error *child_error(const struct spawned *child)
{
        static const char *const stages[] = { [SPAWN_STAGE_CGROUP] = "enter its cgroup",
                                              [SPAWN_STAGE_DESCRIPTORS] = "pass descriptors",
                                              [SPAWN_STAGE_MOUNTS] = "enter the mount namespace",
                                              [SPAWN_STAGE_CWD] = "change directory",
                                              [SPAWN_STAGE_EXEC] = "exec" };
        return error_errno(child->errnum, "start %s: %s", child->start->path, stages[child->stage]);
}

struct clone_call {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
                set_tid_size, cgroup;
};

/* clone3 as vfork: the child borrows this very frame while we are suspended, so there must be no return between the
 * system call and the child's exit, hence the call in place (a wrapper's return address would be overwritten; and TSan's
 * clone(3) would note in the child, in memory that is ours too, that this thread is to be ignored from now on). */
__attribute__((noinline)) IN_CHILD static pid_t clone_as_vfork(struct spawned *child, int *pid_fd)
{
        uint64_t flags =
                child->start->clone_flags | CLONE_PIDFD | CLONE_VFORK | CLONE_VM | CLONE_CLEAR_SIGHAND;
        bool has_cgroup = child->start->cgroup_fd >= 0;
        struct clone_call call = { .flags = flags | (has_cgroup ? CLONE_INTO_CGROUP : 0),
                                   .pidfd = (uint64_t) (uintptr_t) pid_fd,
                                   .exit_signal = SIGCHLD,
                                   .cgroup = has_cgroup ? (uint64_t) child->start->cgroup_fd : 0 };
        long result;
#if defined(__x86_64__)
        __asm__ volatile("syscall"
                         : "=a"(result)
                         : "a"(SYS_clone3), "D"(&call), "S"(sizeof(call))
                         : "rcx", "r11", "memory");
#elif defined(__aarch64__)
        register long number __asm__("x8") = SYS_clone3;
        register long x0 __asm__("x0") = (long) &call;
        register long x1 __asm__("x1") = sizeof(call);
        __asm__ volatile("svc 0" : "+r"(x0) : "r"(number), "r"(x1) : "memory");
        result = x0;
#else
#error "clone3 as vfork is not written for this architecture"
#endif
        if (result == 0) { /* TSan's _exit, too, would note something in the parent's memory */
                (void) syscall(SYS_exit_group, child_main(child));
                __builtin_unreachable();
        }
        if (result < 0)
                errno = (int) -result;
        return result < 0 ? -1 : (pid_t) result;
}

static struct error *spawn(struct spawned *child, struct process *out)
{
        int pid_fd = -1;
        pid_t pid = clone_as_vfork(child, &pid_fd);
        if (pid < 0)
                return error_errno(errno, "start %s: clone", child->start->path);
        *out = (struct process){ .pid = pid, .pid_fd = pid_fd };
        return NULL;
}

struct error *process_spawn(const struct process_start *start, struct process *out)
{
        static const char *const no_env[] = { NULL };
        sigset_t all, before;
        struct spawned child = { .start = start,
                                 .argv = (char *const *) (uintptr_t) start->argv,
                                 .env = (char *const *) (uintptr_t) (start->env ? start->env : no_env) };
        struct process process = { .pid = -1, .pid_fd = -1 };
        /* No handler of ours may run in the child while it shares our memory. */
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        struct error *e = spawn(&child, &process);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (e)
                return e;
        if (child.errnum) {
                e = child_error(&child);
                process_kill(&process);
                return e;
        }
        *out = process;
        return NULL;
}

struct error *process_wait(struct process *process, const struct wait *wait, int *status)
{
        TRY(wait_fd(wait, process->pid_fd, POLLIN, "wait for a helper"));
        siginfo_t info = { 0 };
        if (waitid(P_PIDFD, (id_t) process->pid_fd, &info, WEXITED | __WALL) < 0)
                return error_errno(errno, "reap process %d", process->pid);
        closep(&process->pid_fd);
        *status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
        return NULL;
}

void process_kill(struct process *process)
{
        if (process->pid_fd < 0)
                return;
        siginfo_t info;
        (void) syscall(SYS_pidfd_send_signal, process->pid_fd, SIGKILL, NULL, 0);
        while (waitid(P_PIDFD, (id_t) process->pid_fd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
                ;
        closep(&process->pid_fd);
}

/* --- process_run --- */

struct run {
        struct process process;
        int in_fd, out_fd, err_fd; /* our ends of the pipes; -1 once done */
        const char *input;
        size_t input_bytes;
        struct buf *out, *err;
};

static struct error *pipe_make(int *reader, int *writer)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(errno, "make a pipe");
        *reader = fds[0];
        *writer = fds[1];
        return NULL;
}

static struct error *run_start(const struct process_start *start, struct run *run)
{
        _cleanup_(closep) int child_in = -1, child_out = -1, child_err = -1;
        struct process_start piped = *start;
        TRY(pipe_make(&child_in, &run->in_fd));
        TRY(pipe_make(&run->out_fd, &child_out));
        TRY(pipe_make(&run->err_fd, &child_err));
        int *ours[] = { &run->in_fd, &run->out_fd, &run->err_fd };
        for (size_t i = 0; i < LENGTH(ours); i++)
                if (fcntl(*ours[i], F_SETFL, O_NONBLOCK) < 0)
                        return error_errno(errno, "make a pipe nonblocking");
        piped.fds[0] = child_in;
        piped.fds[1] = child_out;
        piped.fds[2] = child_err;
        if (piped.n_fds < 3)
                piped.n_fds = 3;
        return process_spawn(&piped, &run->process);
}

static void run_feed(struct run *run)
{
        ssize_t n_bytes = write(run->in_fd, run->input, run->input_bytes);
        if (n_bytes > 0) {
                run->input += n_bytes;
                run->input_bytes -= (size_t) n_bytes;
        }
        /* A helper that does not read its input has said all that it will: EPIPE is no failure here. */
        if (run->input_bytes == 0 || (n_bytes < 0 && errno != EAGAIN && errno != EINTR))
                closep(&run->in_fd);
}

static struct error *run_collect(int *fd, struct buf *into)
{
        char chunk[16384];
        ssize_t n_bytes = read(*fd, chunk, sizeof(chunk));
        if (n_bytes == 0 || (n_bytes < 0 && errno != EAGAIN && errno != EINTR))
                closep(fd);
        return n_bytes > 0 ? buf_append(into, chunk, (size_t) n_bytes) : NULL;
}

/* Goes on until the process has ended and its pipes hold nothing more. Pipes that a grandchild keeps open do not hold us
 * up: when the process is gone what is there is read, and that is all. */
static struct error *run_loop(struct run *run, const struct wait *wait)
{
        for (;;) {
                struct pollfd fds[] = { { .fd = run->in_fd, .events = POLLOUT },
                                        { .fd = run->out_fd, .events = POLLIN },
                                        { .fd = run->err_fd, .events = POLLIN },
                                        { .fd = run->process.pid_fd, .events = POLLIN },
                                        { .fd = wait->cancel_fd, .events = POLLIN } };
                if (poll(fds, LENGTH(fds), wait_left_ms(wait)) < 0 && errno != EINTR)
                        return error_errno(errno, "poll");
                if (fds[0].revents)
                        run_feed(run);
                if (fds[1].revents)
                        TRY(run_collect(&run->out_fd, run->out));
                if (fds[2].revents)
                        TRY(run_collect(&run->err_fd, run->err));
                if (fds[3].revents && !(fds[1].revents & POLLIN) && !(fds[2].revents & POLLIN))
                        return NULL;
                if (!fds[3].revents)
                        TRY(wait_check(wait, "run a helper"));
        }
}

struct error *process_run(const struct process_start *start, const void *input, size_t input_bytes,
                          struct buf *out, struct buf *err, const struct wait *wait, int *status)
{
        struct run run = { .process = { .pid = -1, .pid_fd = -1 },
                           .in_fd = -1,
                           .out_fd = -1,
                           .err_fd = -1,
                           .input = input,
                           .input_bytes = input_bytes,
                           .out = out,
                           .err = err };
        struct error *e = run_start(start, &run);
        if (!e)
                e = run_loop(&run, wait);
        if (e && run.process.pid > 0)
                (void) kill(-run.process.pid,
                            SIGKILL); /* the group lives at least as long as its unreaped leader */
        struct wait now = wait_of_ms(1000);
        if (!e)
                e = process_wait(&run.process, &now, status);
        process_kill(&run.process);
        closep(&run.in_fd);
        closep(&run.out_fd);
        closep(&run.err_fd);
        return e;
}
