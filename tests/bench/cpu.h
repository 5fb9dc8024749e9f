/* cpu.h - processor time and memory that a runtime took.
 *
 * Of the machine: the busy time of /proc/stat, with everything else that runs meanwhile. Of a runtime: the cpuacct cgroup
 * (v1) or cpu.stat (v2) in which its daemon and its pods live, exact to the nanosecond and blind to the rest, but also to
 * what the kernel does in threads of its own. Threads: any. Source: proc(5), cgroups(7). */
#pragma once
#include "base/error.h"
#include <sys/types.h>

MUST_CHECK struct error *cpu_machine_ms(double *out);
MUST_CHECK struct error *cpu_cgroup_ms(const char *cgroup, double *out);

/* The sum of PSS, in kB, of all processes in the cgroup and below it, or of the whole machine where it is NULL, but for
 * `except` and for the workload (processes whose command line is that of session.c's containers). */
MUST_CHECK struct error *memory_pss_kb(const char *cgroup, pid_t except, double *out);
MUST_CHECK struct error *memory_process_kb(pid_t pid, double *out);
