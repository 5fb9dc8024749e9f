#include "tests/bench/pulls.h"
#include "base/clock.h"
#include "tests/bench/cpu.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum {
        SETTLE_MS = 300, /* what a runtime does after its answer belongs to it too */
        QUIET_MS = 250,
        QUIET_WAITS_MAX = 240,
        SAMPLED_ROUNDS = 2,
        SAMPLE_MS = 5,
        LIVES = 20,
        IMAGES_MAX = 16,
};

struct cpu_reading {
        double cgroup_ms, machine_ms;
};

static void pause_ms(long ms)
{
        (void) nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}

static struct error *cpu_read(const struct target *target, struct cpu_reading *out)
{
        *out = (struct cpu_reading){ 0 };
        pause_ms(SETTLE_MS);
        if (target->cgroup)
                TRY(cpu_cgroup_ms(target->cgroup, &out->cgroup_ms));
        return cpu_machine_ms(&out->machine_ms);
}

/* Waits until the runtime does nothing any more: its trash is empty, its collector has ended. Then writes out what is
 * dirty, so that nobody pays for what came before. */
static struct error *quiet(const struct plan *plan, const struct target *target)
{
        double last_ms = 0, now_ms = 0;
        int still = 0;
        for (int i = 0; target->cgroup && i < QUIET_WAITS_MAX && still < 2; i++) {
                if (*plan->interrupted)
                        return error_new(ERROR_CANCELLED, "interrupted");
                TRY(cpu_cgroup_ms(target->cgroup, &now_ms));
                still = now_ms - last_ms < 1.0 ? still + 1 : 0;
                last_ms = now_ms;
                pause_ms(QUIET_MS);
        }
        if (target->cgroup && still < 2)
                return error_new(ERROR_DEADLINE_EXCEEDED, "%s: still busy long after a removal",
                                 target->name);
        sync();
        return NULL;
}

/* --- one image, or several at once --- */

struct images {
        char *names[IMAGES_MAX];
        size_t n;
};

static void images_of(char *list, struct images *out)
{
        char *rest = NULL;
        out->n = 0;
        for (char *name = strtok_r(list, ",", &rest); name && out->n < IMAGES_MAX;
             name = strtok_r(NULL, ",", &rest))
                out->names[out->n++] = name;
}

struct puller {
        struct session session;
        const char *image;
        struct error *failure;
};

static void *pull_main(void *argument)
{
        struct puller *puller = argument;
        puller->failure = image_pull(&puller->session, puller->image);
        return NULL;
}

/* Pulls all of them, each by a client of its own where there are several. */
static struct error *pull_all(const struct plan *plan, struct session *s, const struct images *images)
{
        if (images->n == 1)
                return image_pull(s, images->names[0]);
        struct puller pullers[IMAGES_MAX] = { 0 };
        pthread_t threads[IMAGES_MAX];
        size_t n = 0;
        struct error *e = NULL;
        int64_t before_ns = clock_monotonic_ns();
        for (; n < images->n && !e; n++) {
                pullers[n].image = images->names[n];
                e = session_open(s->target, &plan->workload, plan->interrupted, &pullers[n].session);
                if (!e && pthread_create(&threads[n], NULL, pull_main, &pullers[n]) != 0)
                        e = error_new(ERROR_INTERNAL, "start a thread");
                if (e)
                        break;
        }
        for (size_t i = 0; i < n; i++) {
                (void) pthread_join(threads[i], NULL);
                timings_add_all(&s->timings, &pullers[i].session.timings);
                if (e)
                        error_free(pullers[i].failure);
                else
                        e = pullers[i].failure;
        }
        for (size_t i = 0; i < images->n; i++)
                session_done(&pullers[i].session);
        if (!e)
                samples_add(&s->timings.of[TIMED_PULL_ALL], ms_since(before_ns));
        return e;
}

static struct error *remove_all(const struct plan *plan, struct session *s, const struct images *images)
{
        for (size_t i = 0; i < images->n; i++)
                TRY(image_remove(s, images->names[i]));
        return quiet(plan, s->target);
}

/* --- memory --- */

struct sampler {
        const struct target *target;
        atomic_bool stop;
        double peak_kb;
};

static void *sample_main(void *argument)
{
        struct sampler *sampler = argument;
        while (!atomic_load(&sampler->stop)) {
                double kb = 0;
                struct error *e = memory_pss_kb(sampler->target->cgroup, 0, &kb);
                if (!e && kb > sampler->peak_kb)
                        sampler->peak_kb = kb;
                error_ignore(e); /* processes come and go */
                pause_ms(SAMPLE_MS);
        }
        return NULL;
}

/* A pull while the memory of all that the runtime is gets read again and again: it slows the pull, so it is not timed. */
static struct error *sampled_pull(const struct plan *plan, struct session *s, const struct images *images,
                                  double *peak_kb)
{
        struct sampler sampler = { .target = s->target, .peak_kb = *peak_kb };
        pthread_t thread;
        if (pthread_create(&thread, NULL, sample_main, &sampler) != 0)
                return error_new(ERROR_INTERNAL, "start a thread");
        struct error *e = pull_all(plan, s, images);
        atomic_store(&sampler.stop, true);
        (void) pthread_join(thread, NULL);
        *peak_kb = sampler.peak_kb;
        return e;
}

/* --- the modes --- */

/* One round: the store is cold, nothing is dirty. */
static struct error *round_of(const struct plan *plan, struct session *s, const struct images *images,
                              struct figures *figures)
{
        struct cpu_reading first, removed, before, after;
        TRY(cpu_read(s->target, &first));
        TRY(remove_all(plan, s, images));
        TRY(cpu_read(s->target, &removed));
        TRY(cpu_read(s->target, &before));
        TRY(pull_all(plan, s, images));
        TRY(cpu_read(s->target, &after));
        samples_add(&figures->pull_cpu_ms, after.cgroup_ms - before.cgroup_ms);
        samples_add(&figures->pull_machine_ms, after.machine_ms - before.machine_ms);
        samples_add(&figures->removal_cpu_ms, removed.cgroup_ms - first.cgroup_ms);
        return NULL;
}

static struct error *all_rounds(const struct plan *plan, struct session sessions[TARGETS_MAX],
                                const struct images *images, struct figures figures[TARGETS_MAX])
{
        for (size_t t = 0; t < plan->n_targets;
             t++) { /* the first pull of a daemon's life is no typical one */
                TRY(pull_all(plan, &sessions[t], images));
                timings_done(&sessions[t].timings);
        }
        for (size_t i = 0; i < plan->rounds; i++)
                for (size_t t = 0; t < plan->n_targets; t++)
                        TRY(round_of(plan, &sessions[t], images, &figures[t]));
        for (size_t t = 0; t < plan->n_targets; t++)
                timings_add_all(&figures[t].timings, &sessions[t].timings);
        for (size_t i = 0; i < SAMPLED_ROUNDS; i++)
                for (size_t t = 0; t < plan->n_targets; t++) {
                        TRY(remove_all(plan, &sessions[t], images));
                        TRY(sampled_pull(plan, &sessions[t], images, &figures[t].peak_kb));
                }
        return NULL;
}

static void sessions_done(struct session (*sessions)[TARGETS_MAX])
{
        for (size_t t = 0; t < TARGETS_MAX; t++)
                session_done(&(*sessions)[t]);
}

static struct error *
with_sessions(const struct plan *plan, const char *names, struct figures figures[TARGETS_MAX],
              struct error *(*run)(const struct plan *plan, struct session sessions[TARGETS_MAX],
                                   const struct images *images, struct figures figures[TARGETS_MAX]))
{
        _cleanup_(sessions_done) struct session sessions[TARGETS_MAX] = { 0 };
        _cleanup_(freep) char *list = dup_string(names);
        struct images images;
        images_of(list, &images);
        if (images.n == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "no image is named");
        for (size_t t = 0; t < plan->n_targets; t++)
                TRY(session_open(&plan->targets[t], &plan->workload, plan->interrupted, &sessions[t]));
        return run(plan, sessions, &images, figures);
}

struct error *mode_pull(const struct plan *plan, struct figures figures[TARGETS_MAX])
{
        return with_sessions(plan, plan->pull, figures, all_rounds);
}

static struct error *pods(struct session *s, struct samples *run_ms)
{
        samples_done(&s->timings.of[TIMED_RUN_POD]);
        for (size_t i = 0; i < LIVES; i++) {
                _cleanup_(pod_done) struct pod pod = { 0 };
                TRY(pod_run(s, &pod));
                TRY(pod_end(s, &pod));
        }
        samples_add_all(run_ms, &s->timings.of[TIMED_RUN_POD]);
        return NULL;
}

static struct error *removal_rounds(const struct plan *plan, struct session sessions[TARGETS_MAX],
                                    const struct images *images, struct figures figures[TARGETS_MAX])
{
        for (size_t i = 0; i < plan->rounds; i++)
                for (size_t t = 0; t < plan->n_targets; t++) {
                        struct session *s = &sessions[t];
                        TRY(pull_all(plan, s, images));
                        TRY(quiet(plan, s->target));
                        TRY(pods(s, &figures[t].run_quiet));
                        TRY(quiet(plan, s->target));
                        for (size_t j = 0; j < images->n; j++)
                                TRY(image_remove(s, images->names[j]));
                        TRY(pods(s, &figures[t].run_removal));
                        TRY(quiet(plan, s->target));
                }
        for (size_t t = 0; t < plan->n_targets; t++)
                samples_add_all(&figures[t].timings.of[TIMED_REMOVE_IMAGE],
                                &sessions[t].timings.of[TIMED_REMOVE_IMAGE]);
        return NULL;
}

struct error *mode_removal(const struct plan *plan, struct figures figures[TARGETS_MAX])
{
        return with_sessions(plan, plan->removal, figures, removal_rounds);
}
