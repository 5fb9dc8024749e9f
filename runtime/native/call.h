/* call.h - one request to a skiff-pod: a connection, a message, its answer. */
#pragma once
#include "base/wait.h"
#include "runtime/native/protocol.h"

struct runtime {
        int binary_fd; /* a detached, read-only mount of skiff-pod's binary */
        int mounts_fd; /* a mount namespace with what a skiff-pod needs, to be copied by each; -1: it makes its own */
        char *binary_path;
        struct cgroups *cgroups; /* borrowed */
};

struct runtime_pod {
        struct runtime *runtime;
        char id[PROTOCOL_ID_MAX + 1];
        int dir_fd;            /* our own copy */
        int event_fd;          /* the event connection */
        int self_fd, infra_fd; /* pidfds; infra_fd is -1 where there is none */
        int netns_fd;
        uint32_t flags;
        bool lost;
        _Atomic bool keeper_alive; /* the monitor and a stop write it */
        pid_t supervisor_pid, keeper_pid;
        char *notice;
        struct runtime_container *running;
        size_t n_running;
};

/* Connects anew. Errors: FAILED_PRECONDITION when no supervisor lives. */
MUST_CHECK struct error *call_open(const struct runtime_pod *pod, const struct wait *wait, int *out_fd);

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

/* The number by which this process's pid namespace knows the process of a pidfd: for people. 0 when it is gone. */
pid_t call_pid_of(int pid_fd);
