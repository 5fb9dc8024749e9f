#include "tests/bench/session.h"
#include "api/cri.pb-c.h"
#include "base/clock.h"
#include "cri/client/stream_session.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CALL_TIMEOUT_MS 120000
#define LABEL "skiff-bench.run"

static const char *const names[TIMED_N] = {
        [TIMED_RUN_POD] = "RunPodSandbox",
        [TIMED_CREATE] = "CreateContainer",
        [TIMED_START] = "StartContainer",
        [TIMED_STARTED] = "pod + container started",
        [TIMED_EXEC] = "ExecSync true",
        [TIMED_STREAM] = "Exec true, by SPDY",
        [TIMED_LIST] = "ListContainers",
        [TIMED_STOP_CONTAINER] = "StopContainer, grace 0",
        [TIMED_REMOVE_CONTAINER] = "RemoveContainer",
        [TIMED_STOP_POD] = "StopPodSandbox",
        [TIMED_REMOVE_POD] = "RemovePodSandbox",
        [TIMED_LIFE] = "whole life",
        [TIMED_PULL] = "PullImage",
        [TIMED_PULL_ALL] = "all pulled",
        [TIMED_REMOVE_IMAGE] = "RemoveImage",
};

const char *timed_name(enum timed timed)
{
        return names[timed];
}

void timings_add_all(struct timings *to, const struct timings *from)
{
        for (size_t i = 0; i < TIMED_N; i++)
                samples_add_all(&to->of[i], &from->of[i]);
}

void timings_done(struct timings *timings)
{
        for (size_t i = 0; i < TIMED_N; i++)
                samples_done(&timings->of[i]);
}

struct error *target_probe(struct target *target)
{
        const char *path =
                strncmp(target->endpoint, "unix://", 7) == 0 ? target->endpoint + 7 : target->endpoint;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct ucred peer = { 0 };
        socklen_t size = sizeof(peer);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return error_as(error_errno(errno, "connect to %s", path), ERROR_UNAVAILABLE);
        target->daemon_pid = peer.pid;
        return NULL;
}

struct error *session_open(const struct target *target, const struct workload *workload,
                           const volatile sig_atomic_t *interrupted, struct session *out)
{
        *out = (struct session){ .target = target, .workload = workload, .interrupted = interrupted };
        return client_open(target->endpoint, &out->client);
}

void session_done(struct session *session)
{
        client_free(session->client);
        session->client = NULL;
        timings_done(&session->timings);
}

void pod_done(struct pod *pod)
{
        freep(&pod->id);
        freep(&pod->container_id);
}

/* Calls, and times what succeeded. */
static struct error *timed_call(struct session *s, enum timed timed, const char *method, const void *request,
                                void *answer)
{
        int64_t before_ns = clock_monotonic_ns();
        TRY_WRAP(client_call(s->client, &cri__runtime_service__descriptor, method, request, CALL_TIMEOUT_MS,
                             s->interrupted, answer),
                 "%s: %s", s->target->name, method);
        samples_add(&s->timings.of[timed], ms_since(before_ns));
        return NULL;
}

/* --- the messages --- */

struct pod_config {
        char name[64];
        Cri__PodSandboxMetadata metadata;
        Cri__PodSandboxConfig__LabelsEntry label, *labels[1];
        Cri__IDMapping mapping, *mappings[1];
        Cri__UserNamespace userns;
        Cri__NamespaceOption namespaces;
        Cri__SecurityProfile seccomp;
        Cri__LinuxSandboxSecurityContext security;
        Cri__LinuxPodSandboxConfig linux;
        Cri__PortMapping port, *ports[1];
        Cri__PodSandboxConfig config;
};

/* As many as kubelet gives to each pod. */
static void userns_fill(struct pod_config *c)
{
        c->mapping = (Cri__IDMapping) CRI__IDMAPPING__INIT;
        c->mapping.host_id = c->mapping.length = 65536;
        c->mappings[0] = &c->mapping;
        c->userns = (Cri__UserNamespace) CRI__USER_NAMESPACE__INIT;
        c->userns.mode = CRI__NAMESPACE_MODE__POD;
        c->userns.uids = c->userns.gids = c->mappings;
        c->userns.n_uids = c->userns.n_gids = 1;
        c->namespaces.userns_options = &c->userns;
}

static void port_fill(struct pod_config *c, unsigned number)
{
        c->port = (Cri__PortMapping) CRI__PORT_MAPPING__INIT;
        c->port.protocol = CRI__PROTOCOL__TCP;
        c->port.container_port = 80;
        c->port.host_port = (int32_t) (PORTS_FIRST + number % PORTS_N);
        c->ports[0] = &c->port;
        c->config.port_mappings = c->ports;
        c->config.n_port_mappings = 1;
}

static void pod_config_fill(const struct session *s, struct pod_config *c)
{
        static atomic_uint counter;
        const struct workload *w = s->workload;
        bool host_network = w->host_network || s->target->host_network;
        unsigned number = atomic_fetch_add(&counter, 1);
        (void) snprintf(c->name, sizeof(c->name), "bench-%.8s-%u", w->run, number);
        c->metadata = (Cri__PodSandboxMetadata) CRI__POD_SANDBOX_METADATA__INIT;
        c->metadata.name = c->metadata.uid = c->name;
        c->metadata.namespace_ = "bench";
        c->label = (Cri__PodSandboxConfig__LabelsEntry) CRI__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT;
        c->label.key = LABEL;
        c->label.value = w->run;
        c->labels[0] = &c->label;
        c->namespaces = (Cri__NamespaceOption) CRI__NAMESPACE_OPTION__INIT;
        c->namespaces.network = host_network ? CRI__NAMESPACE_MODE__NODE : CRI__NAMESPACE_MODE__POD;
        c->namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
        if (s->target->userns)
                userns_fill(c);
        c->seccomp = (Cri__SecurityProfile) CRI__SECURITY_PROFILE__INIT;
        c->seccomp.profile_type = w->unconfined ? CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined
                                                : CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;
        c->security = (Cri__LinuxSandboxSecurityContext) CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        c->security.namespace_options = &c->namespaces;
        c->security.seccomp = &c->seccomp;
        c->linux = (Cri__LinuxPodSandboxConfig) CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
        c->linux.cgroup_parent = s->target->cgroup_parent;
        c->linux.security_context = &c->security;
        c->config = (Cri__PodSandboxConfig) CRI__POD_SANDBOX_CONFIG__INIT;
        c->config.metadata = &c->metadata;
        c->config.hostname = host_network ? "" : c->name;
        c->config.log_directory = w->log_dir;
        c->config.n_labels = 1;
        c->config.labels = c->labels;
        c->config.linux = &c->linux;
        if (w->ports && !host_network)
                port_fill(c, number);
}

static struct error *run_pod(struct session *s, struct pod_config *config, struct pod *pod)
{
        Cri__RunPodSandboxRequest request = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__RunPodSandboxResponse *answer = NULL;
        pod_config_fill(s, config);
        request.config = &config->config;
        TRY(timed_call(s, TIMED_RUN_POD, "RunPodSandbox", &request, &answer));
        pod->id = dup_string(answer->pod_sandbox_id);
        return NULL;
}

static struct error *create_container(struct session *s, struct pod_config *pod_config, struct pod *pod)
{
        const char *command[] = { "sleep", WORKLOAD_SECONDS };
        char log_path[80];
        Cri__ContainerMetadata metadata = CRI__CONTAINER_METADATA__INIT;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        Cri__LinuxContainerResources resources = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__LinuxContainerSecurityContext security = CRI__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        Cri__LinuxContainerConfig linux = CRI__LINUX_CONTAINER_CONFIG__INIT;
        Cri__ContainerConfig config = CRI__CONTAINER_CONFIG__INIT;
        Cri__CreateContainerRequest request = CRI__CREATE_CONTAINER_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__CreateContainerResponse *answer = NULL;
        (void) snprintf(log_path, sizeof(log_path), "%s.log", pod_config->name);
        metadata.name = "c";
        image.image = s->target->image ? s->target->image : s->workload->image;
        image.user_specified_image = image.image; /* CRI-O refuses a container without */
        resources.cpu_shares = 102;
        resources.memory_limit_in_bytes = 256 << 20;
        security.namespace_options = &pod_config->namespaces;
        security.seccomp = &pod_config->seccomp;
        linux.resources = &resources;
        linux.security_context = &security;
        config.metadata = &metadata;
        config.image = &image;
        config.command = (void *) command;
        config.n_command = LENGTH(command);
        config.log_path = log_path;
        config.linux = &linux;
        request.pod_sandbox_id = pod->id;
        request.config = &config;
        request.sandbox_config = &pod_config->config;
        TRY(timed_call(s, TIMED_CREATE, "CreateContainer", &request, &answer));
        pod->container_id = dup_string(answer->container_id);
        return NULL;
}

/* --- a pod's life --- */

struct error *pod_run(struct session *s, struct pod *pod)
{
        struct pod_config config;
        return run_pod(s, &config, pod);
}

struct error *pod_start(struct session *s, struct pod *pod)
{
        struct pod_config config;
        Cri__StartContainerRequest request = CRI__START_CONTAINER_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StartContainerResponse *answer = NULL;
        int64_t before_ns = clock_monotonic_ns();
        TRY(run_pod(s, &config, pod));
        TRY(create_container(s, &config, pod));
        request.container_id = pod->container_id;
        TRY(timed_call(s, TIMED_START, "StartContainer", &request, &answer));
        samples_add(&s->timings.of[TIMED_STARTED], ms_since(before_ns));
        return NULL;
}

struct error *pod_exec(struct session *s, const struct pod *pod)
{
        const char *command[] = { "true" };
        Cri__ExecSyncRequest request = CRI__EXEC_SYNC_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ExecSyncResponse *answer = NULL;
        request.container_id = pod->container_id;
        request.cmd = (void *) command;
        request.n_cmd = LENGTH(command);
        request.timeout = 10;
        TRY(timed_call(s, TIMED_EXEC, "ExecSync", &request, &answer));
        return answer->exit_code == 0 ? NULL
                                      : error_new(ERROR_INTERNAL, "%s: true ended with %d", s->target->name,
                                                  answer->exit_code);
}

/* A build from before there were sessions is not timed. */
static struct error *exec_url(struct session *s, const struct pod *pod, char **out)
{
        const char *command[] = { "true" };
        Cri__ExecRequest request = CRI__EXEC_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ExecResponse *answer = NULL;
        request.container_id = pod->container_id;
        request.cmd = (void *) command;
        request.n_cmd = LENGTH(command);
        request.stdout = request.stderr = true;
        struct error *e =
                client_call(s->client, &cri__runtime_service__descriptor, "Exec", &request.base,
                            CALL_TIMEOUT_MS, s->interrupted, (ProtobufCMessage **) (void *) &answer);
        bool has_none = e && error_code_of(e) == ERROR_UNIMPLEMENTED;
        *out = e ? NULL : dup_string(answer->url);
        if (!has_none)
                return e;
        error_free(e);
        return NULL;
}

struct error *pod_exec_stream(struct session *s, const struct pod *pod)
{
        int64_t before_ns = clock_monotonic_ns();
        struct stream_session_options options = { .out = true, .err = true, .in_fd = -1 };
        _cleanup_(freep) char *url = NULL;
        _cleanup_(closep) int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        _cleanup_(stream_session_freep) struct stream_session *stream = NULL;
        int exit_code = -1;
        TRY(exec_url(s, pod, &url));
        if (!url)
                return NULL;
        options.url = url;
        options.out_fd = options.err_fd = null_fd;
        TRY(stream_session_open(&options, &stream));
        TRY(stream_session_run(stream));
        TRY(stream_session_status(stream, &exit_code));
        samples_add(&s->timings.of[TIMED_STREAM], ms_since(before_ns));
        return exit_code == 0
                       ? NULL
                       : error_new(ERROR_INTERNAL, "%s: true ended with %d", s->target->name, exit_code);
}

struct error *pod_list(struct session *s)
{
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListContainersResponse *answer = NULL;
        return timed_call(s, TIMED_LIST, "ListContainers", &request, &answer);
}

static struct error *end_container(struct session *s, struct pod *pod)
{
        Cri__StopContainerRequest stop = CRI__STOP_CONTAINER_REQUEST__INIT;
        Cri__RemoveContainerRequest remove = CRI__REMOVE_CONTAINER_REQUEST__INIT;
        _cleanup_(client_answer_freep) void *stopped = NULL, *removed = NULL;
        stop.container_id = remove.container_id = pod->container_id;
        TRY(timed_call(s, TIMED_STOP_CONTAINER, "StopContainer", &stop, &stopped));
        return timed_call(s, TIMED_REMOVE_CONTAINER, "RemoveContainer", &remove, &removed);
}

struct error *pod_end(struct session *s, struct pod *pod)
{
        Cri__StopPodSandboxRequest stop = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
        Cri__RemovePodSandboxRequest remove = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) void *stopped = NULL, *removed = NULL;
        if (pod->container_id)
                TRY(end_container(s, pod));
        stop.pod_sandbox_id = remove.pod_sandbox_id = pod->id;
        TRY(timed_call(s, TIMED_STOP_POD, "StopPodSandbox", &stop, &stopped));
        return timed_call(s, TIMED_REMOVE_POD, "RemovePodSandbox", &remove, &removed);
}

/* --- images --- */

static struct error *image_call(struct session *s, enum timed timed, const char *method, const void *request)
{
        _cleanup_(client_answer_freep) void *answer = NULL;
        int64_t before_ns = clock_monotonic_ns();
        TRY_WRAP(client_call(s->client, &cri__image_service__descriptor, method, request,
                             10 * CALL_TIMEOUT_MS, s->interrupted, (void *) &answer),
                 "%s: %s", s->target->name, method);
        samples_add(&s->timings.of[timed], ms_since(before_ns));
        return NULL;
}

struct error *image_pull(struct session *s, const char *image)
{
        Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
        Cri__PullImageRequest request = CRI__PULL_IMAGE_REQUEST__INIT;
        spec.image = image;
        request.image = &spec;
        return image_call(s, TIMED_PULL, "PullImage", &request);
}

struct error *image_remove(struct session *s, const char *image)
{
        Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
        Cri__RemoveImageRequest request = CRI__REMOVE_IMAGE_REQUEST__INIT;
        spec.image = image;
        request.image = &spec;
        return image_call(s, TIMED_REMOVE_IMAGE, "RemoveImage", &request);
}

/* --- what an interrupted run left --- */

struct error *session_sweep(const struct target *target, const struct workload *workload)
{
        _cleanup_(session_done) struct session s = { 0 };
        Cri__PodSandboxFilter__LabelSelectorEntry label = CRI__POD_SANDBOX_FILTER__LABEL_SELECTOR_ENTRY__INIT;
        Cri__PodSandboxFilter__LabelSelectorEntry *labels[] = { &label };
        Cri__PodSandboxFilter filter = CRI__POD_SANDBOX_FILTER__INIT;
        Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListPodSandboxResponse *answer = NULL;
        TRY(session_open(target, workload, NULL, &s));
        label.key = LABEL;
        label.value = workload->run;
        filter.label_selector = labels;
        filter.n_label_selector = 1;
        request.filter = &filter;
        TRY(timed_call(&s, TIMED_LIST, "ListPodSandbox", &request, &answer));
        for (size_t i = 0; i < answer->n_items; i++) {
                _cleanup_(pod_done) struct pod pod = { .id = dup_string(answer->items[i]->id) };
                TRY(pod_end(&s, &pod));
        }
        return NULL;
}
