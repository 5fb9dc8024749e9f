/* Which SELinux contexts pods and containers get for what CRI says, over a policy's files of the test's own. Needs root. */
#include "pods/spec/selinux.h"
#include "runtime/container_spec.h"
#include "runtime/selinux.h"
#include "tests/unit/pods_maker.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define PROCESS "system_u:system_r:container_t:"
#define FILES "system_u:object_r:container_file_t:"

static void put_file(const char *dir, const char *name, const char *text)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void policy_open(struct made_node *made)
{
        _cleanup_(freep) char *fs = format_string("%s/selinuxfs", made->dir);
        _cleanup_(freep) char *etc = format_string("%s/etc", made->dir);
        const struct selinux_config config = { .fs_dir = fs, .etc_dir = etc };
        selinux_open(&config, &made->node->config.selinux);
}

/* contexts: whether the policy has some for containers. */
static void policy_make(struct made_node *made, bool contexts)
{
        static const char *const dirs[] = { "selinuxfs", "etc", "etc/mine", "etc/mine/contexts" };
        for (size_t i = 0; i < LENGTH(dirs); i++) {
                _cleanup_(freep) char *path = format_string("%s/%s", made->dir, dirs[i]);
                assert_int_equal(mkdir(path, 0755), 0);
        }
        put_file(made->dir, "selinuxfs/context", "");
        put_file(made->dir, "etc/config", "SELINUXTYPE=mine\n");
        if (contexts)
                put_file(made->dir, "etc/mine/contexts/lxc_contexts",
                         "process = \"" PROCESS "s0\"\nfile = \"" FILES "s0\"\n");
        policy_open(made);
}

static void policy_done(struct made_node *made)
{
        selinux_free(TAKE(made->node->config.selinux));
}

static struct asked {
        const char *type, *level;
        bool privileged;
        const char *volume;
} asked;
static Cri__SELinuxOption options;

static void set_options(Cri__SELinuxOption **to)
{
        options = (Cri__SELinuxOption) CRI__SELINUX_OPTION__INIT;
        if (asked.type)
                options.type = (char *) (uintptr_t) asked.type;
        if (asked.level)
                options.level = (char *) (uintptr_t) asked.level;
        if (asked.type || asked.level)
                *to = &options;
}

static void ask(Cri__ContainerConfig *config)
{
        static Cri__Mount mount, *mounts[] = { &mount };
        static char target[] = "/volume";
        set_options(&config->linux->security_context->selinux_options);
        config->linux->security_context->privileged = asked.privileged;
        if (!asked.volume)
                return;
        mount = (Cri__Mount) CRI__MOUNT__INIT;
        mount.container_path = target;
        mount.host_path = (char *) (uintptr_t) asked.volume;
        mount.selinux_relabel = true;
        config->mounts = mounts;
        config->n_mounts = 1;
}

static void ask_pod(Cri__PodSandboxConfig *config)
{
        set_options(&config->linux->security_context->selinux_options);
        config->linux->security_context->privileged = asked.privileged;
}

/* Made and not started: this kernel may know no context to mount with. */
static const struct container_spec *made_spec(struct made_node *made, const char *pod, struct asked what)
{
        static unsigned n;
        _cleanup_(freep) char *name = format_string("c%u", n++);
        asked = what;
        _cleanup_(freep) char *id = made_container(made, pod, name, ask);
        for (struct container *c = made->node->containers; c; c = c->by_id.next)
                if (strcmp(c->id, id) == 0)
                        return c->spec;
        fail_msg("%s is not there", id);
        return NULL;
}

static char *label_of(const char *dir, const char *rest)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, rest);
        char found[256] = "";
        (void) lgetxattr(path, "security.selinux", found, sizeof(found) - 1);
        return dup_string(found);
}

static void every_pod_has_a_pair_and_keeps_it(void **state)
{
        struct made_node *made = *state;
        const struct asked nothing = { .type = NULL };
        char *pods[4], *levels[4];
        policy_make(made, true);
        for (size_t i = 0; i < LENGTH(pods); i++) {
                _cleanup_(freep) char *name = format_string("pod%zu", i);
                pods[i] = made_pod(made, name, NULL);
                const struct container_spec *spec = made_spec(made, pods[i], nothing);
                assert_memory_equal(spec->process.selinux, PROCESS "s0:c", strlen(PROCESS "s0:c"));
                levels[i] = dup_string(spec->process.selinux + strlen(PROCESS));
                assert_string_equal(spec->mount_context + strlen(FILES), levels[i]);
                assert_string_equal(spec->shm_context, spec->mount_context);
                assert_false(spec->process.selinux_is_asked);
                _cleanup_(freep) char *file = format_string("pods/%s/resolv.conf", pods[i]);
                _cleanup_(freep) char *label = label_of(made->dir, file);
                assert_string_equal(label, spec->mount_context);
                for (size_t j = 0; j < i; j++)
                        assert_string_not_equal(levels[i], levels[j]);
        }
        /* What another has is passed over. */
        struct sandbox *first = made->node->pods, *second = first->by_id.next;
        uint32_t own = second->selinux_pair;
        first->selinux_pair = own;
        second->selinux_pair = 0;
        assert_ok(selinux_pair_take(second));
        assert_int_equal(second->selinux_pair, 1 + own % SELINUX_PAIRS);
        policy_done(made);
        for (size_t i = 0; i < LENGTH(pods); i++) {
                free(pods[i]);
                free(levels[i]);
        }
}

static void a_restart_finds_the_pair(void **state)
{
        struct made_node *made = *state;
        policy_make(made, true);
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        uint32_t pair = made->node->pods->selinux_pair;
        assert_string_equal(made->node->pods->id, pod);
        assert_int_not_equal(pair, 0);
        made->node->pods->selinux_pair = 0;
        selinux_pair_restore(made->node->pods);
        assert_int_equal(made->node->pods->selinux_pair, pair);
        policy_done(made);
        selinux_pair_restore(made->node->pods);
        assert_int_equal(made->node->pods->selinux_pair, 0);
}

static void what_is_asked_is_what_it_gets(void **state)
{
        struct made_node *made = *state;
        policy_make(made, true);
        asked = (struct asked){ .level = "s0:c3,c4", .privileged = true };
        _cleanup_(freep) char *pod = made_pod(made, "pod", ask_pod);
        const struct container_spec *spec = made_spec(made, pod, (struct asked){ .type = NULL });
        assert_string_equal(spec->process.selinux, PROCESS "s0:c3,c4");
        spec = made_spec(made, pod, (struct asked){ .type = "spc_t" });
        assert_string_equal(spec->process.selinux, "system_u:system_r:spc_t:s0:c3,c4");
        assert_true(spec->process.selinux_is_asked);
        spec = made_spec(made, pod, (struct asked){ .level = "s0:c9" });
        assert_string_equal(spec->process.selinux, PROCESS "s0:c9");
        assert_string_equal(spec->mount_context, FILES "s0:c9");
        assert_string_equal(spec->shm_context, FILES "s0:c3,c4");
        spec = made_spec(made, pod, (struct asked){ .privileged = true });
        assert_null(spec->process.selinux);
        spec = made_spec(made, pod, (struct asked){ .type = "spc_t", .privileged = true });
        assert_string_equal(spec->process.selinux, "system_u:system_r:spc_t:s0:c3,c4");
        char *id = NULL;
        asked = (struct asked){ .type = "a b" };
        assert_fails(ERROR_INVALID_ARGUMENT, "security_context.selinux_options",
                     made_create(made, pod, "bad", ask, &id));
        policy_done(made);
}

static void a_volume_is_relabelled_when_its_container_is_made(void **state)
{
        struct made_node *made = *state;
        policy_make(made, true);
        _cleanup_(freep) char *volume = format_string("%s/volume", made->dir);
        assert_int_equal(mkdir(volume, 0755), 0);
        put_file(volume, "file", "");
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        const struct container_spec *spec = made_spec(made, pod, (struct asked){ .volume = volume });
        _cleanup_(freep) char *label = label_of(volume, "file");
        assert_string_equal(label, spec->mount_context);
        char *id = NULL;
        asked = (struct asked){ .volume = "/etc" };
        assert_fails(ERROR_INVALID_ARGUMENT, "config.mounts[0].selinux_relabel",
                     made_create(made, pod, "bad", ask, &id));
        assert_null(id);
        policy_done(made);
}

static void without_contexts_only_asking_is_an_error(void **state)
{
        struct made_node *made = *state;
        policy_make(made, false);
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        const struct container_spec *spec = made_spec(made, pod, (struct asked){ .type = NULL });
        assert_true(!spec->process.selinux && !spec->mount_context && !spec->shm_context);
        char *id = NULL;
        asked = (struct asked){ .type = "spc_t" };
        assert_fails(ERROR_FAILED_PRECONDITION, "lxc_contexts", made_create(made, pod, "bad", ask, &id));
        policy_done(made);
}

UNIT_MAIN(IN_NODE(every_pod_has_a_pair_and_keeps_it), IN_NODE(a_restart_finds_the_pair),
          IN_NODE(what_is_asked_is_what_it_gets), IN_NODE(a_volume_is_relabelled_when_its_container_is_made),
          IN_NODE(without_contexts_only_asking_is_an_error))
