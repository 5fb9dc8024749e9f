#include "tests/unit/pods_maker.h"
#include "base/pool.h"
#include "cni/cni.h"
#include "images/images.h"
#include "pods/message.h"
#include "runtime/capabilities.h"
#include "runtime/seccomp.h"
#include "tests/unit/image_maker.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PUT(tar, ...) tar_put(tar, &(struct tar_entry){ __VA_ARGS__ })

static void import_image(struct images *images)
{
        static const char members[] =
                "\"Entrypoint\":[\"/bin/app\"],\"Cmd\":[\"serve\"],\"Env\":[\"PATH=/bin\",\"COLOUR=blue\"],"
                "\"User\":\"app\",\"WorkingDir\":\"/srv\",\"StopSignal\":\"SIGQUIT\"";
        const struct wait wait = wait_of_ms(60000);
        struct buf layer, archive;
        buf_init(&layer, 1 << 20);
        buf_init(&archive, 1 << 20);
        PUT(&layer, "bin", TAR_DIR, .mode = 0755);
        PUT(&layer, "bin/app", .mode = 0755, .data = "#!");
        PUT(&layer, "etc", TAR_DIR, .mode = 0755);
        PUT(&layer, "etc/passwd", .mode = 0644,
            .data = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
        PUT(&layer, "etc/group", .mode = 0644, .data = "root:x:0:\napp:x:1000:\ndata:x:2000:app\n");
        tar_end(&layer);
        const struct made_layer layers[] = { { .tar = &layer } };
        make_oci_archive_of(&archive, MADE_IMAGE, members, layers, 1);
        _cleanup_(closep) int fd = memfd_create("archive", MFD_CLOEXEC);
        _cleanup_(free_stringsp) char **ids = NULL;
        assert_int_equal(write(fd, archive.bytes, archive.len_bytes), archive.len_bytes);
        assert_ok(images_import(images, fd, NULL, &wait, &ids));
        buf_done(&layer);
        buf_done(&archive);
}

static void open_node(struct made_node *made)
{
        const struct node_config config = { .root = made->dir,
                                            .state = made->dir,
                                            .images = made->images,
                                            .cni = made->cni,
                                            .runtime = made->runtime,
                                            .cgroups = made->cgroups,
                                            .seccomp = made->seccomp,
                                            .pool = made->pool,
                                            .settings = { .log_line_max_bytes = 16384 } };
        assert_ok(node_open(&config, &made->node));
}

int made_node_setup(void **state)
{
        static const size_t caps[POOL_KINDS] = { 8, 32, 32, 8, 8 };
        struct made_node *made = NEW(struct made_node);
        void *dir = NULL;
        if (unit_tmpdir_make(&dir) < 0)
                return -1;
        fake_reset();
        made->dir = dir;
        made->parent = format_string("/skiff-unit-pods-%d", getpid());
        _cleanup_(freep) char *notes = format_string("%s/cgroup-parents", made->dir);
        _cleanup_(freep) char *net = format_string("%s/net.d", made->dir);
        const struct images_config images = { .root = made->dir,
                                              .state = made->dir,
                                              .program_dir = PROGRAM_DIR,
                                              .registry_dirs = "",
                                              .pull_uid = 64321 };
        const struct cni_config cni = {
                .conf_dir = net, .bin_dirs = "/usr/lib/cni", .holder_fd = -1, .ending_holder_fd = -1
        };
        const struct runtime_config runtime = { .program_dir = PROGRAM_DIR };
        assert_ok(cgroups_open("/sys/fs/cgroup", notes, &made->cgroups));
        assert_ok(seccomp_cache_open(&made->seccomp));
        assert_ok(pool_open(caps, &made->pool));
        assert_ok(images_open(&images, &made->images));
        assert_ok(cni_open(&cni, &made->cni));
        assert_ok(runtime_open(&runtime, &made->runtime));
        import_image(made->images);
        open_node(made);
        *state = made;
        return 0;
}

/* The caller's; NULL: there is none. What recovery undoes may go meanwhile. */
static char *any_pod(struct made_node *made)
{
        (void) pthread_mutex_lock(&made->node->lock);
        char *id = made->node->pods ? dup_string(made->node->pods->id) : NULL;
        (void) pthread_mutex_unlock(&made->node->lock);
        return id;
}

static void remove_pods(struct made_node *made)
{
        for (char *id; (id = any_pod(made)); free(id))
                assert_ok(node_remove_pod(made->node, id, NULL));
}

int made_node_teardown(void **state)
{
        struct made_node *made = *state;
        remove_pods(made);
        int left = (int) fake_supervisors();
        node_free(made->node);
        runtime_free(made->runtime);
        cni_free(made->cni);
        images_free(made->images);
        pool_free(made->pool);
        seccomp_cache_free(made->seccomp);
        cgroups_free(made->cgroups);
        void *dir = made->dir;
        (void) unit_tmpdir_remove(&dir);
        free(made->parent);
        free(made);
        fake_reset();
        return left;
}

void made_node_reopen(struct made_node *made)
{
        node_free(made->node);
        made->node = NULL;
        open_node(made);
}

char *made_pod(struct made_node *made, const char *name, void (*edit)(Cri__PodSandboxConfig *config))
{
        const struct wait wait = wait_of_ms(20000);
        Cri__PodSandboxMetadata metadata = CRI__POD_SANDBOX_METADATA__INIT;
        Cri__NamespaceOption options = CRI__NAMESPACE_OPTION__INIT;
        Cri__LinuxSandboxSecurityContext security = CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        Cri__LinuxPodSandboxConfig linux = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
        Cri__PodSandboxConfig config = CRI__POD_SANDBOX_CONFIG__INIT;
        char *id = NULL;
        metadata.name = (char *) (uintptr_t) name;
        metadata.uid = (char *) (uintptr_t) "uid";
        metadata.namespace_ = (char *) (uintptr_t) "default";
        options.network = CRI__NAMESPACE_MODE__NODE;
        options.pid = CRI__NAMESPACE_MODE__CONTAINER;
        security.namespace_options = &options;
        linux.security_context = &security;
        linux.cgroup_parent = made->parent;
        config.metadata = &metadata;
        config.linux = &linux;
        if (edit)
                edit(&config);
        assert_ok(node_run_pod(made->node, &config, "", NULL, &wait, &id));
        return id;
}

struct error *made_create(struct made_node *made, const char *pod_id, const char *name,
                          void (*edit)(Cri__ContainerConfig *config), char **out_id)
{
        const struct wait wait = wait_of_ms(20000);
        Cri__ContainerMetadata metadata = CRI__CONTAINER_METADATA__INIT;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        Cri__ContainerConfig config = CRI__CONTAINER_CONFIG__INIT;
        Cri__LinuxContainerConfig linux = CRI__LINUX_CONTAINER_CONFIG__INIT;
        Cri__LinuxContainerSecurityContext security = CRI__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        Cri__LinuxContainerResources resources = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__NamespaceOption options = CRI__NAMESPACE_OPTION__INIT;
        Cri__CreateContainerRequest request = CRI__CREATE_CONTAINER_REQUEST__INIT;
        metadata.name = (char *) (uintptr_t) name;
        image.image = (char *) (uintptr_t) MADE_IMAGE;
        options.network = CRI__NAMESPACE_MODE__NODE;
        options.pid = CRI__NAMESPACE_MODE__CONTAINER;
        security.namespace_options = &options;
        linux.security_context = &security;
        linux.resources = &resources;
        config.linux = &linux;
        config.metadata = &metadata;
        config.image = &image;
        if (edit)
                edit(&config);
        request.pod_sandbox_id = (char *) (uintptr_t) pod_id;
        request.config = &config;
        return node_create_container(made->node, &request, &wait, out_id);
}

char *made_container(struct made_node *made, const char *pod_id, const char *name,
                     void (*edit)(Cri__ContainerConfig *config))
{
        char *id = NULL;
        assert_ok(made_create(made, pod_id, name, edit, &id));
        return id;
}

void made_start(struct made_node *made, const char *container_id)
{
        const struct wait wait = wait_of_ms(20000);
        assert_ok(node_start_container(made->node, container_id, &wait));
}

static struct error *keep(void *context, const ProtobufCMessage *message)
{
        *(void **) context = message_copy(message);
        return NULL;
}

Cri__ContainerStatusResponse *made_status(struct made_node *made, const char *container_id, bool verbose)
{
        Cri__ContainerStatusResponse *kept = NULL;
        const struct node_reply reply = { keep, &kept };
        struct error *e = node_container_status(made->node, container_id, verbose, &reply);
        if (e)
                assert_int_equal(error_code_of(e), ERROR_NOT_FOUND);
        error_free(e);
        return kept;
}

Cri__PodSandboxStatusResponse *made_pod_status(struct made_node *made, const char *pod_id)
{
        Cri__PodSandboxStatusResponse *kept = NULL;
        const struct node_reply reply = { keep, &kept };
        struct error *e = node_pod_status(made->node, pod_id, true, &reply);
        if (e)
                assert_int_equal(error_code_of(e), ERROR_NOT_FOUND);
        error_free(e);
        return kept;
}

/* CRI offers no event to wait for here. */
void made_wait(struct made_node *made, const char *container_id, Cri__ContainerState state)
{
        const struct wait wait = wait_of_ms(10000);
        for (;;) {
                _cleanup_(message_freep) Cri__ContainerStatusResponse *now =
                        made_status(made, container_id, false);
                assert_non_null(now);
                if (now->status->state == state)
                        return;
                assert_ok(wait_delay(&wait, 5, "wait for a container's state"));
        }
}

void made_wait_pod(struct made_node *made, const char *pod_id, Cri__PodSandboxState state)
{
        const struct wait wait = wait_of_ms(10000);
        for (;;) {
                _cleanup_(message_freep) Cri__PodSandboxStatusResponse *now = made_pod_status(made, pod_id);
                assert_non_null(now);
                if (now->status->state == state)
                        return;
                assert_ok(wait_delay(&wait, 5, "wait for a pod's state"));
        }
}

static void stop_done(struct node_waiter *waiter, struct error *e)
{
        struct made_stop *stop = (struct made_stop *) (void *) waiter;
        const uint64_t one = 1;
        stop->e = e;
        (void) !write(stop->done_fd, &one, sizeof(one));
}

void made_stop_begin(struct made_node *made, const char *container_id, int64_t grace_s,
                     struct made_stop *stop)
{
        *stop = (struct made_stop){ .waiter.done = stop_done, .done_fd = eventfd(0, EFD_CLOEXEC) };
        node_stop_container(made->node, container_id, grace_s, &stop->waiter);
}

struct error *made_stop_end(struct made_stop *stop)
{
        const struct wait wait = wait_of_ms(60000);
        uint64_t times;
        assert_ok(wait_fd(&wait, stop->done_fd, POLLIN, "wait for a stop"));
        assert_int_equal(read(stop->done_fd, &times, sizeof(times)), sizeof(times));
        closep(&stop->done_fd);
        return stop->e;
}

struct error *made_stop(struct made_node *made, const char *container_id, int64_t grace_s)
{
        struct made_stop stop;
        made_stop_begin(made, container_id, grace_s, &stop);
        return made_stop_end(&stop);
}
