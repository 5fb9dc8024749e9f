#include "base/budget.h"
#include "tests/unit/unit.h"
#include <pthread.h>

static void a_share_takes_its_own_first_and_then_what_there_is(void **state)
{
        (void) state;
        struct budget pot;
        struct share one, two;
        budget_init(&pot, 100);
        share_init(&one, &pot, 10);
        share_init(&two, &pot, 10);
        assert_int_equal(share_take(&one, 5), 5);
        assert_int_equal(atomic_load(&pot.left_bytes), 100);
        assert_int_equal(share_take(&one, 80), 80); /* 5 of its own */
        assert_int_equal(atomic_load(&pot.left_bytes), 25);
        assert_int_equal(share_take(&two, 50), 35); /* its own 10, and all that is left */
        assert_int_equal(share_take(&two, 50), 0);
        share_done(&one);
        assert_int_equal(atomic_load(&pot.left_bytes), 75);
        assert_int_equal(share_take(&two, 50), 50);
        share_done(&two);
        share_done(&two);
        assert_int_equal(atomic_load(&pot.left_bytes), 100);
}

static void *take_and_give(void *argument)
{
        for (int i = 0; i < 10000; i++) {
                struct share share;
                share_init(&share, argument, 1);
                for (int j = 0; j < 10; j++)
                        assert_true(share_take(&share, 7) <= 7);
                share_done(&share);
        }
        return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
        (void) state;
        struct budget pot;
        pthread_t threads[4];
        budget_init(&pot, 100);
        for (size_t i = 0; i < LENGTH(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &pot), 0);
        for (size_t i = 0; i < LENGTH(threads); i++)
                (void) pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&pot.left_bytes), 100);
}

UNIT_MAIN(TEST(a_share_takes_its_own_first_and_then_what_there_is), TEST(nothing_is_lost_between_threads))
