/* What is told of pods and containers: CRI's status and list messages, built under the lock from what the objects hold. */
#include "pods/status.h"
#include "base/clock.h"
#include "base/json.h"
#include "pods/resources.h"
#include "pods/select.h"
#include "pods/spec/oci_spec.h"
#include "pods/spec/spec.h"
#include "pods/state.h"
#include "pods/table.h"
#include <string.h>

#define INFO_LIMIT_BYTES (12U << 20) /* less than the 16 MiB that kubelet takes */
#define SPEC_LIMIT_BYTES (7U << 20)

/* --- states --- */

static Cri__PodSandboxState pod_state_of(const struct sandbox *pod)
{
        return pod->state == POD_READY && !pod->lost ? CRI__POD_SANDBOX_STATE__SANDBOX_READY
                                                     : CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

static Cri__ContainerState container_state_of(const struct container *c)
{
        switch (c->state) {
        case CONTAINER_RUNNING:
                return CRI__CONTAINER_STATE__CONTAINER_RUNNING;
        case CONTAINER_EXITED:
        case CONTAINER_REMOVING:
                return CRI__CONTAINER_STATE__CONTAINER_EXITED;
        case CONTAINER_MAKING:
        case CONTAINER_CREATED:
        case CONTAINER_STARTING:
                break;
        }
        return CRI__CONTAINER_STATE__CONTAINER_CREATED;
}

/* --- filters --- */

static bool pod_matches(const struct sandbox *pod, const Cri__PodSandboxFilter *filter)
{
        if (!pod_is_visible(pod))
                return false;
        if (!filter)
                return true;
        return id_matches(pod->id, filter->id) &&
               (!filter->state || filter->state->state == pod_state_of(pod)) &&
               SELECTS(filter->label_selector, filter->n_label_selector, pod->config->labels,
                       pod->config->n_labels);
}

static bool container_matches(const struct container *c, const Cri__ContainerFilter *filter)
{
        if (!container_is_visible(c))
                return false;
        if (!filter)
                return true;
        return id_matches(c->id, filter->id) && id_matches(c->pod->id, filter->pod_sandbox_id) &&
               (!filter->state || filter->state->state == container_state_of(c)) &&
               SELECTS(filter->label_selector, filter->n_label_selector, c->config->labels,
                       c->config->n_labels);
}

/* --- lists --- */

static void fill_pod(Cri__PodSandbox *m, struct sandbox *pod)
{
        *m = (Cri__PodSandbox) CRI__POD_SANDBOX__INIT;
        m->id = pod->id;
        m->metadata = pod->config->metadata;
        m->state = pod_state_of(pod);
        m->created_at = pod->created_ns;
        m->labels = (void *) pod->config->labels;
        m->n_labels = pod->config->n_labels;
        m->annotations = (void *) pod->config->annotations;
        m->n_annotations = pod->config->n_annotations;
        m->runtime_handler = pod->handler;
}

struct error *node_list_pods(struct node *node, const Cri__PodSandboxFilter *filter,
                             const struct node_reply *reply)
{
        Cri__ListPodSandboxResponse response = CRI__LIST_POD_SANDBOX_RESPONSE__INIT;
        struct sandbox *pod = NULL, *next = NULL;
        (void) pthread_mutex_lock(&node->lock);
        size_t n = HASH_CNT(by_id, node->pods);
        _cleanup_(freep) Cri__PodSandbox *items = NEW_ARRAY(Cri__PodSandbox, n);
        _cleanup_(freep) Cri__PodSandbox **pointers = NEW_ARRAY(Cri__PodSandbox *, n);
        HASH_ITER(by_id, node->pods, pod, next)
        {
                if (!pod_matches(pod, filter))
                        continue;
                pointers[response.n_items] = &items[response.n_items];
                fill_pod(&items[response.n_items++], pod);
        }
        response.items = pointers;
        struct error *e = reply->send(reply->context, &response.base);
        (void) pthread_mutex_unlock(&node->lock);
        return e;
}

static void fill_container(Cri__Container *m, struct container *c)
{
        *m = (Cri__Container) CRI__CONTAINER__INIT;
        m->id = c->id;
        m->pod_sandbox_id = c->pod->id;
        m->metadata = c->config->metadata;
        m->image = c->config->image;
        m->image_ref = c->image_ref;
        m->image_id = c->image_id;
        m->state = container_state_of(c);
        m->created_at = c->created_ns;
        m->labels = (void *) c->config->labels;
        m->n_labels = c->config->n_labels;
        m->annotations = (void *) c->config->annotations;
        m->n_annotations = c->config->n_annotations;
}

struct error *node_list_containers(struct node *node, const Cri__ContainerFilter *filter,
                                   const struct node_reply *reply)
{
        Cri__ListContainersResponse response = CRI__LIST_CONTAINERS_RESPONSE__INIT;
        struct container *c = NULL, *next = NULL;
        (void) pthread_mutex_lock(&node->lock);
        size_t n = HASH_CNT(by_id, node->containers);
        _cleanup_(freep) Cri__Container *items = NEW_ARRAY(Cri__Container, n);
        _cleanup_(freep) Cri__Container **pointers = NEW_ARRAY(Cri__Container *, n);
        HASH_ITER(by_id, node->containers, c, next)
        {
                if (!container_matches(c, filter))
                        continue;
                pointers[response.n_containers] = &items[response.n_containers];
                fill_container(&items[response.n_containers++], c);
        }
        response.containers = pointers;
        struct error *e = reply->send(reply->context, &response.base);
        (void) pthread_mutex_unlock(&node->lock);
        return e;
}

/* --- verbose info: one JSON text under the key "info", as crictl prints it --- */

static struct error *put_times(struct buf *out, const char *key, const struct step_times *times)
{
        TRY(buf_append_format(out, ",\"%s\":{", key));
        for (size_t i = 0; i < times->n; i++)
                TRY(buf_append_format(out, "%s\"%s\":%lld", i ? "," : "", times->step[i].name,
                                      (long long) times->step[i].took_ns));
        return buf_append_text(out, "}");
}

static struct error *put_member(struct buf *out, const char *key, const char *text)
{
        TRY(buf_append_format(out, ",\"%s\":", key));
        return json_put_text(out, text);
}

/* A recorded JSON text as it is; absent: null. */
static struct error *put_json(struct buf *out, const char *key, const char *json)
{
        return buf_append_format(out, ",\"%s\":%s", key, json ? json : "null");
}

static struct error *pod_info(const struct sandbox *pod, struct buf *out)
{
        TRY(buf_append_format(
                out, "{\"pid\":%d,\"supervisorPid\":%d",
                pod->runtime && pod->state == POD_READY ? runtime_pod_keeper_pid(pod->runtime) : 0,
                pod->runtime && pod->state == POD_READY ? runtime_pod_supervisor_pid(pod->runtime) : 0));
        TRY(put_member(out, "cgroup", pod->cgroup_path));
        TRY(put_member(out, "notice", pod->runtime ? runtime_pod_notice(pod->runtime) : NULL));
        TRY(buf_append_text(out, ",\"overhead\":"));
        TRY(resources_put(pod_overhead_of(pod), out));
        TRY(buf_append_text(out, ",\"resources\":"));
        TRY(resources_put(pod_resources_of(pod), out));
        TRY(put_json(out, "cniResult", pod->state == POD_READY ? pod->result : NULL));
        TRY(put_times(out, "runStepsNs", &pod->run_times));
        TRY(put_times(out, "stopStepsNs", &pod->stop_times));
        return buf_append_text(out, "}");
}

static struct error *put_list(struct buf *out, const char *key, char *const *texts)
{
        TRY(buf_append_format(out, ",\"%s\":[", key));
        for (size_t i = 0; texts && texts[i]; i++) {
                if (i)
                        TRY(buf_append_text(out, ","));
                TRY(json_put_text(out, texts[i]));
        }
        return buf_append_text(out, "]");
}

/* What other runtimes tell here, and debuggers read. */
static struct error *put_runtime_spec(const struct container *c, struct buf *out)
{
        _cleanup_(buf_done) struct buf json;
        buf_init(&json, SPEC_LIMIT_BYTES);
        struct error *e = c->spec ? oci_spec_put(c, &json) : NULL;
        bool fits = !e && c->spec;
        error_ignore(e); /* one that is larger than an answer may be is left out */
        return put_json(out, "runtimeSpec", fits ? json.bytes : NULL);
}

static struct error *container_info(const struct container *c, struct buf *out)
{
        TRY(buf_append_format(out, "{\"pid\":%d,\"oomKilled\":%s", c->pid, c->oom_killed ? "true" : "false"));
        TRY(put_member(out, "sandboxID", c->pod->id));
        TRY(put_member(out, "cgroup", c->cgroup_path));
        if (c->spec) {
                TRY(put_list(out, "args", c->spec->process.argv));
                TRY(put_member(out, "cwd", c->spec->process.cwd));
        }
        TRY(put_runtime_spec(c, out));
        TRY(put_times(out, "createStepsNs", &c->create_times));
        TRY(put_times(out, "startStepsNs", &c->start_times));
        TRY(put_times(out, "stopStepsNs", &c->stop_times));
        return buf_append_text(out, "}");
}

/* --- status --- */

struct pod_status_parts {
        Cri__PodSandboxStatus status;
        Cri__PodSandboxNetworkStatus network;
        Cri__LinuxPodSandboxStatus linux_status;
        Cri__Namespace namespaces;
        Cri__PodIP *ips, **ip_pointers;
};

static void fill_ips(struct pod_status_parts *p, struct sandbox *pod)
{
        size_t n = 0;
        p->network = (Cri__PodSandboxNetworkStatus) CRI__POD_SANDBOX_NETWORK_STATUS__INIT;
        p->status.network = &p->network;
        if (!pod->ips || !pod->ips[0] || pod_state_of(pod) != CRI__POD_SANDBOX_STATE__SANDBOX_READY)
                return;
        p->network.ip = pod->ips[0];
        while (pod->ips[n + 1])
                n++;
        p->ips = NEW_ARRAY(Cri__PodIP, n);
        p->ip_pointers = NEW_ARRAY(Cri__PodIP *, n);
        for (size_t i = 0; i < n; i++) {
                p->ips[i] = (Cri__PodIP) CRI__POD_IP__INIT;
                p->ips[i].ip = pod->ips[i + 1];
                p->ip_pointers[i] = &p->ips[i];
        }
        p->network.additional_ips = p->ip_pointers;
        p->network.n_additional_ips = n;
}

static void fill_pod_status(struct pod_status_parts *p, struct sandbox *pod)
{
        p->status = (Cri__PodSandboxStatus) CRI__POD_SANDBOX_STATUS__INIT;
        p->linux_status = (Cri__LinuxPodSandboxStatus) CRI__LINUX_POD_SANDBOX_STATUS__INIT;
        p->namespaces = (Cri__Namespace) CRI__NAMESPACE__INIT;
        const Cri__LinuxPodSandboxConfig *config = pod->config->linux;
        if (config && config->security_context)
                p->namespaces.options = config->security_context->namespace_options;
        p->linux_status.namespaces = &p->namespaces;
        p->status.linux = &p->linux_status;
        p->status.id = pod->id;
        p->status.metadata = pod->config->metadata;
        p->status.state = pod_state_of(pod);
        p->status.created_at = pod->created_ns;
        p->status.labels = (void *) pod->config->labels;
        p->status.n_labels = pod->config->n_labels;
        p->status.annotations = (void *) pod->config->annotations;
        p->status.n_annotations = pod->config->n_annotations;
        p->status.runtime_handler = pod->handler;
        fill_ips(p, pod);
}

struct container_status_parts {
        Cri__ContainerStatus status;
        Cri__ContainerResources resources;
        Cri__ContainerUser user;
        Cri__LinuxContainerUser linux_user;
        Cri__ImageSpec image;
};

static void fill_user(struct container_status_parts *p, struct container *c)
{
        p->user = (Cri__ContainerUser) CRI__CONTAINER_USER__INIT;
        p->linux_user = (Cri__LinuxContainerUser) CRI__LINUX_CONTAINER_USER__INIT;
        p->linux_user.uid = c->user.uid;
        p->linux_user.gid = c->user.gid;
        p->linux_user.supplemental_groups = c->user.groups;
        p->linux_user.n_supplemental_groups = c->user.n_groups;
        p->user.linux = &p->linux_user;
        if (c->user.n_groups)
                p->status.user = &p->user;
}

static void fill_resources(struct container_status_parts *p, struct container *c)
{
        Cri__LinuxContainerResources *asked = c->config->linux ? c->config->linux->resources : NULL;
        p->resources = (Cri__ContainerResources) CRI__CONTAINER_RESOURCES__INIT;
        p->resources.linux = c->resources ? c->resources : asked;
        if (p->resources.linux)
                p->status.resources = &p->resources;
}

static void fill_container_status(struct container_status_parts *p, struct container *c)
{
        p->status = (Cri__ContainerStatus) CRI__CONTAINER_STATUS__INIT;
        p->status.id = c->id;
        p->status.metadata = c->config->metadata;
        p->status.state = container_state_of(c);
        p->status.created_at = c->created_ns;
        p->status.started_at = c->state == CONTAINER_STARTING ? 0 : c->started_ns;
        p->status.finished_at = c->finished_ns;
        p->status.exit_code = c->exit_code;
        p->image = *c->config->image;
        if (c->image_name)
                p->image.image = c->image_name;
        p->status.image = &p->image;
        p->status.image_ref = c->image_ref;
        p->status.image_id = c->image_id;
        p->status.reason = c->reason ? c->reason : "";
        p->status.message = c->message ? c->message : "";
        p->status.labels = (void *) c->config->labels;
        p->status.n_labels = c->config->n_labels;
        p->status.annotations = (void *) c->config->annotations;
        p->status.n_annotations = c->config->n_annotations;
        p->status.mounts = c->config->mounts;
        p->status.n_mounts = c->config->n_mounts;
        p->status.log_path = c->log_path ? c->log_path : "";
        p->status.stop_signal = c->stop_signal;
        fill_resources(p, c);
        fill_user(p, c);
}

/* Of all of a pod's containers that are to be seen. */
struct statuses {
        struct container_status_parts *parts;
        Cri__ContainerStatus **pointers;
        size_t n;
};

static void statuses_done(struct statuses *s)
{
        free(s->parts);
        free(s->pointers);
}

static void fill_statuses(struct statuses *s, struct sandbox *pod)
{
        size_t n = 0;
        for (struct container *c = pod->containers; c; c = c->next)
                n++;
        *s = (struct statuses){ NEW_ARRAY(struct container_status_parts, n),
                                NEW_ARRAY(Cri__ContainerStatus *, n), 0 };
        for (struct container *c = pod->containers; c; c = c->next) {
                if (!container_is_visible(c))
                        continue;
                fill_container_status(&s->parts[s->n], c);
                s->pointers[s->n] = &s->parts[s->n].status;
                s->n++;
        }
}

static struct error *send_pod_status(struct sandbox *pod, bool verbose, const struct node_reply *reply)
{
        Cri__PodSandboxStatusResponse response = CRI__POD_SANDBOX_STATUS_RESPONSE__INIT;
        Cri__PodSandboxStatusResponse__InfoEntry entry = CRI__POD_SANDBOX_STATUS_RESPONSE__INFO_ENTRY__INIT;
        Cri__PodSandboxStatusResponse__InfoEntry *entries[] = { &entry };
        struct pod_status_parts parts = { 0 };
        _cleanup_(statuses_done) struct statuses containers;
        _cleanup_(buf_done) struct buf info;
        buf_init(&info, INFO_LIMIT_BYTES);
        fill_pod_status(&parts, pod);
        fill_statuses(&containers, pod);
        response.status = &parts.status;
        response.containers_statuses = containers.pointers;
        response.n_containers_statuses = containers.n;
        response.timestamp =
                clock_wall_ns(); /* with one, a kubelet that follows events asks no further for containers */
        struct error *e = verbose ? pod_info(pod, &info) : NULL;
        if (!e && verbose) {
                entry.key = "info";
                entry.value = info.bytes;
                response.info = entries;
                response.n_info = 1;
        }
        if (!e)
                e = reply->send(reply->context, &response.base);
        free(parts.ips);
        free(parts.ip_pointers);
        return e;
}

struct error *node_pod_status(struct node *node, const char *id, bool verbose, const struct node_reply *reply)
{
        _cleanup_(sandbox_unrefp) struct sandbox *pod = table_find_pod(node, id);
        if (!pod)
                return error_new(ERROR_NOT_FOUND, "pod %s does not exist", id);
        (void) pthread_mutex_lock(&node->lock);
        struct error *e = pod_is_visible(pod) ? send_pod_status(pod, verbose, reply)
                                              : error_new(ERROR_NOT_FOUND, "pod %s does not exist", id);
        (void) pthread_mutex_unlock(&node->lock);
        return e;
}

static struct error *send_container_status(struct container *c, bool verbose, const struct node_reply *reply)
{
        Cri__ContainerStatusResponse response = CRI__CONTAINER_STATUS_RESPONSE__INIT;
        Cri__ContainerStatusResponse__InfoEntry entry = CRI__CONTAINER_STATUS_RESPONSE__INFO_ENTRY__INIT;
        Cri__ContainerStatusResponse__InfoEntry *entries[] = { &entry };
        struct container_status_parts parts = { 0 };
        _cleanup_(buf_done) struct buf info;
        buf_init(&info, INFO_LIMIT_BYTES);
        fill_container_status(&parts, c);
        response.status = &parts.status;
        if (verbose) {
                TRY(container_info(c, &info));
                entry.key = "info";
                entry.value = info.bytes;
                response.info = entries;
                response.n_info = 1;
        }
        return reply->send(reply->context, &response.base);
}

/* After a restart a spec is built when it is needed: here too. */
static void spec_look(struct node *node, struct container *c)
{
        (void) pthread_mutex_lock(&node->lock);
        bool is_made = container_is_visible(c);
        (void) pthread_mutex_unlock(&node->lock);
        if (is_made)
                error_ignore(spec_ensure(node, c)); /* without it the rest is told */
}

struct error *node_container_status(struct node *node, const char *id, bool verbose,
                                    const struct node_reply *reply)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        if (!c)
                return error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        if (verbose)
                spec_look(node, c);
        (void) pthread_mutex_lock(&node->lock);
        struct error *e = container_is_visible(c)
                                  ? send_container_status(c, verbose, reply)
                                  : error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        (void) pthread_mutex_unlock(&node->lock);
        return e;
}

/* --- events --- */

struct error *status_event_pack(struct sandbox *pod, const char *id, Cri__ContainerEventType type,
                                struct buf *out)
{
        Cri__ContainerEventResponse event = CRI__CONTAINER_EVENT_RESPONSE__INIT;
        struct pod_status_parts pod_parts = { 0 };
        _cleanup_(statuses_done) struct statuses containers;
        size_t len_bytes = 0;
        char *bytes = NULL;
        fill_pod_status(&pod_parts, pod);
        fill_statuses(&containers, pod);
        event.container_id = id;
        event.container_event_type = type;
        event.created_at = clock_wall_ns();
        event.pod_sandbox_status = &pod_parts.status;
        event.containers_statuses = containers.pointers;
        event.n_containers_statuses = containers.n;
        len_bytes = protobuf_c_message_get_packed_size(&event.base);
        struct error *e = buf_reserve(out, len_bytes, &bytes);
        if (!e) {
                (void) protobuf_c_message_pack(&event.base, (uint8_t *) bytes);
                buf_added(out, len_bytes);
        }
        free(pod_parts.ips);
        free(pod_parts.ip_pointers);
        return e;
}
