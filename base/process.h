/* process.h - runs a helper program: given descriptors, a deadline, bounded output, reaped by pidfd.
 *
 * vfork and exec (never fork: skiffd is large and has threads). The child gets exactly the descriptors named here, an
 * environment of its own, no signal mask, and default signal actions. PR_SET_PDEATHSIG is never relied on: it fires
 * when the *thread* that forked ends. Threads: any. Source: vfork(2), pidfd_open(2), close_range(2). */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include "base/wait.h"
#include <stdbool.h>
#include <sys/types.h>

#define PROCESS_FDS_MAX 16

struct process_start {
        const char *path;        /* absolute; exec_fd instead when that is not -1 */
        int exec_fd;             /* -1, or a descriptor of the binary (execveat) */
        const char *const *argv; /* NULL-terminated */
        const char *const *env;  /* NULL-terminated; NULL: empty */
        /* fds[i] becomes descriptor i of the child; -1: /dev/null for 0 to 2, nothing above. Everything else is closed. */
        int fds[PROCESS_FDS_MAX];
        size_t n_fds;         /* 0: the three are /dev/null */
        uint64_t clone_flags; /* CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWNET, ... */
        int mount_namespace_fd; /* >= 0: the child gets a copy of this one for itself; the binary must need no files */
        int root_fd; /* >= 0: a directory in that namespace, which is the child's root; else the namespace's own */
        int namespaces_fd; /* >= 0: a pidfd, whose network, IPC and UTS namespaces the child is in */
        int cgroup_fd;     /* CLONE_INTO_CGROUP where >= 0 */
        /* Files into each of which the child writes "0" before it execs (v1's `tasks`). */
        const int *enter_fds;
        size_t n_enter_fds;
        const char *cwd;   /* NULL: / */
        bool ends_with_us; /* killed when the thread that starts it ends, which waits for it then */
};

/* A process_start with everything unset. */
struct process_start process_start_init(const char *path, const char *const *argv);

struct process {
        pid_t pid;
        int pid_fd; /* readable when it has ended */
};

/* Errors: INTERNAL "start PATH: stage: reason" when the exec fails too. */
MUST_CHECK struct error *process_spawn(const struct process_start *start, struct process *out);

/* Waits for its end and reaps it. *status as waitid(2) gives: exit code, or 128 + signal. */
MUST_CHECK struct error *process_wait(struct process *process, const struct wait *wait, int *status);

/* SIGKILL, then reaps; NULL pid_fd is fine. Bounded: SIGKILL ends it. */
void process_kill(struct process *process);

/* Runs to the end: input to its stdin, its stdout and stderr into the bufs (whose limits bound them; past the limit it
 * is killed: RESOURCE_EXHAUSTED). start->fds 0 to 2 are ignored. On a deadline or cancel it is killed, and so are the
 * children that it left in its process group. */
MUST_CHECK struct error *process_run(const struct process_start *start, const void *input, size_t input_bytes,
                                     struct buf *out, struct buf *err, const struct wait *wait, int *status);
