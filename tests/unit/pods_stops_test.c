/* Stops that wait: parked, without a thread. Needs root. */
#include "base/clock.h"
#include "pods/message.h"
#include "pods/table.h"
#include "tests/unit/pods_maker.h"
#include <signal.h>

static const Cri__ContainerState running = CRI__CONTAINER_STATE__CONTAINER_RUNNING;

/* A container that ends for nothing but SIGKILL, and a stop of it that is parked. */
static char *stubborn(struct made_node *made, int64_t grace_s, struct made_stop *stop)
{
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        char *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        fake_ignore_signals(id);
        made_stop_begin(made, id, grace_s, stop);
        assert_int_equal(fake_last_signal(id), SIGQUIT); /* the image's */
        assert_non_null(stop->waiter.at);
        return id;
}

static void a_stop_waits_for_the_exit_and_nothing_waits_for_it(void **state)
{
        struct made_node *made = *state;
        struct made_stop first, second;
        _cleanup_(freep) char *id = stubborn(made, 600, &first);
        Cri__LinuxContainerResources resources = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        resources.cpu_shares = 512;
        assert_ok(node_update_container(made->node, id, &resources));
        made_stop_begin(made, id, 900, &second);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *status = made_status(made, id, false);
        assert_int_equal(status->status->state, running);
        fake_exit(id, 7);
        assert_ok(made_stop_end(&first));
        assert_ok(made_stop_end(&second));
        _cleanup_(message_freep) Cri__ContainerStatusResponse *after = made_status(made, id, false);
        assert_int_equal(after->status->exit_code, 7);
        assert_ok(made_stop(made, id, 600));
}

static void a_grace_ends_with_a_kill_and_less_of_it_counts(void **state)
{
        struct made_node *made = *state;
        struct made_stop first;
        _cleanup_(freep) char *id = stubborn(made, 600, &first);
        int64_t before_ns = clock_monotonic_ns();
        assert_ok(made_stop(made, id, 1));
        assert_in_range(clock_monotonic_ns() - before_ns, 900000000, 20000000000);
        assert_ok(made_stop_end(&first));
        assert_int_equal(fake_last_signal(id), SIGKILL);
}

static void without_a_grace_parked_ones_end_too(void **state)
{
        struct made_node *made = *state;
        struct made_stop first;
        _cleanup_(freep) char *id = stubborn(made, INT64_MAX, &first);
        assert_ok(made_stop(made, id, 0));
        assert_ok(made_stop_end(&first));
}

static void a_failed_kill_is_told_to_all_and_may_be_tried_again(void **state)
{
        struct made_node *made = *state;
        struct made_stop first, second;
        _cleanup_(freep) char *id = stubborn(made, 1, &first);
        made_stop_begin(made, id, 600, &second);
        fake_refuse(FAKE_SIGNAL);
        assert_fails(ERROR_UNAVAILABLE, "refused", made_stop_end(&first));
        assert_fails(ERROR_UNAVAILABLE, "refused", made_stop_end(&second));
        assert_ok(made_stop(made, id, 1));
}

static void who_leaves_is_not_told_and_the_stop_goes_on(void **state)
{
        struct made_node *made = *state;
        struct made_stop leaves, stays;
        _cleanup_(freep) char *id = stubborn(made, 1, &leaves);
        made_stop_begin(made, id, 600, &stays);
        assert_true(node_waiter_leave(made->node, &leaves.waiter));
        assert_false(node_waiter_leave(made->node, &leaves.waiter));
        assert_ok(made_stop_end(&stays));
        assert_false(node_waiter_leave(made->node, &stays.waiter));
        const struct wait now = wait_of_ms(0);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "", wait_fd(&now, leaves.done_fd, 1, "told"));
        closep(&leaves.done_fd);
        assert_int_equal(fake_last_signal(id), SIGKILL);
}

static void a_node_that_closes_answers_at_once(void **state)
{
        struct made_node *made = *state;
        struct made_stop first;
        _cleanup_(freep) char *id = stubborn(made, 600, &first);
        node_close(made->node);
        assert_fails(ERROR_UNAVAILABLE, "stopping", made_stop_end(&first));
        assert_fails(ERROR_UNAVAILABLE, "stopping", made_stop(made, id, 600));
        assert_true(node_idle(made->node, 10000));
        made_node_reopen(made);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *status = made_status(made, id, false);
        assert_int_equal(status->status->state, running);
        assert_ok(made_stop(made, id, 0));
}

UNIT_MAIN(IN_NODE(a_stop_waits_for_the_exit_and_nothing_waits_for_it),
          IN_NODE(a_grace_ends_with_a_kill_and_less_of_it_counts),
          IN_NODE(without_a_grace_parked_ones_end_too),
          IN_NODE(a_failed_kill_is_told_to_all_and_may_be_tried_again),
          IN_NODE(who_leaves_is_not_told_and_the_stop_goes_on), IN_NODE(a_node_that_closes_answers_at_once))
