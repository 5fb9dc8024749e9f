/* floor.h - what the kernel itself asks for the same work: the calls that any runtime has to make, and nothing else.
 *
 * A small process of its own (a fork of a large one would cost more) makes one pod and one container by hand: cgroups in
 * every hierarchy with limits, clone3 with the namespaces of a host-network pod, an overlay, the container's mounts,
 * devices and masks, pivot_root, capabilities, a seccomp program, exec; then an exec into it, and the end of both.
 * Threads: one. Source: clone(2), fsopen(2), pidfd_open(2). */
#pragma once
#include "tests/bench/samples.h"
#include <stdbool.h>

enum floor_step {
        FLOOR_CGROUP_POD,       /* mkdir in each hierarchy */
        FLOOR_CLONE_POD,        /* clone3 with namespaces, it enters its cgroups, is seen */
        FLOOR_CGROUP_CONTAINER, /* mkdir, limits */
        FLOOR_OVERLAY,
        FLOOR_CONTAINER, /* clone3 to exec seen */
        FLOOR_STARTED,   /* all of the above */
        FLOOR_EXEC,      /* setns, clone3, exec true, exit seen */
        FLOOR_KILL_CONTAINER,
        FLOOR_KILL_POD, /* SIGKILL of what holds the namespaces, reaped */
        FLOOR_REMOVE,   /* cgroups and directories */
        FLOOR_N,
};
const char *floor_name(enum floor_step step);

struct floor_timings {
        struct samples of[FLOOR_N];
};
void floor_timings_done(struct floor_timings *timings);

/* Starts the small process, so before anything large is loaded. dir: a directory to work in; cgroup: the parent, such as
 * "/skiff-bench". busybox is what runs. Errors: INTERNAL. */
MUST_CHECK struct error *floor_open(const char *dir, const char *cgroup, bool host_network);
void floor_close(void);

/* One round; timings NULL: a warm-up. Errors: INTERNAL, with what failed in the small process. */
MUST_CHECK struct error *floor_round(struct floor_timings *timings);
