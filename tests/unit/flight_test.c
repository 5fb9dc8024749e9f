#include "base/clock.h"
#include "images/flight.h"
#include "tests/unit/unit.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

enum { MANY = 20 };

struct want {
        struct flights *flights;
        int64_t asked_ns;
        atomic_int *led, *waiting;
        int go_fd;             /* the leader ends when it is readable */
        enum error_code fails; /* the first leader's end; ERROR_UNKNOWN: none */
        char *result;
        struct error *e;
};

static void *want_it(void *argument)
{
        struct want *want = argument;
        const struct wait wait = wait_of_ms(20000);
        struct flight *lead = NULL;
        (void) atomic_fetch_add(want->waiting, 1);
        want->e = flight_enter(want->flights, "key", want->asked_ns, &wait, &lead, &want->result);
        if (!lead)
                return NULL;
        int nth = atomic_fetch_add(want->led, 1);
        assert_ok(wait_fd(&wait, want->go_fd, 1, "the test"));
        if (nth == 0 && want->fails != ERROR_UNKNOWN)
                want->e = error_new(want->fails, "as the test wants it");
        else
                want->result = dup_string("done");
        flight_end(want->flights, lead, want->e, want->result);
        return NULL;
}

/* How many led, when the first of many ends so. */
static int run(enum error_code fails, struct want wants[MANY])
{
        pthread_t threads[MANY];
        atomic_int led = 0, waiting = 0;
        _cleanup_(closep) int go_fd = eventfd(0, EFD_CLOEXEC);
        const struct wait wait = wait_of_ms(20000);
        struct flights *flights = flights_new();
        int64_t asked_ns = clock_monotonic_ns();
        for (int i = 0; i < MANY; i++) {
                wants[i] = (struct want){ .flights = flights,
                                          .asked_ns = asked_ns,
                                          .led = &led,
                                          .waiting = &waiting,
                                          .go_fd = go_fd,
                                          .fails = fails };
                assert_int_equal(pthread_create(&threads[i], NULL, want_it, &wants[i]), 0);
        }
        while (atomic_load(&waiting) < MANY || atomic_load(&led) == 0)
                assert_ok(wait_delay(&wait, 1, "wait for the threads"));
        assert_int_equal(eventfd_write(go_fd, 1), 0);
        for (int i = 0; i < MANY; i++)
                (void) pthread_join(threads[i], NULL);
        flights_free(flights);
        return atomic_load(&led);
}

static void one_does_it_and_the_others_get_a_copy(void **state)
{
        (void) state;
        struct want wants[MANY];
        assert_int_equal(run(ERROR_UNKNOWN, wants), 1); /* who came late had been asked before its end */
        for (int i = 0; i < MANY; i++) {
                assert_ok(wants[i].e);
                assert_string_equal(wants[i].result, "done");
                free(wants[i].result);
        }
}

static void a_failure_is_told_to_all_who_waited(void **state)
{
        (void) state;
        struct want wants[MANY];
        assert_int_equal(run(ERROR_NOT_FOUND, wants), 1);
        for (int i = 0; i < MANY; i++)
                assert_fails(ERROR_NOT_FOUND, "as the test wants it", wants[i].e);
}

static void what_was_cancelled_is_done_by_another(void **state)
{
        (void) state;
        struct want wants[MANY];
        int cancelled = 0;
        assert_true(run(ERROR_CANCELLED, wants) >= 2);
        for (int i = 0; i < MANY; i++) {
                cancelled += wants[i].e != NULL;
                error_free(wants[i].e);
                free(wants[i].result);
        }
        assert_int_equal(cancelled, 1);
}

static void who_waits_may_give_up(void **state)
{
        (void) state;
        struct flights *flights = flights_new();
        struct flight *lead = NULL, *none = NULL;
        char *result = NULL;
        const struct wait wait = wait_of_ms(5000), shortly = wait_of_ms(20);
        assert_ok(flight_enter(flights, "key", clock_monotonic_ns(), &wait, &lead, &result));
        assert_fails(ERROR_DEADLINE_EXCEEDED, "",
                     flight_enter(flights, "key", clock_monotonic_ns(), &shortly, &none, &result));
        assert_null(none);
        flight_end(flights, lead, NULL, "done");
        flights_free(flights);
}

static void what_is_asked_for_after_the_end_is_done_anew(void **state)
{
        (void) state;
        struct flights *flights = flights_new();
        struct flight *lead = NULL;
        char *result = NULL;
        const struct wait wait = wait_of_ms(5000);
        for (int i = 0; i < 100; i++) { /* more than are remembered */
                assert_ok(flight_enter(flights, "key", clock_monotonic_ns() + 1, &wait, &lead, &result));
                assert_non_null(lead);
                flight_end(flights, lead, NULL, "done");
        }
        assert_ok(flight_enter(flights, "key", 1, &wait, &lead, &result));
        assert_null(lead);
        assert_string_equal(result, "done");
        free(result);
        flights_free(flights);
}

UNIT_MAIN(TEST(what_is_asked_for_after_the_end_is_done_anew), TEST(one_does_it_and_the_others_get_a_copy),
          TEST(a_failure_is_told_to_all_who_waited), TEST(what_was_cancelled_is_done_by_another),
          TEST(who_waits_may_give_up))
