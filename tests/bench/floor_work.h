/* floor_work.h - floor.c's small process: one pod and one container by system calls. Threads: one. */
#pragma once
#include "tests/bench/floor.h"
#include <stdbool.h>

struct floor_result {
        double ms[FLOOR_N];
        bool failed;
        int errnum;
        char what[64];
};

/* Makes the root filesystem's directory and finds the hierarchies. False: see result. */
bool floor_work_prepare(const char *dir, const char *cgroup, bool host_network, struct floor_result *result);
void floor_work_round(struct floor_result *result);
void floor_work_tidy(void); /* what a failed round left; not timed */
void floor_work_end(void);  /* and the parent cgroups */
