#include "base/steps.h"
#include "base/clock.h"
#include "base/fault.h"

/* An undo that meets an error is not the story that the caller wants to hear first: it goes behind it. */
static struct error *with_undo_failure(struct error *e, struct error *undo)
{
        if (!undo)
                return e;
        struct error *both =
                error_new(error_code_of(e), "%s (and undoing it: %s)", error_message(e), error_message(undo));
        error_free(e);
        error_free(undo);
        return both;
}

static struct error *record(const struct steps *steps, void *object, size_t begun)
{
        if (!steps->record)
                return NULL;
        struct error *e = steps->record(object, begun);
        if (e && steps->record_may_fail) {
                error_ignore(
                        e); /* the intent is lost, not the step: recovery runs an end table from its start */
                return NULL;
        }
        return e;
}

static struct error *step_run(const struct steps *steps, size_t i, void *object, const struct wait *wait)
{
        const struct step *step = &steps->table[i];
        TRY(record(steps, object, i + 1));
        TRY(fault_point("%s.%s.before", steps->name, step->name));
        TRY(step->make(object, wait));
        return fault_point("%s.%s.after", steps->name, step->name);
}

static struct error *step_timed(const struct steps *steps, size_t i, void *object, const struct wait *wait,
                                struct step_times *times)
{
        int64_t began_ns = clock_monotonic_ns();
        struct error *e = step_run(steps, i, object, wait);
        if (times && i < STEPS_MAX) {
                times->table = steps->name;
                times->step[i].name = steps->table[i].name;
                times->step[i].took_ns = clock_monotonic_ns() - began_ns;
                times->n = i + 1;
        }
        return e;
}

struct error *steps_make(const struct steps *steps, void *object, const struct wait *wait,
                         struct step_times *times)
{
        for (size_t i = 0; i < steps->n; i++) {
                struct error *e = wait_check(wait, steps->name);
                size_t begun = e ? i : i + 1;
                if (!e)
                        e = step_timed(steps, i, object, wait, times);
                if (e)
                        return with_undo_failure(e, steps_undo(steps, object, begun, 0));
        }
        return NULL;
}

struct error *steps_undo(const struct steps *steps, void *object, size_t begun, size_t keep)
{
        for (size_t i = begun; i-- > keep;) {
                const struct step *step = &steps->table[i];
                struct wait wait = wait_of_ms(STEP_UNDO_TIMEOUT_MS);
                if (step->undo)
                        TRY_WRAP(step->undo(object, &wait), "undo %s", step->name);
                TRY(fault_point("%s.%s.undo", steps->name, step->name));
                if (steps->record)
                        error_ignore(steps->record(object, i)); /* undoing once more is harmless */
        }
        return NULL;
}

struct error *steps_end(const struct steps *steps, void *object, const struct wait *wait,
                        struct step_times *times)
{
        for (size_t i = 0; i < steps->n; i++)
                TRY(step_timed(steps, i, object, wait, times));
        return NULL;
}
