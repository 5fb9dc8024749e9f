/* steps.h - a lifecycle is a table of steps, run by one engine.
 *
 * A make table (RunPodSandbox, CreateContainer) builds something: a step that fails, a cancel, or a recovery after
 * the process died undoes what was begun, newest first. An end table (Stop, Remove) takes something apart: a step
 * that fails leaves the object to be retried and recovery finishes it; end steps have no undo.
 *
 * Before a step runs, its number + 1 is recorded through the callback: that number is all a recovery needs. So an
 * undo must be idempotent and succeed where its step never ran or ran half. Undos run on a fresh deadline of their
 * own, never on the caller's, which may be spent. The time of each step is kept (struct step_times).
 *
 * Fault points, in builds that have them: "TABLE.STEP.before" and "TABLE.STEP.after", "TABLE.STEP.undo".
 * Threads: one at a time an object. */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <stddef.h>
#include <stdint.h>

#define STEPS_MAX 16
#define STEP_UNDO_TIMEOUT_MS 60000

struct step {
        const char *name;
        struct error *(*make)(void *object, const struct wait *wait);
        struct error *(*undo)(void *object, const struct wait *wait); /* NULL: nothing to undo */
};

struct steps {
        const char *name; /* of the table, as fault points and logs say it */
        const struct step *table;
        size_t n;
        /* Records that the first `begun` steps may have run. Called before each step with its number + 1, and
         * with a lower number as undos end. NULL where the object needs no record. */
        struct error *(*record)(void *object, size_t begun);
        /* An end table goes on when its intent cannot be recorded (a full disk must not keep pods alive). */
        bool record_may_fail;
};

struct step_times {
        const char *table;
        size_t n;
        struct {
                const char *name;
                int64_t took_ns;
        } step[STEPS_MAX];
};

/* Runs a make table from its first step. On failure undoes what was begun and returns the step's error, "step NAME: "
 * not added (the step's own message says what failed); when an undo fails too, its message is appended and the record
 * still names the steps left, for a later steps_undo. */
MUST_CHECK struct error *steps_make(const struct steps *steps, void *object, const struct wait *wait,
                                    struct step_times *times);

/* Undoes the first `begun` steps, newest first, down to but not including the first `keep`. Stops at the first undo
 * that fails. */
MUST_CHECK struct error *steps_undo(const struct steps *steps, void *object, size_t begun, size_t keep);

/* Runs an end table from its first step, or again after a failure: every step is idempotent. */
MUST_CHECK struct error *steps_end(const struct steps *steps, void *object, const struct wait *wait,
                                   struct step_times *times);
