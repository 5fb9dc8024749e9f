/* handler.h - the one interface to run pods and containers, and the table of handlers.
 *
 * Native is skiff-pod; OCI command lines (runc) and containerd shims can stand behind the same face later. A
 * struct runtime_pod is skiffd's connection to one pod's supervisor, which outlives skiffd: runtime_pod_attach finds it
 * again. What happens on its own (an exit, the end of infra) is an event to be read from runtime_pod_event_fd; nothing
 * calls up.
 *
 * Requests each use a connection of their own to the supervisor, so any number may be under way at once from any thread,
 * and closing one (cancel, deadline, death of skiffd) ends what only it was for: an exec. Events must be read by one
 * thread. */
#pragma once
#include "base/error.h"
#include "base/session.h"
#include "base/wait.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container_spec.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct runtime;     /* one a skiffd: the handlers and what they share */
struct runtime_pod; /* one a pod */
struct share;       /* base/budget.h */

struct runtime_config {
        const char *program_dir; /* where skiff-pod is */
        struct cgroups *cgroups; /* borrowed */
};
MUST_CHECK struct error *runtime_open(const struct runtime_config *config, struct runtime **out);
void runtime_free(struct runtime *runtime); /* supervisors go on */
DEFINE_FREEP(struct runtime, runtime_free)

struct sysctl {
        const char *name, *value; /* "net.ipv4.ip_unprivileged_port_start"; checked by pods */
};

/* The users that a pod has: 0 to length - 1 are base to base + length - 1 of the host, and its groups likewise. length 0: it
 * has the host's. */
struct userns_range {
        uint32_t base, length;
};

struct pod_spec {
        const char *id;
        int dir_fd;           /* STATE/pods/ID, 0700, borrowed: socket "sock", file "exits" */
        const char *hostname; /* NULL: the host's (host network) */
        bool host_network, host_ipc, host_pid, share_pid;
        struct userns_range userns; /* none of host_network, host_ipc and host_pid with it */
        const struct sysctl *sysctls;
        size_t n_sysctls;
        uint64_t shm_size_bytes; /* 64 MiB by default; ignored with host_ipc (the host's /dev/shm is used) */
        const char *cgroup_path; /* exists already, or is adopted; the supervisor and infra are in it */
        int64_t cpu_shares;      /* of the whole pod, where it is adopted; 0: not said */
        int oom_score_adj;
        bool set_oom_score_adj;
        const struct seccomp_program *seccomp; /* not applied to infra, which has a stricter one; reserved */
};

/* Starts a supervisor in the namespaces that the pod's containers share and, where they share a pid namespace too, an
 * infra process that is its pid 1. It is an orphan, which ends with its first connection, until runtime_pod_commit. On
 * failure nothing is left. */
MUST_CHECK struct error *runtime_pod_start(struct runtime *runtime, const struct pod_spec *spec,
                                           const struct wait *wait, struct runtime_pod **out);
MUST_CHECK struct error *runtime_pod_commit(struct runtime_pod *pod, const struct wait *wait);

/* Connects to a supervisor that lives, and asks what is so. *out is NULL, without an error, when none does (ECONNREFUSED, no
 * socket). It does not wait for the answer, which one that is slow or frozen gives late: until then it is taken to be alive,
 * can be killed, and what else is asked of it waits too. The answer comes by runtime_pod_await, or as an event. */
MUST_CHECK struct error *runtime_pod_attach(struct runtime *runtime, const char *id, int dir_fd,
                                            const struct wait *wait, struct runtime_pod **out);

/* Waits for that answer. *lives: false when the supervisor has died. Errors: DEADLINE_EXCEEDED when it has not come yet;
 * UNAVAILABLE when the connection has ended, and it was asked anew. On the thread that reads events. */
MUST_CHECK struct error *runtime_pod_await(struct runtime_pod *pod, const struct wait *wait, bool *lives);

/* After DISCONNECTED: connects again, and asks. *lives as above. runtime_pod_event_fd is another one then. On the thread
 * that reads events. */
MUST_CHECK struct error *runtime_pod_reattach(struct runtime_pod *pod, const struct wait *wait, bool *lives);

bool runtime_pod_is_known(const struct runtime_pod *pod); /* what is running in it has been told */

/* Why a supervisor cannot be driven: it is of a version that we do not speak. It runs on and can be stopped; all else fails
 * with UNAVAILABLE and this text, and no event comes but LOST. NULL: it can be, or has not answered yet. */
const char *runtime_pod_undriven(const struct runtime_pod *pod);

/* Ends the supervisor and all that it runs (SIGKILL by pidfd; in a host-pid pod by the cgroup) and waits until they are
 * gone. Idempotent. The runtime_pod stays to be freed. */
MUST_CHECK struct error *runtime_pod_stop(struct runtime_pod *pod, const struct wait *wait);
/* The same in two parts, for a pod with a pid namespace of its own: the kill, after which nothing of it runs any more, and
 * the wait until the kernel has taken it apart. The latter may be called by several threads at once. */
MUST_CHECK struct error *runtime_pod_kill(struct runtime_pod *pod);
MUST_CHECK struct error *runtime_pod_reap(const struct runtime_pod *pod, const struct wait *wait);
void runtime_pod_free(struct runtime_pod *pod); /* the supervisor goes on */
DEFINE_FREEP(struct runtime_pod, runtime_pod_free)

/* Descriptors borrowed from pod, valid until it is freed: the pod's network namespace; -1 with the host's network. */
int runtime_pod_netns(const struct runtime_pod *pod);

/* The user namespace that owns the pod's network namespace, for idmapped mounts: *out_fd is the caller's. */
MUST_CHECK struct error *runtime_pod_userns(const struct runtime_pod *pod, int *out_fd);

/* A user namespace with that range, for who wants to see what this machine can do. *out_fd is the caller's. */
MUST_CHECK struct error *runtime_userns_try(const struct userns_range *range, int *out_fd);
/* Whether what keeps the pod's namespaces was alive in the last snapshot or event: infra where there is one, else the
 * supervisor. */
bool runtime_pod_keeper_alive(const struct runtime_pod *pod);
pid_t runtime_pod_supervisor_pid(const struct runtime_pod *pod); /* for people */
pid_t runtime_pod_keeper_pid(const struct runtime_pod *pod);     /* for people */
/* What is odd about it, for people: what could not be done and was not fatal ("oom_score_adj -998: permission denied"), that
 * it does not answer or cannot be driven; or NULL. */
const char *runtime_pod_notice(const struct runtime_pod *pod);

/* An exit as the supervisor saw it. Also the fixed record in STATE/pods/ID/exits. */
struct runtime_exit {
        char container_id[65];
        int64_t started_wall_ns; /* of which start: struct runtime_start */
        int32_t exit_code;       /* 128 + signal for a killed one */
        int32_t signal;          /* 0: it exited */
        uint8_t oom_killed;
        int64_t finished_wall_ns;
};

enum runtime_event_kind {
        RUNTIME_EVENT_EXIT,       /* a container's main process has ended, and its log is complete */
        RUNTIME_EVENT_INFRA_EXIT, /* the pod's namespaces have lost their keeper */
        RUNTIME_EVENT_LOST,       /* the supervisor is gone: so is everything that it ran */
        RUNTIME_EVENT_OOM,        /* something in the container was killed for want of memory; it goes on */
        /* The connection has ended or was cut off (whoever lags behind is), and the supervisor lives: attach again. */
        RUNTIME_EVENT_DISCONNECTED,
        RUNTIME_EVENT_ATTACHED, /* it has answered: runtime_pod_running is what runs now, or it is undriven */
};
struct runtime_event {
        enum runtime_event_kind kind;
        struct runtime_exit exit; /* EXIT; container_id for OOM too */
};

/* Readable when runtime_pod_next_event has something (POLLIN or POLLHUP). */
int runtime_pod_event_fd(const struct runtime_pod *pod);
/* *got tells whether there was one; call until there is none. After LOST there will be no more. */
MUST_CHECK struct error *runtime_pod_next_event(struct runtime_pod *pod, struct runtime_event *out,
                                                bool *got);

/* A container that runs, as the supervisor told at attach: for recovery. */
struct runtime_container {
        char id[65];
        pid_t pid;
        int64_t started_wall_ns;
};
/* Borrowed array from the snapshot that attach got. */
size_t runtime_pod_running(const struct runtime_pod *pod, const struct runtime_container **out);

/* Reads STATE/pods/ID/exits; *out is an array owned by the caller (free). An absent file is no exits. */
MUST_CHECK struct error *runtime_exits_read(int dir_fd, struct runtime_exit **out, size_t *n);

/* What hooks are told beside the container's state. */
struct hook_surroundings {
        const char *
                bundle; /* a directory on the host with config.json, whose root is the directory rootfs in it */
        const char *annotations; /* a JSON object */
};

struct runtime_start {
        int64_t started_wall_ns; /* now; it also tells this start's exit from that of an earlier one */
        /* Mounts the root filesystem: *out_fd, a detached mount, is the handler's then. Called once, on the thread of the
         * start, while the process is being made already: the two take about as long. */
        struct error *(*rootfs)(void *context, int *out_fd);
        /* Opens the log file (O_APPEND), likewise, before that. NULL: output is thrown away. */
        struct error *(*log)(void *context, int *out_fd);
        void *context;        /* of both */
        const int *mount_fds; /* detached mounts for the spec's mounts without a host_path, by the same index,
                                      * borrowed; -1: none. NULL: none at all */
        uint64_t log_line_max_bytes;    /* longer lines are cut into partial ones; 16384 as the peers do */
        uint64_t log_max_bytes;         /* a log file that is so long gets nothing more; 0: no bound */
        struct hook_surroundings hooks; /* where the spec has hooks */
};

/* Starts a container whose cgroup exists. On success its process has been exec'ed: *pid is its host number for people.
 * Errors: FAILED_PRECONDITION when the child failed, with the words users know (`exec: "x": executable file not found in
 * $PATH`, `exec: "/x": permission denied`, `chdir to cwd ("/x")...`); nothing is left then. */
MUST_CHECK struct error *runtime_container_start(struct runtime_pod *pod, const struct container_spec *spec,
                                                 const struct runtime_start *start, const struct wait *wait,
                                                 pid_t *pid);

/* Runs the hooks that come after a container's end. Each gets its chance: a failure is told when all have run, the first one's.
 * Those of the other stages run in runtime_container_start, which fails with the words of one that does. */
MUST_CHECK struct error *runtime_container_poststop(const struct container_spec *spec,
                                                    const struct hook_surroundings *surroundings,
                                                    const struct wait *wait);

/* Sends a signal to the main process. Succeeds when it is gone. */
MUST_CHECK struct error *runtime_container_signal(struct runtime_pod *pod, const char *id, int signal,
                                                  const struct wait *wait);

/* The log file was renamed: go on in this one. Every line before the answer is in the old file, every one after it in
 * the new. */
MUST_CHECK struct error *runtime_container_reopen_log(struct runtime_pod *pod, const char *id, int log_fd,
                                                      const struct wait *wait);

struct exec_result {
        int32_t exit_code;
        char *out, *err; /* owned by the caller */
        size_t out_bytes, err_bytes;
        bool truncated; /* said in err too */
};
void exec_result_done(struct exec_result *result);

/* Runs a command in a running container to its end, with the container's seccomp program and cgroup, and answers when it
 * has ended, with what was written until then: a child that it leaves in the background may hold its pipes, and lives on.
 * Outputs together hold at most limit_bytes, and what share (may be NULL) gives; then they are cut, and a line at the end of
 * err says so. Errors: DEADLINE_EXCEEDED when timeout_ms (0: none) has passed before its end; all that it started is killed
 * then. FAILED_PRECONDITION when the container does not run. A command that cannot be started is a result, as users know
 * it: 127 (not found) or 126, with the words in err. */
MUST_CHECK struct error *runtime_exec_sync(struct runtime_pod *pod, const char *container_id,
                                           const struct process_spec *process,
                                           const struct seccomp_program *seccomp, int64_t timeout_ms,
                                           size_t limit_bytes, struct share *share, const struct wait *wait,
                                           struct exec_result *out);

/* --- sessions: base/session.h. *out is the caller's: SESSION_FDS_NONE after a failure. What they begin ends with their
 * channel. Errors of all: FAILED_PRECONDITION when the container does not run, or the supervisor is of a version that knows
 * no sessions (it has to be made anew) --- */

/* Starts a process in a running container; it has been exec'ed when this returns. Where out->err_fd and the others are -1 it
 * has the null device. With streams->tty it has a terminal of the container's own devpts, of the size that is asked for (80
 * x 24 when it is not known) before it runs. Errors: FAILED_PRECONDITION when it cannot be started, with the words users
 * know. */
MUST_CHECK struct error *runtime_exec_open(struct runtime_pod *pod, const char *container_id,
                                           const struct process_spec *process,
                                           const struct seccomp_program *seccomp,
                                           const struct session_streams *streams, const struct wait *wait,
                                           struct session_fds *out);

/* Joins a running container: what it writes from now on comes from out_fd and err_fd (a terminal's all from out_fd). A client
 * that does not read loses what its pipe has no room for, and is told how much, in words, in the stream itself; container and
 * log never wait. in_fd is the container's own stdin: -1 when it has none open. */
MUST_CHECK struct error *runtime_attach_open(struct runtime_pod *pod, const char *container_id,
                                             const struct session_streams *streams, const struct wait *wait,
                                             struct session_fds *out);

/* A channel for SESSION_DIAL in the pod's network: out->channel_fd alone. */
MUST_CHECK struct error *runtime_forward_open(struct runtime_pod *pod, const struct wait *wait,
                                              struct session_fds *out);
