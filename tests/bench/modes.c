#include "tests/bench/modes.h"
#include "base/clock.h"
#include "tests/bench/cpu.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define WARM_UP 3
#define SETTLE_MS 300 /* what a runtime does after its answer belongs to it too */
#define ENDS 20       /* pods at either end of --growth */

void figures_done(struct figures *figures)
{
        timings_done(&figures->timings);
        timings_done(&figures->parallel);
        struct samples *all[] = { &figures->pull_cpu_ms, &figures->pull_machine_ms, &figures->removal_cpu_ms,
                                  &figures->run_quiet, &figures->run_removal };
        for (size_t i = 0; i < LENGTH(all); i++)
                samples_done(all[i]);
}

static struct error *check_interrupt(const struct plan *plan)
{
        return *plan->interrupted ? error_new(ERROR_CANCELLED, "interrupted") : NULL;
}

static void settle(void)
{
        (void) nanosleep(&(struct timespec){ .tv_nsec = SETTLE_MS * 1000000L }, NULL);
}

static struct error *life(struct session *s, bool with_exec)
{
        _cleanup_(pod_done) struct pod pod = { 0 };
        int64_t before_ns = clock_monotonic_ns();
        TRY(pod_start(s, &pod));
        double started_ms = ms_since(before_ns);
        if (with_exec) {
                TRY(pod_exec(s, &pod));
                TRY(pod_exec_stream(s, &pod));
                TRY(pod_list(s));
        }
        before_ns = clock_monotonic_ns();
        TRY(pod_end(s, &pod));
        samples_add(&s->timings.of[TIMED_LIFE], started_ms + ms_since(before_ns));
        return NULL;
}

static struct error *sessions_open(const struct plan *plan, struct session sessions[TARGETS_MAX])
{
        for (size_t t = 0; t < plan->n_targets; t++)
                TRY(session_open(&plan->targets[t], &plan->workload, plan->interrupted, &sessions[t]));
        return NULL;
}

static void sessions_done(struct session (*sessions)[TARGETS_MAX])
{
        for (size_t t = 0; t < TARGETS_MAX; t++)
                session_done(&(*sessions)[t]);
}

/* --- one after another --- */

struct error *mode_serial(const struct plan *plan, struct figures figures[TARGETS_MAX],
                          struct floor_timings *floor)
{
        _cleanup_(sessions_done) struct session sessions[TARGETS_MAX] = { 0 };
        TRY(sessions_open(plan, sessions));
        for (size_t i = 0; i < plan->rounds + WARM_UP; i++) {
                if (i == WARM_UP)
                        for (size_t t = 0; t < plan->n_targets; t++)
                                timings_done(&sessions[t].timings);
                for (size_t t = 0; t < plan->n_targets; t++) {
                        TRY(check_interrupt(plan));
                        TRY(life(&sessions[t], true));
                }
                if (plan->floor)
                        TRY(floor_round(i < WARM_UP ? NULL : floor));
        }
        for (size_t t = 0; t < plan->n_targets; t++)
                timings_add_all(&figures[t].timings, &sessions[t].timings);
        return NULL;
}

/* --- processor time --- */

struct cpu_reading {
        double cgroup_ms, machine_ms;
};

static struct error *cpu_read(const struct target *target, struct cpu_reading *out)
{
        *out = (struct cpu_reading){ 0 };
        settle();
        if (target->cgroup)
                TRY(cpu_cgroup_ms(target->cgroup, &out->cgroup_ms));
        return cpu_machine_ms(&out->machine_ms);
}

static struct error *cpu_lives(struct session *s, size_t n, struct figures *figures)
{
        struct cpu_reading before, after;
        TRY(cpu_read(s->target, &before));
        for (size_t i = 0; i < n; i++)
                TRY(life(s, false));
        TRY(cpu_read(s->target, &after));
        figures->cpu_life_ms += (after.cgroup_ms - before.cgroup_ms) / (double) n;
        figures->machine_life_ms += (after.machine_ms - before.machine_ms) / (double) n;
        return NULL;
}

static struct error *cpu_execs(struct session *s, size_t n, struct figures *figures)
{
        struct cpu_reading before, after;
        _cleanup_(pod_done) struct pod pod = { 0 };
        TRY(pod_start(s, &pod));
        TRY(cpu_read(s->target, &before));
        for (size_t i = 0; i < n; i++)
                TRY(pod_exec(s, &pod));
        TRY(cpu_read(s->target, &after));
        figures->cpu_exec_ms += (after.cgroup_ms - before.cgroup_ms) / (double) n;
        figures->machine_exec_ms += (after.machine_ms - before.machine_ms) / (double) n;
        return pod_end(s, &pod);
}

struct error *mode_cpu(const struct plan *plan, struct figures figures[TARGETS_MAX])
{
        enum { BLOCKS = 2 };
        _cleanup_(sessions_done) struct session sessions[TARGETS_MAX] = { 0 };
        size_t n = plan->rounds / BLOCKS ? plan->rounds / BLOCKS : 1;
        TRY(sessions_open(plan, sessions));
        for (size_t i = 0; i < BLOCKS * plan->n_targets; i++) {
                size_t t = i % plan->n_targets;
                TRY(check_interrupt(plan));
                TRY(cpu_lives(&sessions[t], n, &figures[t]));
                TRY(cpu_execs(&sessions[t], n, &figures[t]));
        }
        for (size_t t = 0; t < plan->n_targets; t++) {
                figures[t].cpu_life_ms /= BLOCKS;
                figures[t].cpu_exec_ms /= BLOCKS;
                figures[t].machine_life_ms /= BLOCKS;
                figures[t].machine_exec_ms /= BLOCKS;
        }
        return NULL;
}

/* --- many at once --- */

struct crew {
        const struct plan *plan;
        const struct target *target;
        atomic_long left; /* pods still to do */
        bool whole;       /* whole lives, or starts alone */
        pthread_mutex_t lock;
        struct timings timings; /* under lock, like failure */
        struct error *failure;
};

static struct error *crew_work(struct crew *crew, struct session *s)
{
        while (atomic_fetch_sub(&crew->left, 1) > 0) {
                _cleanup_(pod_done) struct pod pod = { 0 };
                TRY(check_interrupt(crew->plan));
                if (crew->whole)
                        TRY(life(s, false));
                else
                        TRY(pod_start(s, &pod));
        }
        return NULL;
}

static void *crew_main(void *argument)
{
        struct crew *crew = argument;
        struct session s = { 0 };
        struct error *e = session_open(crew->target, &crew->plan->workload, crew->plan->interrupted, &s);
        if (!e)
                e = crew_work(crew, &s);
        (void) pthread_mutex_lock(&crew->lock);
        timings_add_all(&crew->timings, &s.timings);
        if (e && !crew->failure)
                crew->failure = e;
        else
                error_free(e);
        (void) pthread_mutex_unlock(&crew->lock);
        session_done(&s);
        return NULL;
}

/* Has them all done by plan->parallel threads; *per_s: how many a second. */
static struct error *crew_run(const struct plan *plan, const struct target *target, size_t pods, bool whole,
                              struct figures *figures, double *per_s)
{
        struct crew crew = { .plan = plan, .target = target, .whole = whole };
        pthread_t threads[64];
        size_t n = 0;
        crew.left = (long) pods;
        (void) pthread_mutex_init(&crew.lock, NULL);
        int64_t before_ns = clock_monotonic_ns();
        while (n < plan->parallel && n < LENGTH(threads) &&
               pthread_create(&threads[n], NULL, crew_main, &crew) == 0)
                n++;
        for (size_t i = 0; i < n; i++)
                (void) pthread_join(threads[i], NULL);
        *per_s = (double) pods * 1000.0 / ms_since(before_ns);
        if (whole)
                timings_add_all(&figures->parallel, &crew.timings);
        timings_done(&crew.timings);
        (void) pthread_mutex_destroy(&crew.lock);
        return crew.failure;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *) a, y = *(const double *) b;
        return (x > y) - (x < y);
}

struct error *mode_parallel(const struct plan *plan, struct figures figures[TARGETS_MAX])
{
        enum { BLOCKS = 3 };
        double starts[TARGETS_MAX][BLOCKS], lives[TARGETS_MAX][BLOCKS];
        size_t pods = plan->rounds > plan->parallel * 2 ? plan->rounds : plan->parallel * 2;
        for (size_t block = 0; block < BLOCKS; block++)
                for (size_t t = 0; t < plan->n_targets; t++) {
                        const struct target *target = &plan->targets[t];
                        settle();
                        TRY(crew_run(plan, target, pods, false, &figures[t], &starts[t][block]));
                        TRY(session_sweep(target, &plan->workload));
                        settle();
                        TRY(crew_run(plan, target, pods, true, &figures[t], &lives[t][block]));
                }
        for (size_t t = 0; t < plan->n_targets; t++) {
                qsort(starts[t], BLOCKS, sizeof(starts[t][0]), by_value);
                qsort(lives[t], BLOCKS, sizeof(lives[t][0]), by_value);
                figures[t].starts_per_s = starts[t][BLOCKS / 2];
                figures[t].lives_per_s = lives[t][BLOCKS / 2];
        }
        return NULL;
}

/* --- pods that pile up --- */

/* The median of the RunPodSandbox samples from first on, at most ENDS of them. */
static double median_from(const struct samples *all, size_t first)
{
        struct samples part = { 0 };
        for (size_t i = first; i < all->n && i < first + ENDS; i++)
                samples_add(&part, all->values[i]);
        double median = samples_quantile(&part, 0.5);
        samples_done(&part);
        return median;
}

static struct error *grow(const struct plan *plan, struct session *s, struct figures *figures)
{
        for (size_t i = 0; i < plan->growth; i++) {
                _cleanup_(pod_done) struct pod pod = { 0 };
                TRY(check_interrupt(plan));
                TRY(pod_run(s, &pod));
        }
        const struct samples *all = &s->timings.of[TIMED_RUN_POD];
        figures->first_ms = median_from(all, 0);
        figures->middle_ms = median_from(all, all->n / 2);
        figures->last_ms = median_from(all, all->n > ENDS ? all->n - ENDS : 0);
        return NULL;
}

struct error *mode_growth(const struct plan *plan, struct figures figures[TARGETS_MAX])
{
        for (size_t t = 0; t < plan->n_targets; t++) {
                _cleanup_(session_done) struct session s = { 0 };
                TRY(session_open(&plan->targets[t], &plan->workload, plan->interrupted, &s));
                for (size_t i = 0; i < WARM_UP; i++)
                        TRY(life(&s, false));
                timings_done(&s.timings);
                TRY(grow(plan, &s, &figures[t]));
                TRY(session_sweep(&plan->targets[t], &plan->workload));
        }
        return NULL;
}

struct error *mode_background(const struct plan *plan)
{
        for (size_t t = 0; t < plan->n_targets; t++) {
                _cleanup_(session_done) struct session s = { 0 };
                TRY(session_open(&plan->targets[t], &plan->workload, plan->interrupted, &s));
                for (size_t i = 0; i < plan->background; i++) {
                        _cleanup_(pod_done) struct pod pod = { 0 };
                        TRY(check_interrupt(plan));
                        TRY(pod_start(&s, &pod));
                }
        }
        return NULL;
}

/* --- memory --- */

struct slope {
        double n, x, y, xx, xy;
};

static void slope_add(struct slope *slope, double x, double y)
{
        slope->n++;
        slope->x += x;
        slope->y += y;
        slope->xx += x * x;
        slope->xy += x * y;
}

static double slope_of(const struct slope *s)
{
        double below = s->n * s->xx - s->x * s->x;
        return below > 0 ? (s->n * s->xy - s->x * s->y) / below : 0;
}

/* Ten points from plan->memory / 10 pods on: the first pods pay for the pages that all share. */
static struct error *measure_memory(const struct plan *plan, struct session *s, struct figures *figures)
{
        struct slope helpers = { 0 }, daemon = { 0 };
        size_t every = plan->memory / 10 ? plan->memory / 10 : 1;
        TRY(memory_process_kb(s->target->daemon_pid, &figures->daemon_kb));
        for (size_t pods = 1; pods <= plan->memory; pods++) {
                _cleanup_(pod_done) struct pod pod = { 0 };
                double kb = 0;
                TRY(check_interrupt(plan));
                TRY(pod_start(s, &pod));
                if (pods % every)
                        continue;
                settle();
                TRY(memory_pss_kb(s->target->cgroup, s->target->daemon_pid, &kb));
                slope_add(&helpers, (double) pods, kb);
                TRY(memory_process_kb(s->target->daemon_pid, &kb));
                slope_add(&daemon, (double) pods, kb);
        }
        figures->helpers_kb = slope_of(&helpers);
        figures->daemon_growth_kb = slope_of(&daemon);
        return NULL;
}

struct error *mode_memory(const struct plan *plan, struct figures figures[TARGETS_MAX])
{
        for (size_t t = 0; t < plan->n_targets; t++) {
                _cleanup_(session_done) struct session s = { 0 };
                TRY(session_open(&plan->targets[t], &plan->workload, plan->interrupted, &s));
                TRY(measure_memory(plan, &s, &figures[t]));
                TRY(session_sweep(&plan->targets[t], &plan->workload));
        }
        return NULL;
}
