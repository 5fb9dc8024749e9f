/* What a node that is opened again makes of what it finds. Needs root. */
#include "pods/message.h"
#include "pods/records.h"
#include "tests/unit/pods_maker.h"

static const Cri__ContainerState running = CRI__CONTAINER_STATE__CONTAINER_RUNNING,
                                 exited = CRI__CONTAINER_STATE__CONTAINER_EXITED;

static void what_runs_still_runs_and_is_followed(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *before = made_status(made, id, false);
        made_node_reopen(made);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *after = made_status(made, id, false);
        assert_int_equal(after->status->state, running);
        assert_int_equal(after->status->started_at, before->status->started_at);
        assert_string_equal(after->status->image->image, before->status->image->image);
        fake_exit(id, 3);
        made_wait(made, id, exited);
}

static void an_exit_that_nobody_saw_is_told(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        node_free(TAKE(made->node));
        fake_exit(id, 42);
        made_node_reopen(made);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *after = made_status(made, id, false);
        assert_int_equal(after->status->state, exited);
        assert_int_equal(after->status->exit_code, 42);
}

static void a_supervisor_that_died_meanwhile_leaves_a_pod_that_is_not_ready(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        node_free(TAKE(made->node));
        fake_lose(pod);
        made_node_reopen(made);
        made_wait_pod(made, pod, CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *after = made_status(made, id, false);
        assert_int_equal(after->status->state, exited);
        assert_int_equal(after->status->exit_code, 137);
}

/* It may live: nothing of it is killed, and it is tried again. */
static void a_supervisor_that_cannot_be_asked_is_left_alone(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        node_free(TAKE(made->node));
        fake_refuse(FAKE_POD_ATTACH);
        made_node_reopen(made);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *after = made_status(made, id, false);
        assert_int_equal(after->status->state, running);
        _cleanup_(message_freep) Cri__PodSandboxStatusResponse *status = made_pod_status(made, pod);
        assert_int_equal(status->status->state, CRI__POD_SANDBOX_STATE__SANDBOX_READY);
        assert_int_equal(fake_supervisors(), 1);
        fake_exit_unseen(id, 5); /* told when it is reached again */
        made_wait(made, id, exited);
}

/* One that lags behind is cut off: what it missed is in the exits, and the pod lives. */
static void a_reader_that_was_cut_off_asks_again(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL),
                              *ends = made_container(made, pod, "ends", NULL),
                              *stays = made_container(made, pod, "stays", NULL);
        made_start(made, ends);
        made_start(made, stays);
        fake_exit_unseen(ends, 6);
        fake_cut(pod);
        made_wait(made, ends, exited);
        _cleanup_(message_freep) Cri__ContainerStatusResponse *status = made_status(made, stays, false);
        assert_int_equal(status->status->state, running);
        fake_exit(stays, 0); /* and is followed again */
        made_wait(made, stays, exited);
        _cleanup_(message_freep) Cri__PodSandboxStatusResponse *pod_status = made_pod_status(made, pod);
        assert_int_equal(pod_status->status->state, CRI__POD_SANDBOX_STATE__SANDBOX_READY);
        assert_int_equal(fake_supervisors(), 1);
}

/* The record of a run that ended in its middle: nobody can have been told of it. */
static void a_half_made_pod_is_undone_and_its_name_is_free(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        assert_ok(record_pod_progress(made->node->db, pod, POD_MAKING));
        made_node_reopen(made);
        assert_null(made_pod_status(made, pod));
        _cleanup_(freep) char *again = made_pod(made, "pod", NULL);
        assert_string_not_equal(pod, again);
        const struct wait wait = wait_of_ms(10000);
        while (fake_supervisors() > 1) /* the old one is ended in the background */
                assert_ok(wait_delay(&wait, 5, "wait for the old pod's end"));
        assert_int_equal(fake_supervisors(), 1);
}

static void a_stop_and_a_remove_under_way_are_finished(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *stops = made_pod(made, "stops", NULL), *goes = made_pod(made, "goes", NULL);
        assert_ok(record_pod_progress(made->node->db, stops, POD_STOPPING));
        assert_ok(node_stop_pod(made->node, goes, NULL)); /* a remove comes after the stop */
        assert_ok(record_pod_progress(made->node->db, goes, POD_REMOVING));
        made_node_reopen(made);
        made_wait_pod(made, stops, CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
        const struct wait wait = wait_of_ms(10000);
        for (bool there = true; there;) {
                _cleanup_(message_freep) Cri__PodSandboxStatusResponse *status = made_pod_status(made, goes);
                there = status != NULL || fake_supervisors() > 0;
                if (there)
                        assert_ok(wait_delay(&wait, 5, "wait for the pods' ends"));
        }
}

static void what_was_stopped_stays_and_what_was_created_can_start(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *stopped = made_pod(made, "stopped", NULL), *pod = made_pod(made, "pod", NULL),
                              *id = made_container(made, pod, "c", NULL);
        assert_ok(node_stop_pod(made->node, stopped, NULL));
        made_node_reopen(made);
        _cleanup_(message_freep) Cri__PodSandboxStatusResponse *status = made_pod_status(made, stopped);
        assert_int_equal(status->status->state, CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
        made_start(made, id);
        assert_string_equal(fake_spec(id)->process.argv[0], "/bin/app");
}

UNIT_MAIN(IN_NODE(what_runs_still_runs_and_is_followed), IN_NODE(an_exit_that_nobody_saw_is_told),
          IN_NODE(a_supervisor_that_died_meanwhile_leaves_a_pod_that_is_not_ready),
          IN_NODE(a_supervisor_that_cannot_be_asked_is_left_alone),
          IN_NODE(a_reader_that_was_cut_off_asks_again),
          IN_NODE(a_half_made_pod_is_undone_and_its_name_is_free),
          IN_NODE(a_stop_and_a_remove_under_way_are_finished),
          IN_NODE(what_was_stopped_stays_and_what_was_created_can_start))
