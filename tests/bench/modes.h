/* modes.h - the kinds of measurement, each over one or two targets in turns.
 *
 * All stop early, with CANCELLED, once *interrupted is set; what they made is removed by session_sweep. Threads: one. */
#pragma once
#include "tests/bench/floor.h"
#include "tests/bench/session.h"

#define TARGETS_MAX 2

struct plan {
        struct target targets[TARGETS_MAX];
        size_t n_targets;
        struct workload workload;
        size_t rounds;       /* -n */
        size_t parallel;     /* threads of --parallel; 0: that part is left out */
        size_t background;   /* pods that run meanwhile */
        size_t growth;       /* pods of --growth; 0: left out */
        size_t memory;       /* pods of --memory; 0: left out */
        const char *pull;    /* images of --pull; NULL: left out */
        const char *removal; /* images of --removal; NULL: left out */
        bool floor;
        const volatile sig_atomic_t *interrupted;
};

/* Rates and single figures beside the samples. */
struct figures {
        struct timings timings;
        double cpu_exec_ms, cpu_life_ms;                /* of the target's cgroup; 0: not known */
        double machine_exec_ms, machine_life_ms;        /* of the whole machine */
        double starts_per_s, lives_per_s;               /* --parallel */
        struct timings parallel;                        /* what each call took there */
        double first_ms, middle_ms, last_ms;            /* --growth: RunPodSandbox, medians of 20 */
        double helpers_kb, daemon_kb, daemon_growth_kb; /* --memory: a pod; at the start; a pod */
        struct samples pull_cpu_ms, pull_machine_ms, removal_cpu_ms; /* --pull */
        double peak_kb;                                              /* --pull: all processes' PSS */
        struct samples run_quiet, run_removal; /* --removal: RunPodSandbox before, and meanwhile */
};
void figures_done(struct figures *figures);

/* Lives one after another: A B A B, each call timed; and with plan->floor a round of the bare kernel's work after each. */
MUST_CHECK struct error *mode_serial(const struct plan *plan, struct figures figures[TARGETS_MAX],
                                     struct floor_timings *floor);
/* CPU of lives and of execs, in blocks: A B A B. */
MUST_CHECK struct error *mode_cpu(const struct plan *plan, struct figures figures[TARGETS_MAX]);
/* plan->parallel threads at once: pods started a second, then whole lives a second. */
MUST_CHECK struct error *mode_parallel(const struct plan *plan, struct figures figures[TARGETS_MAX]);
/* RunPodSandbox while pods pile up to plan->growth. */
MUST_CHECK struct error *mode_growth(const struct plan *plan, struct figures figures[TARGETS_MAX]);
/* Helpers' and daemon's PSS as slopes over plan->memory pods with a container each. */
MUST_CHECK struct error *mode_memory(const struct plan *plan, struct figures figures[TARGETS_MAX]);

/* plan->background pods on each target, which session_sweep ends. */
MUST_CHECK struct error *mode_background(const struct plan *plan);
