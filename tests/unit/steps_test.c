#include "base/fault.h"
#include "base/steps.h"
#include "tests/unit/unit.h"

/* An object that writes down what is done to it. */
struct object {
        char done[256];
        size_t recorded;
        int fail_make, fail_undo; /* which step, from 1 */
};

static struct error *note(struct object *o, const char *what, int step, int fail)
{
        (void) snprintf(o->done + strlen(o->done), sizeof(o->done) - strlen(o->done), "%s%d ", what, step);
        return fail == step ? error_new(ERROR_UNAVAILABLE, "%s %d failed", what, step) : NULL;
}

#define STEP(n)                                                                                              \
        static struct error *make##n(void *o, const struct wait *w)                                          \
        {                                                                                                    \
                (void) w;                                                                                    \
                return note(o, "+", n, ((struct object *) o)->fail_make);                                    \
        }                                                                                                    \
        static struct error *undo##n(void *o, const struct wait *w)                                          \
        {                                                                                                    \
                assert_true(wait_left_ms(w) > 1000); /* a fresh deadline, whatever the caller's is */        \
                return note(o, "-", n, ((struct object *) o)->fail_undo);                                    \
        }
STEP(1)
STEP(2)
STEP(3)

static struct error *record(void *o, size_t begun)
{
        ((struct object *) o)->recorded = begun;
        return NULL;
}

static const struct step table[] = { { "one", make1, undo1 },
                                     { "two", make2, undo2 },
                                     { "three", make3, undo3 } };
static const struct steps steps = { .name = "t", .table = table, .n = LENGTH(table), .record = record };

static void a_make_runs_its_steps_in_order_and_times_them(void **state)
{
        (void) state;
        struct object o = { 0 };
        struct step_times times = { 0 };
        struct wait wait = wait_of_ms(10000);
        assert_ok(steps_make(&steps, &o, &wait, &times));
        assert_string_equal(o.done, "+1 +2 +3 ");
        assert_int_equal(o.recorded, 3);
        assert_int_equal(times.n, 3);
        assert_string_equal(times.step[2].name, "three");
}

static void a_failed_step_is_undone_too_and_its_error_is_returned(void **state)
{
        (void) state;
        struct object o = { .fail_make = 2 };
        struct wait wait = wait_of_ms(10000);
        assert_fails(ERROR_UNAVAILABLE, "+ 2 failed", steps_make(&steps, &o, &wait, NULL));
        assert_string_equal(o.done, "+1 +2 -2 -1 ");
        assert_int_equal(o.recorded, 0);
}

static void an_undo_that_fails_is_told_and_stays_recorded(void **state)
{
        (void) state;
        struct object o = { .fail_make = 3, .fail_undo = 2 };
        struct wait wait = wait_of_ms(10000);
        assert_fails(ERROR_UNAVAILABLE, "+ 3 failed (and undoing it: undo two: - 2 failed)",
                     steps_make(&steps, &o, &wait, NULL));
        assert_int_equal(o.recorded, 2);
        o.fail_undo = 0;
        assert_ok(steps_undo(&steps, &o, o.recorded, 0));
        assert_string_equal(o.done, "+1 +2 +3 -3 -2 -2 -1 ");
}

static void a_spent_deadline_undoes_on_a_fresh_one(void **state)
{
        (void) state;
        struct object o = { 0 };
        struct wait wait = wait_of_ms(-1);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "timed out", steps_make(&steps, &o, &wait, NULL));
        assert_string_equal(o.done, "");
}

static struct error *make_and_forget(struct object *o)
{
        struct wait wait = wait_of_ms(10000);
        *o = (struct object){ 0 };
        return steps_make(&steps, o, &wait, NULL);
}

static void every_way_out_of_a_make_undoes_what_it_did(void **state)
{
        (void) state;
        struct object o;
        WALK_FAILURES(({
                struct error *e = make_and_forget(&o);
                if (e && strstr(o.done, "+1"))
                        assert_non_null(strstr(o.done, "-1"));
                e;
        }));
        assert_string_equal(o.done, "+1 +2 +3 ");
}

static struct error *record_fails(void *o, size_t begun)
{
        (void) o, (void) begun;
        return error_new(ERROR_RESOURCE_EXHAUSTED, "disk full");
}

static void an_end_goes_on_where_its_intent_cannot_be_recorded(void **state)
{
        (void) state;
        struct object o = { 0 };
        struct wait wait = wait_of_ms(10000);
        const struct steps end = { .name = "e",
                                   .table = table,
                                   .n = LENGTH(table),
                                   .record = record_fails,
                                   .record_may_fail = true };
        assert_ok(steps_end(&end, &o, &wait, NULL));
        assert_string_equal(o.done, "+1 +2 +3 ");
}

UNIT_MAIN(TEST(a_make_runs_its_steps_in_order_and_times_them),
          TEST(a_failed_step_is_undone_too_and_its_error_is_returned),
          TEST(an_undo_that_fails_is_told_and_stays_recorded), TEST(a_spent_deadline_undoes_on_a_fresh_one),
          TEST(every_way_out_of_a_make_undoes_what_it_did),
          TEST(an_end_goes_on_where_its_intent_cannot_be_recorded))
