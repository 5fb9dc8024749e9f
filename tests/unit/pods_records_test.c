/* What is written of pods and containers is read again, to the letter. */
#include "pods/message.h"
#include "pods/records.h"
#include "pods/table.h"
#include "tests/unit/unit.h"

static const char pod_id[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  container_id[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct found {
        struct sandbox *pod;
        struct container *container;
        char *pod_of_container, *broken;
};

static void take_pod(void *context, struct sandbox *pod)
{
        struct found *found = context;
        assert_null(found->pod);
        found->pod = pod;
}

static void take_container(void *context, struct container *container, const char *id)
{
        struct found *found = context;
        assert_null(found->container);
        found->container = container;
        found->pod_of_container = dup_string(id);
}

static void take_broken(void *context, const char *id, struct error *e)
{
        struct found *found = context;
        assert_null(found->broken);
        found->broken = dup_string(id);
        error_free(e);
}

static void read_again(struct db *db, struct found *found)
{
        const struct records_reader reader = { take_pod, take_container, take_broken, found };
        *found = (struct found){ 0 };
        assert_ok(records_read(db, &reader));
}

static void found_done(struct found *found)
{
        sandbox_unref(found->pod);
        container_unref(found->container);
        free(found->pod_of_container);
        free(found->broken);
}

static struct sandbox *a_pod(void)
{
        static char name[] = "web", uid[] = "u-1", namespace[] = "shop", key[] = "app", value[] = "\xc3\xbc";
        Cri__PodSandboxMetadata metadata = CRI__POD_SANDBOX_METADATA__INIT;
        Cri__PodSandboxConfig__LabelsEntry label = CRI__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT,
                                           *labels[] = { &label };
        Cri__PodSandboxConfig config = CRI__POD_SANDBOX_CONFIG__INIT;
        metadata.name = name;
        metadata.uid = uid;
        metadata.namespace_ = namespace;
        label.key = key;
        label.value = value;
        config.metadata = &metadata;
        config.labels = labels;
        config.n_labels = 1;
        struct sandbox *pod = sandbox_new(pod_id, message_copy(&config), "native");
        pod->cgroup_parent = dup_string("/kubepods/podX");
        pod->boot_id = dup_string("boot");
        pod->created_ns = 1234567890123;
        return pod;
}

static struct container *a_container(struct sandbox *pod)
{
        static char name[] = "c";
        Cri__ContainerMetadata metadata = CRI__CONTAINER_METADATA__INIT;
        Cri__ContainerConfig config = CRI__CONTAINER_CONFIG__INIT;
        metadata.name = name;
        metadata.attempt = 3;
        config.metadata = &metadata;
        struct container *c = container_new(container_id, pod->id, message_copy(&config));
        c->image_id = dup_string("sha256:1");
        c->image_ref = dup_string("example.org/app:1");
        c->image_config = dup_string("{}");
        c->created_ns = 5;
        return c;
}

static void a_pod_comes_back_with_its_config_and_network(void **dir)
{
        struct found found;
        _cleanup_(db_freep) struct db *db = NULL;
        _cleanup_(sandbox_unrefp) struct sandbox *pod = a_pod();
        assert_ok(records_open(*dir, &db));
        assert_ok(record_pod(db, pod));
        read_again(db, &found);
        assert_int_equal(found.pod->state, POD_MAKING);
        assert_null(found.pod->conflist);
        found_done(&found);
        assert_ok(record_pod_network(db, pod->id, "{\"name\":\"n\"}", NULL));
        assert_ok(record_pod_network(db, pod->id, "{\"name\":\"n\"}", "{\"ips\":[]}"));
        assert_ok(record_pod_progress(db, pod->id, POD_READY));
        db_free(TAKE(db));
        assert_ok(records_open(*dir, &db));
        read_again(db, &found);
        assert_true(message_equal(&pod->config->base, &found.pod->config->base));
        assert_string_equal(found.pod->name, pod->name);
        assert_string_equal(found.pod->handler, "native");
        assert_string_equal(found.pod->cgroup_parent, "/kubepods/podX");
        assert_string_equal(found.pod->boot_id, "boot");
        assert_int_equal(found.pod->created_ns, 1234567890123);
        assert_int_equal(found.pod->state, POD_READY);
        assert_string_equal(found.pod->conflist, "{\"name\":\"n\"}");
        assert_string_equal(found.pod->result, "{\"ips\":[]}");
        found_done(&found);
        assert_ok(record_pod_gone(db, pod->id));
        read_again(db, &found);
        assert_null(found.pod);
}

static void a_containers_life_comes_back(void **dir)
{
        struct found found;
        struct node node = { 0 };
        _cleanup_(db_freep) struct db *db = NULL;
        _cleanup_(sandbox_unrefp) struct sandbox *pod = a_pod();
        _cleanup_(container_unrefp) struct container *c = a_container(pod);
        (void) pthread_mutex_init(&node.lock, NULL);
        pod->node = &node;
        c->pod = sandbox_ref(pod);
        assert_ok(records_open(*dir, &db));
        assert_ok(record_pod(db, pod));
        assert_ok(record_container(db, c));
        c->state = CONTAINER_EXITED;
        c->started_ns = 10;
        c->finished_ns = 20;
        c->exit_code = -1;
        c->oom_killed = true;
        c->reason = dup_string("OOMKilled");
        Cri__LinuxContainerResources resources = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        resources.cpu_shares = 77;
        assert_ok(record_container_progress(db, c));
        assert_ok(record_container_resources(db, c->id, &resources));
        read_again(db, &found);
        assert_string_equal(found.pod_of_container, pod_id);
        assert_string_equal(found.container->name, c->name);
        assert_true(message_equal(&c->config->base, &found.container->config->base));
        assert_string_equal(found.container->image_ref, "example.org/app:1");
        assert_int_equal(found.container->state, CONTAINER_EXITED);
        assert_int_equal(found.container->started_ns + found.container->finished_ns, 30);
        assert_int_equal(found.container->exit_code, -1);
        assert_true(found.container->oom_killed);
        assert_string_equal(found.container->reason, "OOMKilled");
        assert_null(found.container->message);
        assert_int_equal(found.container->resources->cpu_shares, 77);
        found_done(&found);
        assert_ok(record_container_gone(db, c->id));
        read_again(db, &found);
        assert_null(found.container);
        found_done(&found);
}

static void a_record_that_is_no_message_is_told_and_the_others_are_read(void **dir)
{
        struct found found;
        _cleanup_(db_freep) struct db *db = NULL;
        _cleanup_(sandbox_unrefp) struct sandbox *pod = a_pod();
        assert_ok(records_open(*dir, &db));
        assert_ok(record_pod(db, pod));
        assert_ok(db_do(db, "INSERT INTO pod VALUES ('torn','torn',x'0affffffff','','','',1)"));
        assert_ok(db_do(db, "INSERT INTO pod_progress VALUES ('torn',1)"));
        read_again(db, &found);
        assert_string_equal(found.broken, "torn");
        assert_string_equal(found.pod->id, pod_id);
        found_done(&found);
}

UNIT_MAIN(IN_TMPDIR(a_pod_comes_back_with_its_config_and_network), IN_TMPDIR(a_containers_life_comes_back),
          IN_TMPDIR(a_record_that_is_no_message_is_told_and_the_others_are_read))
