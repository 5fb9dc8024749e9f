/* call.h - one request to a skiff-pod: a connection, a message, its answer. */
#pragma once
#include "base/wait.h"
#include "runtime/native/protocol.h"
#include <stdatomic.h>

struct runtime {
        int binary_fd; /* a detached, read-only mount of skiff-pod's binary */
        int mounts_fd; /* a mount namespace with what a skiff-pod needs, to be copied by each; -1: it makes its own */
        char *binary_path;
        struct cgroups *cgroups; /* borrowed */
};

struct call_answer;

struct runtime_pod {
        struct runtime *runtime;
        char id[PROTOCOL_ID_MAX + 1];
        int dir_fd;   /* our own copy */
        int event_fd; /* the event connection */
        int self_fd;  /* pidfd */
        bool lost;
        pid_t supervisor_pid;
        struct runtime_container *running;
        size_t n_running;

        /* What a snapshot tells. It may come late, to the thread that reads events, while others look. */
        _Atomic uint32_t version; /* that both speak; 0: no snapshot has come */
        _Atomic uint32_t flags;
        _Atomic int infra_fd; /* pidfd; -1 where there is none */
        _Atomic int netns_fd;
        _Atomic bool keeper_alive; /* a stop writes it too */
        _Atomic pid_t keeper_pid;
        char *_Atomic notice;
        char *_Atomic undriven; /* why it cannot be driven; NULL: it can, or is not known yet */
};

/* --- pod.c --- */

/* Nothing is known of it but where it is. */
struct runtime_pod *runtime_pod_new(struct runtime *runtime, const char *id, int dir_fd);
/* Reaps the supervisor where it is our child, and has ended. */
void pod_reap(const struct runtime_pod *pod);
/* Closes what others may be looking at, and leaves -1. */
void fd_drop(_Atomic int *fd);

/* Reads a SNAPSHOT into pod (attach.c). */
MUST_CHECK struct error *snapshot_read(struct runtime_pod *pod, struct call_answer *answer);
/* Reads a REFUSED: what the other side speaks, as a sentence of ours, the caller's. */
char *refusal_read(struct call_answer *answer);
/* What is to be done with a message that may be the first answer to an ATTACH: *settled when it was. */
MUST_CHECK struct error *attach_answer(struct runtime_pod *pod, struct call_answer *answer, bool *settled);

/* Connects anew. Errors: FAILED_PRECONDITION when no supervisor lives; UNAVAILABLE when it cannot be driven. */
MUST_CHECK struct error *call_open(const struct runtime_pod *pod, const struct wait *wait, int *out_fd);

/* What a request to it is written in: what was agreed on, or, before it has answered, the oldest that we speak. */
uint32_t call_version(const struct runtime_pod *pod);

/* Sends what was written; the writer is done with either way. */
MUST_CHECK struct error *call_send(int fd, struct wire_writer *w, const int *fds, size_t n_fds,
                                   const struct wait *wait);

#define CALL_FDS_MAX (PROTOCOL_RUNNING_MAX + 3)

/* An answer, with the descriptors that came; its bytes and what of fds was not taken go with call_answer_done. */
struct call_answer {
        char *bytes;
        struct wire_reader reader; /* behind the type */
        uint32_t type;             /* 0: the connection has ended */
        int fds[CALL_FDS_MAX];
        size_t n_fds;
};
MUST_CHECK struct error *call_receive(int fd, struct call_answer *out, const struct wait *wait);
void call_answer_done(struct call_answer *answer);

/* The report in a FAILED answer. */
void call_report(struct call_answer *answer, struct child_report *out);

/* Waits for OK. */
MUST_CHECK struct error *call_finish(int fd, const struct wait *wait);

/* bytes into a sealed memfd. */
MUST_CHECK struct error *call_memfd(const struct buf *bytes, int *out_fd);

/* What an exec is to run, as such a memfd (exec.c). */
MUST_CHECK struct error *call_exec_memfd(uint32_t version, const struct process_spec *process,
                                         const struct seccomp_program *seccomp, int *out_fd,
                                         uint64_t *len_bytes);

/* FAILED_PRECONDITION when its supervisor is of a build that knows no sessions and no terminals; UNAVAILABLE when it has not
 * told its version yet. */
MUST_CHECK struct error *call_check_sessions(const struct runtime_pod *pod);
/* The same of hooks, and what came with them. */
MUST_CHECK struct error *call_check_hooks(const struct runtime_pod *pod);

/* The number by which this process's pid namespace knows the process of a pidfd: for people. 0 when it is gone. */
pid_t call_pid_of(int pid_fd);

/* Whether the process of a pidfd has ended or begun to: its descriptors close before its pidfd tells, and that waits for the
 * last process of its pid namespace. */
bool call_is_ending(int pid_fd);
