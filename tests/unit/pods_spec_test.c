/* What CRI's config and the image's become: seen in what the handler is given. Needs root. */
#include "pods/message.h"
#include "pods/spec/spec.h"
#include "runtime/container_spec.h"
#include "tests/unit/pods_maker.h"
#include <signal.h>
#include <sys/utsname.h>

static char app_path[] = "/bin/other", argument[] = "-v", directory[] = "/data", user_name[] = "root";

static void assert_texts(char *const *texts, const char *const *wanted)
{
        size_t i = 0;
        for (; wanted[i]; i++) {
                assert_non_null(texts[i]);
                assert_string_equal(texts[i], wanted[i]);
        }
        assert_null(texts[i]);
}
#define ASSERT_TEXTS(texts, ...) assert_texts(texts, (const char *const[]){ __VA_ARGS__, NULL })

/* On the host's network a pod has the host's name. */
static char *hostname_entry(void)
{
        struct utsname host;
        assert_int_equal(uname(&host), 0);
        return format_string("HOSTNAME=%s", host.nodename);
}

/* Makes and starts one, gives what it was started with. */
static const struct container_spec *started(struct made_node *made,
                                            void (*edit)(Cri__ContainerConfig *config))
{
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        _cleanup_(freep) char *id = made_container(made, pod, "c", edit);
        made_start(made, id);
        return fake_spec(id);
}

static void the_images_config_is_what_is_not_asked_otherwise(void **state)
{
        const struct container_spec *spec = started(*state, NULL);
        _cleanup_(freep) char *hostname = hostname_entry();
        ASSERT_TEXTS(spec->process.argv, "/bin/app", "serve");
        ASSERT_TEXTS(spec->process.env, "PATH=/bin", "COLOUR=blue", hostname, "HOME=/home/app");
        assert_string_equal(spec->process.cwd, "/srv");
        assert_int_equal(spec->process.uid, 1000);
        assert_int_equal(spec->process.gid, 1000);
        assert_int_equal(spec->process.n_groups, 2);
        assert_int_equal(spec->process.groups[1], 2000);
        assert_int_equal(spec->stop_signal, SIGQUIT);
        assert_false(spec->readonly_rootfs);
}

static void give_command(Cri__ContainerConfig *config)
{
        static const char *command[] = { app_path };
        config->command = command;
        config->n_command = 1;
}

static void give_args(Cri__ContainerConfig *config)
{
        static const char *args[] = { argument };
        config->args = args;
        config->n_args = 1;
}

static void a_command_replaces_entrypoint_and_cmd_but_args_the_cmd_alone(void **state)
{
        ASSERT_TEXTS(started(*state, give_command)->process.argv, "/bin/other");
        _cleanup_(freep) char *pod = made_pod(*state, "second", NULL);
        _cleanup_(freep) char *id = made_container(*state, pod, "c", give_args);
        made_start(*state, id);
        ASSERT_TEXTS(fake_spec(id)->process.argv, "/bin/app", "-v");
}

static void give_environment(Cri__ContainerConfig *config)
{
        static uint8_t red[] = { 'r', 'e', 'd', 0xff };
        static char colour[] = "COLOUR", home[] = "HOME";
        static Cri__KeyValue first, second;
        static Cri__KeyValue *envs[] = { &first, &second };
        first = second = (Cri__KeyValue) CRI__KEY_VALUE__INIT;
        first.key = colour;
        first.value = (ProtobufCBinaryData){ sizeof(red), red };
        second.key = home;
        config->envs = envs;
        config->n_envs = 2;
        config->working_dir = directory;
}

static void a_variable_replaces_the_images_in_its_place(void **state)
{
        const struct container_spec *spec = started(*state, give_environment);
        _cleanup_(freep) char *hostname = hostname_entry();
        ASSERT_TEXTS(spec->process.env, "PATH=/bin", "COLOUR=red\xff", "HOME=", hostname);
        assert_string_equal(spec->process.cwd, "/data");
}

static void give_user(Cri__ContainerConfig *config)
{
        static int64_t groups[] = { 7, 7, 0 };
        static Cri__Int64Value group;
        group = (Cri__Int64Value) CRI__INT64_VALUE__INIT;
        group.value = 50;
        config->linux->security_context->run_as_username = user_name;
        config->linux->security_context->run_as_group = &group;
        config->linux->security_context->supplemental_groups = groups;
        config->linux->security_context->n_supplemental_groups = 3;
        config->linux->security_context->supplemental_groups_policy = CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict;
}

static void groups_are_set_outright_sorted_and_each_once(void **state)
{
        const struct container_spec *spec = started(*state, give_user);
        static const uint32_t wanted[] = { 0, 7, 50 };
        assert_int_equal(spec->process.uid, 0);
        assert_int_equal(spec->process.gid, 50);
        assert_int_equal(spec->process.n_groups, LENGTH(wanted));
        assert_memory_equal(spec->process.groups, wanted, sizeof(wanted));
}

static void give_signal(Cri__ContainerConfig *config)
{
        config->stop_signal = CRI__SIGNAL__SIGNAL_SIGUSR2;
}

static void give_no_privileges(Cri__ContainerConfig *config)
{
        config->linux->security_context->no_new_privs = true;
        config->linux->security_context->readonly_rootfs = true;
}

static void what_is_asked_goes_before_the_image(void **state)
{
        assert_int_equal(started(*state, give_signal)->stop_signal, SIGUSR2);
        _cleanup_(freep) char *pod = made_pod(*state, "second", NULL);
        _cleanup_(freep) char *id = made_container(*state, pod, "c", give_no_privileges);
        made_start(*state, id);
        assert_true(fake_spec(id)->process.no_new_privs);
        assert_true(fake_spec(id)->readonly_rootfs);
}

/* --- what cannot be --- */

static void ask_group_alone(Cri__ContainerConfig *config)
{
        static Cri__Int64Value group;
        group = (Cri__Int64Value) CRI__INT64_VALUE__INIT;
        config->linux->security_context->run_as_group = &group;
}

static void ask_huge_user(Cri__ContainerConfig *config)
{
        static Cri__Int64Value user;
        user = (Cri__Int64Value) CRI__INT64_VALUE__INIT;
        user.value = INT64_C(1) << 32;
        config->linux->security_context->run_as_user = &user;
}

static void ask_relative_directory(Cri__ContainerConfig *config)
{
        config->working_dir = app_path + 1;
}

static void ask_score(Cri__ContainerConfig *config)
{
        config->linux->resources->oom_score_adj = 1001;
}

static void ask_host_pid(Cri__ContainerConfig *config)
{
        config->linux->security_context->namespace_options->pid = CRI__NAMESPACE_MODE__NODE;
}

static void ask_shares(Cri__ContainerConfig *config)
{
        config->linux->resources->cpu_shares = -5;
}

static void what_cannot_be_is_refused_by_its_field_and_leaves_nothing(void **state)
{
        static const struct {
                void (*edit)(Cri__ContainerConfig *config);
                const char *field;
        } refused[] = {
                { ask_group_alone, "run_as_group" },       { ask_huge_user, "run_as_user" },
                { ask_relative_directory, "bin/other" },   { ask_score, "oom_score_adj" },
                { ask_host_pid, "namespace_options.pid" }, { ask_shares, "resources" },
        };
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        for (size_t i = 0; i < LENGTH(refused); i++) {
                char *id = NULL;
                assert_fails(ERROR_INVALID_ARGUMENT, refused[i].field,
                             made_create(made, pod, "c", refused[i].edit, &id));
                assert_null(id);
                assert_null(made->node->containers);
        }
        _cleanup_(freep) char *id = made_container(made, pod, "c", NULL); /* the name is free */
        assert_non_null(id);
}

static void limits_are_taken_over_as_they_are(void **state)
{
        (void) state;
        static char cpus[] = "0-1", size[] = "2MB", key[] = "memory.high", value[] = "1000000";
        Cri__LinuxContainerResources r = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__HugepageLimit page = CRI__HUGEPAGE_LIMIT__INIT, *pages[] = { &page };
        Cri__LinuxContainerResources__UnifiedEntry
                entry = CRI__LINUX_CONTAINER_RESOURCES__UNIFIED_ENTRY__INIT,
                *entries[] = { &entry };
        struct cgroup_limits limits;
        page.page_size = size;
        page.limit = 4 << 20;
        entry.key = key;
        entry.value = value;
        r.cpuset_cpus = cpus;
        r.cpu_period = 100000;
        r.cpu_quota = 50000;
        r.memory_limit_in_bytes = 64 << 20;
        r.hugepage_limits = pages;
        r.n_hugepage_limits = 1;
        r.unified = entries;
        r.n_unified = 1;
        assert_ok(spec_limits(&r, &limits));
        assert_string_equal(limits.cpuset_cpus, "0-1");
        assert_int_equal(limits.cpu_period_us, 100000);
        assert_int_equal(limits.cpu_quota_us, 50000);
        assert_int_equal(limits.memory_limit_bytes, 64 << 20);
        assert_int_equal(limits.n_hugepages, 1);
        assert_int_equal(limits.hugepages[0].limit_bytes, 4 << 20);
        assert_string_equal(limits.unified[0].key, "memory.high");
        spec_limits_done(&limits);
}

UNIT_MAIN(IN_NODE(the_images_config_is_what_is_not_asked_otherwise),
          IN_NODE(a_command_replaces_entrypoint_and_cmd_but_args_the_cmd_alone),
          IN_NODE(a_variable_replaces_the_images_in_its_place),
          IN_NODE(groups_are_set_outright_sorted_and_each_once), IN_NODE(what_is_asked_goes_before_the_image),
          IN_NODE(what_cannot_be_is_refused_by_its_field_and_leaves_nothing),
          TEST(limits_are_taken_over_as_they_are))
