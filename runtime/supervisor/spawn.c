#include "runtime/supervisor/spawn.h"
#include "runtime/supervisor/sys.h"
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

pid_t spawn_clone(const struct pod *pod, const struct spawn *spawn, int *pid_fd, struct child_report *report)
{
        bool into_cgroup = spawn->cgroup_fd >= 0;
        *pid_fd = -1;
        struct sys_clone_args args = {
                .flags = spawn->flags | SYS_CLONE_PIDFD | (into_cgroup ? SYS_CLONE_INTO_CGROUP : 0),
                .pidfd = (uint64_t) (uintptr_t) pid_fd,
                .exit_signal = SIGCHLD,
                .cgroup = into_cgroup ? (uint64_t) spawn->cgroup_fd : 0,
        };
        /* This only chooses where children are born; we stay where we are. */
        if (spawn->pid_namespace >= 0 && setns(spawn->pid_namespace, CLONE_NEWPID) < 0) {
                *report = (struct child_report){ .stage = STAGE_PID_NAMESPACE, .errnum = errno };
                return -1;
        }
        pid_t pid = sys_clone3(&args);
        if (pid == 0)
                return 0;
        if (pid < 0)
                *report = (struct child_report){ .stage = STAGE_CLONE, .errnum = errno };
        if (spawn->pid_namespace >= 0)
                (void) setns(pod->self_fd, CLONE_NEWPID);
        return pid;
}

int report_socket(int *read_fd, int *write_fd)
{
        int fds[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -1;
        *read_fd = fds[0];
        *write_fd = fds[1];
        return 0;
}

enum report_state report_look(int read_fd, bool wait, struct child_report *out)
{
        ssize_t n_bytes;
        do {
                n_bytes = recv(read_fd, out, sizeof(*out), MSG_PEEK | (wait ? 0 : MSG_DONTWAIT));
        } while (n_bytes < 0 && errno == EINTR);
        if (n_bytes < 0 && errno == EAGAIN)
                return REPORT_NONE;
        return n_bytes == (ssize_t) sizeof(*out) ? REPORT_FAILED : REPORT_ENDED;
}
