#include "pods/stats/stats_usage.h"

#define RATE_MIN_NS INT64_C(1000000000)

Cri__UInt64Value *value_of(Cri__UInt64Value *value, uint64_t number)
{
        *value = (Cri__UInt64Value) CRI__UINT64_VALUE__INIT;
        value->value = number;
        return value;
}

void cpu_rate_note(struct cpu_rate *rate, int64_t now_ns, uint64_t usage_ns)
{
        int64_t passed_ns = now_ns - rate->at_ns;
        if (rate->at_ns && usage_ns >= rate->usage_ns && passed_ns < RATE_MIN_NS)
                return;
        /* A sum of containers falls when one is removed: then the rate begins anew. */
        if (rate->at_ns && usage_ns >= rate->usage_ns) {
                rate->nano_cores =
                        (uint64_t) ((double) (usage_ns - rate->usage_ns) * 1e9 / (double) passed_ns);
                rate->known = true;
        }
        rate->at_ns = now_ns;
        rate->usage_ns = usage_ns;
}

static Cri__PsiData *stall_of(Cri__PsiData *to, const struct cgroup_stall *from)
{
        *to = (Cri__PsiData) CRI__PSI_DATA__INIT;
        to->total = from->total_us;
        to->avg10 = from->avg10;
        to->avg60 = from->avg60;
        to->avg300 = from->avg300;
        return to;
}

/* The i-th of the three: cpu, memory, io. NULL where there is none. */
static Cri__PsiStats *psi_of(struct usage_parts *p, size_t i, const struct cgroup_pressure *pressure)
{
        if (!pressure->has)
                return NULL;
        p->psi[i] = (Cri__PsiStats) CRI__PSI_STATS__INIT;
        p->psi[i].some = stall_of(&p->stalls[2 * i], &pressure->some);
        p->psi[i].full = stall_of(&p->stalls[2 * i + 1], &pressure->full);
        return &p->psi[i];
}

static void fill_cpu(struct usage_parts *p, const struct cgroup_stats *stats, const struct cpu_rate *rate)
{
        p->has_cpu = true;
        p->cpu.usage_core_nano_seconds = value_of(&p->cpu_values[0], stats->cpu_usage_ns);
        if (rate && rate->known)
                p->cpu.usage_nano_cores = value_of(&p->cpu_values[1], rate->nano_cores);
        p->cpu.psi = psi_of(p, 0, &stats->cpu_pressure);
}

static uint64_t left_of(uint64_t limit, uint64_t used)
{
        return limit > used ? limit - used : 0;
}

static void fill_memory(struct usage_parts *p, const struct cgroup_stats *stats)
{
        Cri__UInt64Value *v = p->memory_values;
        p->has_memory = true;
        p->memory.working_set_bytes = value_of(&v[0], stats->memory_working_set_bytes);
        p->memory.usage_bytes = value_of(&v[1], stats->memory_usage_bytes);
        p->memory.rss_bytes = value_of(&v[2], stats->memory_rss_bytes);
        p->memory.page_faults = value_of(&v[3], stats->page_faults);
        p->memory.major_page_faults = value_of(&v[4], stats->major_page_faults);
        if (stats->memory_limit_bytes != CGROUP_NO_LIMIT)
                p->memory.available_bytes =
                        value_of(&v[5], left_of(stats->memory_limit_bytes, stats->memory_working_set_bytes));
        p->memory.psi = psi_of(p, 1, &stats->memory_pressure);
}

static void fill_swap(struct usage_parts *p, const struct cgroup_stats *stats)
{
        p->has_swap = true;
        p->swap.swap_usage_bytes = value_of(&p->swap_values[0], stats->swap_usage_bytes);
        if (stats->swap_limit_bytes != CGROUP_NO_LIMIT)
                p->swap.swap_available_bytes = value_of(
                        &p->swap_values[1], left_of(stats->swap_limit_bytes, stats->swap_usage_bytes));
}

void usage_fill(struct usage_parts *p, const struct cgroup_stats *stats, const struct cpu_rate *rate,
                int64_t stamp_ns)
{
        *p = (struct usage_parts){ .cpu = CRI__CPU_USAGE__INIT,
                                   .memory = CRI__MEMORY_USAGE__INIT,
                                   .swap = CRI__SWAP_USAGE__INIT,
                                   .io = CRI__IO_USAGE__INIT };
        p->cpu.timestamp = p->memory.timestamp = p->swap.timestamp = p->io.timestamp = stamp_ns;
        if (stats->has_cpu)
                fill_cpu(p, stats, rate);
        if (stats->has_memory)
                fill_memory(p, stats);
        if (stats->has_swap)
                fill_swap(p, stats);
        p->io.psi = psi_of(p, 2, &stats->io_pressure);
        p->has_io = p->io.psi != NULL;
}
