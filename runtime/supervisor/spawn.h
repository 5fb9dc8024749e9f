/* spawn.h - one clone3: a process in the pid namespace and cgroup that it is for.
 *
 * A plain copy of ourselves (no CLONE_VM): we are small enough that this costs a tenth of a millisecond, and the child
 * may then use all that was prepared. */
#pragma once
#include "runtime/supervisor/pod.h"

struct spawn {
        uint64_t flags;    /* CLONE_NEWNS, ... */
        int pid_namespace; /* pidfd of a process in the pid namespace to enter; -1: ours */
        int cgroup_fd;     /* v2 directory; -1: none */
};

/* 0 in the child; -1 with *report filled. *pid_fd is the caller's. */
pid_t spawn_clone(const struct pod *pod, const struct spawn *spawn, int *pid_fd, struct child_report *report);

/* A socket whose writing end stays open until exec: what is in it is a child_report, its end says that exec worked. Both
 * ends CLOEXEC. It is only looked at (report_look), never emptied: skiffd may look too. */
int report_socket(int *read_fd, int *write_fd);

enum report_state { REPORT_NONE, REPORT_FAILED, REPORT_ENDED };

/* Whether something is there: FAILED with *out filled (else it is left as it is); ENDED; NONE: not yet (never with wait). */
enum report_state report_look(int read_fd, bool wait, struct child_report *out);
