/* What is told of pods and containers through their lives. Needs root. */
#include "pods/message.h"
#include "tests/unit/pods_maker.h"
#include <signal.h>

static const Cri__ContainerState created = CRI__CONTAINER_STATE__CONTAINER_CREATED,
                                 running = CRI__CONTAINER_STATE__CONTAINER_RUNNING,
                                 exited = CRI__CONTAINER_STATE__CONTAINER_EXITED;

#define STATUS(name, made, id)                                                                               \
        _cleanup_(message_freep) Cri__ContainerStatusResponse *name = made_status(made, id, false)

static void a_life_is_told_from_created_to_exited(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        STATUS(before, made, id);
        assert_int_equal(before->status->state, created);
        assert_int_equal(before->status->started_at, 0);
        made_start(made, id);
        STATUS(now, made, id);
        assert_int_equal(now->status->state, running);
        assert_true(now->status->started_at >= before->status->created_at);
        assert_int_equal(now->status->finished_at, 0);
        fake_exit(id, 0);
        made_wait(made, id, exited);
        STATUS(after, made, id);
        assert_string_equal(after->status->reason, "Completed");
        assert_true(after->status->finished_at >= after->status->started_at);
        assert_ok(node_remove_container(made->node, id));
        assert_null(made_status(made, id, false));
}

static void a_code_that_is_not_0_is_an_error(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        fake_exit(id, 7);
        made_wait(made, id, exited);
        STATUS(after, made, id);
        assert_int_equal(after->status->exit_code, 7);
        assert_string_equal(after->status->reason, "Error");
}

static void a_stop_sends_the_images_signal_and_then_none(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        assert_ok(made_stop(made, id, 60));
        assert_int_equal(fake_last_signal(id), SIGQUIT);
        STATUS(after, made, id);
        assert_int_equal(after->status->state, exited);
        assert_int_equal(after->status->exit_code, 128 + SIGQUIT);
        assert_ok(made_stop(made, id, 60));
}

static void a_grace_of_0_kills_what_ignores_signals(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        made_start(made, id);
        fake_ignore_signals(id);
        assert_ok(made_stop(made, id, 0));
        STATUS(after, made, id);
        assert_int_equal(after->status->exit_code, 137);
}

static void a_pod_whose_supervisor_dies_is_not_ready_and_its_containers_were_killed(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL),
                              *idle = made_container(made, pod, "idle", NULL);
        made_start(made, id);
        fake_lose(pod);
        made_wait_pod(made, pod, CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
        made_wait(made, id, exited);
        STATUS(after, made, id);
        assert_int_equal(after->status->exit_code, 137);
        assert_string_equal(after->status->message, "the pod's supervisor was killed");
        STATUS(never, made, idle);
        assert_int_equal(never->status->state, created);
}

static void a_start_that_fails_is_an_end_of_its_own(void **state)
{
        const struct wait wait = wait_of_ms(10000);
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        fake_refuse(FAKE_START);
        assert_fails(ERROR_UNAVAILABLE, "refused", node_start_container(made->node, id, &wait));
        STATUS(after, made, id);
        assert_int_equal(after->status->state, exited);
        assert_int_equal(after->status->exit_code, 128);
        assert_string_equal(after->status->reason, "StartError");
        assert_fails(ERROR_FAILED_PRECONDITION, "", node_start_container(made->node, id, &wait));
}

static void a_pod_that_cannot_start_leaves_nothing(void **state)
{
        const struct wait wait = wait_of_ms(10000);
        struct made_node *made = *state;
        Cri__PodSandboxMetadata metadata = CRI__POD_SANDBOX_METADATA__INIT;
        Cri__NamespaceOption options = CRI__NAMESPACE_OPTION__INIT;
        Cri__LinuxSandboxSecurityContext security = CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        Cri__LinuxPodSandboxConfig linux = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
        Cri__PodSandboxConfig config = CRI__POD_SANDBOX_CONFIG__INIT;
        static char name[] = "pod";
        char *id = NULL;
        metadata.name = metadata.uid = metadata.namespace_ = name;
        options.network = CRI__NAMESPACE_MODE__NODE;
        security.namespace_options = &options;
        linux.security_context = &security;
        linux.cgroup_parent = made->parent;
        config.metadata = &metadata;
        config.linux = &linux;
        for (enum fake_call call = FAKE_POD_START; call <= FAKE_POD_COMMIT; call++) {
                fake_refuse(call);
                assert_fails(ERROR_UNAVAILABLE, "refused",
                             node_run_pod(made->node, &config, "", NULL, &wait, &id));
                assert_null(made->node->pods);
                assert_int_equal(fake_supervisors(), 0);
        }
        assert_ok(node_run_pod(made->node, &config, "", NULL, &wait, &id));
        char *second = NULL;
        assert_fails(ERROR_ALREADY_EXISTS, id, node_run_pod(made->node, &config, "", NULL, &wait, &second));
        free(id);
}

UNIT_MAIN(IN_NODE(a_life_is_told_from_created_to_exited), IN_NODE(a_code_that_is_not_0_is_an_error),
          IN_NODE(a_stop_sends_the_images_signal_and_then_none),
          IN_NODE(a_grace_of_0_kills_what_ignores_signals),
          IN_NODE(a_pod_whose_supervisor_dies_is_not_ready_and_its_containers_were_killed),
          IN_NODE(a_start_that_fails_is_an_end_of_its_own), IN_NODE(a_pod_that_cannot_start_leaves_nothing))
