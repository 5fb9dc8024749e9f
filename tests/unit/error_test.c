#include "base/error.h"
#include "tests/unit/unit.h"

static void the_message_grows_outward_and_the_code_stays(void **state)
{
        (void) state;
        struct error *e = error_new(ERROR_NOT_FOUND, "layer %d", 3);
        e = error_wrap(e, "pull %s", "nginx");
        assert_string_equal(error_message(e), "pull nginx: layer 3");
        assert_int_equal(error_code_of(e), ERROR_NOT_FOUND);
        error_free(e);
}

static void a_failed_call_is_internal_to_its_caller(void **state)
{
        (void) state;
        struct error *e = error_errno(ENOENT, "open x");
        assert_int_equal(error_code_of(e), ERROR_INTERNAL);
        assert_int_equal(error_errnum_of(e), ENOENT);
        assert_string_equal(error_message(e), "open x: No such file or directory");
        error_free(e);
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "No space left", error_errno(ENOSPC, "write"));
}

static struct error *fine(void)
{
        return NULL;
}

static struct error *two_tries(int *reached)
{
        TRY(fine());
        *reached = 1;
        TRY_WRAP(fine(), "second");
        *reached = 2;
        return NULL;
}

static void every_try_can_be_made_to_fail(void **state)
{
        (void) state;
        int reached = 0;
#ifdef SKIFF_FAULTS
        error_inject(2);
        assert_fails(ERROR_ABORTED, "second: injected", two_tries(&reached));
        assert_int_equal(reached, 1);
        assert_true(error_inject_hit());
        error_inject(3);
        assert_ok(two_tries(&reached));
        assert_false(error_inject_hit());
        error_inject(0);
#else
        assert_ok(two_tries(&reached));
#endif
        WALK_FAILURES(two_tries(&reached));
        assert_int_equal(reached, 2);
}

UNIT_MAIN(TEST(the_message_grows_outward_and_the_code_stays), TEST(a_failed_call_is_internal_to_its_caller),
          TEST(every_try_can_be_made_to_fail))
