/* Which user namespaces are taken from CRI, and what would be dangerous and is not. */
#include "pods/spec/userns.h"
#include "tests/unit/unit.h"

struct request {
        Cri__IDMapping uid, gid, *uids[2], *gids[2];
        Cri__UserNamespace userns;
        Cri__NamespaceOption options;
        Cri__LinuxSandboxSecurityContext security;
        Cri__LinuxPodSandboxConfig linux_config;
        Cri__PodSandboxConfig config;
};

static void request_make(struct request *r, uint32_t base, uint32_t container_id, uint32_t length)
{
        r->uid = (Cri__IDMapping) CRI__IDMAPPING__INIT;
        r->uid.host_id = base;
        r->uid.container_id = container_id;
        r->uid.length = length;
        r->gid = r->uid;
        r->uids[0] = r->uids[1] = &r->uid;
        r->gids[0] = r->gids[1] = &r->gid;
        r->userns = (Cri__UserNamespace) CRI__USER_NAMESPACE__INIT;
        r->userns.mode = CRI__NAMESPACE_MODE__POD;
        r->userns.uids = r->uids;
        r->userns.gids = r->gids;
        r->userns.n_uids = r->userns.n_gids = 1;
        r->options = (Cri__NamespaceOption) CRI__NAMESPACE_OPTION__INIT;
        r->options.userns_options = &r->userns;
        r->security = (Cri__LinuxSandboxSecurityContext) CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        r->security.namespace_options = &r->options;
        r->linux_config = (Cri__LinuxPodSandboxConfig) CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
        r->linux_config.security_context = &r->security;
        r->config = (Cri__PodSandboxConfig) CRI__POD_SANDBOX_CONFIG__INIT;
        r->config.linux = &r->linux_config;
}

static void a_range_is_taken_whole(void **state)
{
        (void) state;
        static const struct userns_range good[] = {
                { 65536, 65536 }, { 1, 65536 }, { 200000, 131072 }, { UINT32_MAX - 65536, 65536 }
        };
        for (size_t i = 0; i < LENGTH(good); i++) {
                struct request r;
                struct userns_range range;
                request_make(&r, good[i].base, 0, good[i].length);
                assert_ok(userns_of_pod(&r.config, &range));
                assert_int_equal(range.base, good[i].base);
                assert_int_equal(range.length, good[i].length);
        }
}

static void what_would_be_dangerous_is_refused(void **state)
{
        (void) state;
        static const struct {
                uint32_t base, container_id, length;
                const char *text;
        } bad[] = { { 0, 0, 65536, "host_id 0" },
                    { 65536, 1, 65536, "container_id" },
                    { 65536, 0, 65535, "less than" },
                    { 65536, 0, 0, "less than" },
                    { UINT32_MAX - 65535, 0, 65536, "more than there are" },
                    { UINT32_MAX, 0, UINT32_MAX, "more than there are" } };
        for (size_t i = 0; i < LENGTH(bad); i++) {
                struct request r;
                struct userns_range range = { .length = 1 };
                request_make(&r, bad[i].base, bad[i].container_id, bad[i].length);
                assert_fails(ERROR_INVALID_ARGUMENT, bad[i].text, userns_of_pod(&r.config, &range));
                assert_int_equal(range.length, 0);
        }
}

static void users_and_groups_have_one_mapping_each_and_the_same(void **state)
{
        (void) state;
        struct request r;
        struct userns_range range;
        request_make(&r, 65536, 0, 65536);
        r.userns.n_uids = 2;
        assert_fails(ERROR_INVALID_ARGUMENT, "exactly one", userns_of_pod(&r.config, &range));
        r.userns.n_uids = 1;
        r.userns.n_gids = 0;
        assert_fails(ERROR_INVALID_ARGUMENT, "exactly one", userns_of_pod(&r.config, &range));
        r.userns.n_gids = 1;
        r.gid.host_id++;
        assert_fails(ERROR_INVALID_ARGUMENT, "must be the same", userns_of_pod(&r.config, &range));
        r.userns.mode = CRI__NAMESPACE_MODE__CONTAINER;
        assert_fails(ERROR_INVALID_ARGUMENT, "mode", userns_of_pod(&r.config, &range));
        r.userns.mode = CRI__NAMESPACE_MODE__NODE;
        assert_fails(ERROR_INVALID_ARGUMENT, "mode NODE with mappings", userns_of_pod(&r.config, &range));
        r.userns.n_uids = r.userns.n_gids = 0;
        assert_ok(userns_of_pod(&r.config, &range));
        assert_int_equal(range.length, 0);
        r.config.linux = NULL;
        assert_ok(userns_of_pod(&r.config, &range));
}

static void none_of_the_hosts_namespaces_goes_with_it(void **state)
{
        (void) state;
        struct request r;
        struct userns_range range;
        request_make(&r, 65536, 0, 65536);
        Cri__NamespaceMode *const modes[] = { &r.options.network, &r.options.pid, &r.options.ipc };
        for (size_t i = 0; i < LENGTH(modes); i++) {
                *modes[i] = CRI__NAMESPACE_MODE__NODE;
                assert_fails(ERROR_UNIMPLEMENTED, "cannot have the host's", userns_of_pod(&r.config, &range));
                assert_int_equal(range.length, 0);
                *modes[i] = CRI__NAMESPACE_MODE__POD;
        }
}

static void a_container_and_its_mounts_agree(void **state)
{
        (void) state;
        const struct userns_range of_pod = { 65536, 65536 }, other = { 131072, 65536 }, none = { 0, 0 };
        Cri__Mount mount = CRI__MOUNT__INIT;
        struct request r;
        request_make(&r, 65536, 0, 65536);
        assert_ok(userns_check_container(&r.options, &of_pod));
        assert_ok(userns_check_container(NULL, &of_pod));
        assert_fails(ERROR_INVALID_ARGUMENT, "not that of its pod",
                     userns_check_container(&r.options, &other));
        assert_fails(ERROR_INVALID_ARGUMENT, "not that of its pod",
                     userns_check_container(&r.options, &none));
        assert_ok(userns_check_mount(&mount, 3, &of_pod));
        mount.uidmappings = r.uids;
        mount.n_uidmappings = 1;
        assert_fails(ERROR_INVALID_ARGUMENT, "config.mounts[3].gidMappings",
                     userns_check_mount(&mount, 3, &of_pod));
        mount.gidmappings = r.gids;
        mount.n_gidmappings = 1;
        assert_ok(userns_check_mount(&mount, 3, &of_pod));
        assert_fails(ERROR_INVALID_ARGUMENT, "config.mounts[3]", userns_check_mount(&mount, 3, &other));
}

UNIT_MAIN(TEST(a_range_is_taken_whole), TEST(what_would_be_dangerous_is_refused),
          TEST(users_and_groups_have_one_mapping_each_and_the_same),
          TEST(none_of_the_hosts_namespaces_goes_with_it), TEST(a_container_and_its_mounts_agree))
