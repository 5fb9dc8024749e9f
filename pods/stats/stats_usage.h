/* stats_usage.h - a cgroup's figures as CRI's messages, private to pods/. Threads: no state. */
#pragma once
#include "api/cri.pb-c.h"
#include "pods/state.h"
#include "runtime/cgroup/cgroup.h"

/* The messages of one cgroup, and what they point at: it must not move once it is filled. */
struct usage_parts {
        Cri__CpuUsage cpu;
        Cri__MemoryUsage memory;
        Cri__SwapUsage swap;
        Cri__IoUsage io;
        Cri__PsiStats psi[3];
        Cri__PsiData stalls[6];
        Cri__UInt64Value cpu_values[2], memory_values[6], swap_values[2];
        bool has_cpu, has_memory, has_swap, has_io;
};

/* rate may be NULL. stamp_ns: wall clock. */
void usage_fill(struct usage_parts *p, const struct cgroup_stats *stats, const struct cpu_rate *rate,
                int64_t stamp_ns);

/* Takes a new reading down. The rate is over at least a second, or it would be noise. */
void cpu_rate_note(struct cpu_rate *rate, int64_t now_ns, uint64_t usage_ns);

/* Initialises *value and gives it. */
Cri__UInt64Value *value_of(Cri__UInt64Value *value, uint64_t number);
