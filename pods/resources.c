/* Changes to what pods and containers may use: UpdateContainerResources, UpdatePodSandboxResources. All of one is done, or
 * nothing: the record is written first, since it can be written again as it was, while of earlier values in the kernel
 * or in systemd only they know. */
#include "pods/resources.h"
#include "base/json.h"
#include "pods/message.h"
#include "pods/records.h"
#include "pods/select.h"
#include "pods/spec/spec.h"
#include "pods/table.h"
#include "runtime/cgroup/cgroup.h"
#include <string.h>

/* --- a container's --- */

static const char swap_key[] = "memory.swap.max"; /* what kubelet limits swap by on v2 */

static Cri__LinuxContainerResources__UnifiedEntry *unified_find(const Cri__LinuxContainerResources *r,
                                                                const char *key)
{
        for (size_t i = 0; i < r->n_unified; i++)
                if (strcmp(r->unified[i]->key, key) == 0)
                        return r->unified[i];
        return NULL;
}

/* Of each key what was said last. The array is the caller's, what it points at is borrowed. */
static Cri__LinuxContainerResources__UnifiedEntry **unified_merged(const Cri__LinuxContainerResources *before,
                                                                   const Cri__LinuxContainerResources *update,
                                                                   size_t *n)
{
        Cri__LinuxContainerResources__UnifiedEntry **all = NEW_ARRAY(
                Cri__LinuxContainerResources__UnifiedEntry *, before->n_unified + update->n_unified);
        *n = 0;
        for (size_t i = 0; i < before->n_unified; i++)
                if (!unified_find(update, before->unified[i]->key))
                        all[(*n)++] = before->unified[i];
        for (size_t i = 0; i < update->n_unified; i++)
                all[(*n)++] = update->unified[i];
        return all;
}

/* What an update leaves out stays as it was. Memory without swap sets both (spec_limits). */
static Cri__LinuxContainerResources *merged(const Cri__LinuxContainerResources *before,
                                            const Cri__LinuxContainerResources *update)
{
        Cri__LinuxContainerResources m = *update;
        if (!m.cpu_period)
                m.cpu_period = before->cpu_period;
        if (!m.cpu_quota)
                m.cpu_quota = before->cpu_quota;
        if (!m.cpu_shares)
                m.cpu_shares = before->cpu_shares;
        if (!m.memory_swap_limit_in_bytes && before->memory_swap_limit_in_bytes)
                m.memory_swap_limit_in_bytes = m.memory_limit_in_bytes ? m.memory_limit_in_bytes
                                                                       : before->memory_swap_limit_in_bytes;
        if (!m.memory_limit_in_bytes)
                m.memory_limit_in_bytes = before->memory_limit_in_bytes;
        m.oom_score_adj = before->oom_score_adj;
        if (!*m.cpuset_cpus)
                m.cpuset_cpus = before->cpuset_cpus;
        if (!*m.cpuset_mems)
                m.cpuset_mems = before->cpuset_mems;
        if (!m.n_hugepage_limits) {
                m.hugepage_limits = before->hugepage_limits;
                m.n_hugepage_limits = before->n_hugepage_limits;
        }
        _cleanup_(freep) Cri__LinuxContainerResources__UnifiedEntry **unified =
                unified_merged(before, update, &m.n_unified);
        m.unified = unified;
        return message_copy(&m);
}

static struct error *update_apply(struct container *c, const struct cgroup_limits *limits,
                                  const Cri__LinuxContainerResources *now)
{
        struct node *node = c->pod->node;
        TRY(record_container_resources(node->db, c->id, now));
        struct error *e = cgroup_update(node->config.cgroups, c->cgroup_path, limits);
        if (!e)
                return NULL;
        struct error *stuck = record_container_resources(node->db, c->id, c->resources);
        if (stuck)
                e = error_wrap(e, "the record stays changed (%s)", error_message(stuck));
        error_free(stuck);
        return e;
}

static struct error *update_held(struct container *c, const Cri__LinuxContainerResources *resources)
{
        struct node *node = c->pod->node;
        _cleanup_(spec_limits_done) struct cgroup_limits limits = { 0 };
        _cleanup_(message_freep) Cri__LinuxContainerResources *now = NULL;
        TRY(spec_check_least(resources));
        TRY(spec_limits(resources, &limits));
        (void) pthread_mutex_lock(&node->lock);
        bool alive = c->state == CONTAINER_CREATED || c->state == CONTAINER_RUNNING;
        now = alive ? merged(spec_resources_of(c), resources) : NULL;
        (void) pthread_mutex_unlock(&node->lock);
        if (!alive)
                return error_new(ERROR_FAILED_PRECONDITION, "container %s has ended", c->id);
        /* Swap that is limited by its own key has nothing to do with memory's limit. */
        if (!resources->memory_swap_limit_in_bytes && unified_find(now, swap_key))
                limits.memory_swap_limit_bytes = 0;
        TRY(update_apply(c, &limits, now));
        (void) pthread_mutex_lock(&node->lock);
        Cri__LinuxContainerResources *before = c->resources;
        c->resources = TAKE(now);
        (void) pthread_mutex_unlock(&node->lock);
        message_free(before);
        return NULL;
}

struct error *node_update_container(struct node *node, const char *id,
                                    const Cri__LinuxContainerResources *resources)
{
        bool joined;
        struct error *result;
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        if (!c)
                return error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        TRY(operation_begin(&c->operation, &node->lock, OPERATION_OTHER, NULL, &joined, &result));
        struct error *e = update_held(c, resources);
        operation_end(&c->operation, &node->lock, e);
        return e;
}

/* --- a pod's: kubelet limits its cgroup by itself, and tells us --- */

const Cri__LinuxContainerResources *pod_resources_of(const struct sandbox *pod)
{
        if (pod->resources)
                return pod->resources;
        return pod->config->linux ? pod->config->linux->resources : NULL;
}

const Cri__LinuxContainerResources *pod_overhead_of(const struct sandbox *pod)
{
        if (pod->overhead)
                return pod->overhead;
        return pod->config->linux ? pod->config->linux->overhead : NULL;
}

static struct error *check_one(const char *field, const Cri__LinuxContainerResources *resources)
{
        _cleanup_(spec_limits_done) struct cgroup_limits limits = { 0 };
        if (resources)
                TRY_WRAP(spec_limits(resources, &limits), "%s", field);
        return NULL;
}

struct error *pod_resources_check(const Cri__PodSandboxConfig *config)
{
        if (!config->linux)
                return NULL;
        TRY(check_one("config.linux.overhead", config->linux->overhead));
        return check_one("config.linux.resources", config->linux->resources);
}

static int64_t shares_of(const Cri__LinuxContainerResources *resources)
{
        return resources ? resources->cpu_shares : 0;
}

/* The pod's config as it is to be recorded. */
static struct error *record_with(struct sandbox *pod, const Cri__LinuxContainerResources *overhead,
                                 const Cri__LinuxContainerResources *resources)
{
        static const Cri__LinuxPodSandboxConfig none = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
        Cri__PodSandboxConfig config = *pod->config;
        Cri__LinuxPodSandboxConfig of_linux = pod->config->linux ? *pod->config->linux : none;
        of_linux.overhead = (Cri__LinuxContainerResources *) (uintptr_t) overhead;
        of_linux.resources = (Cri__LinuxContainerResources *) (uintptr_t) resources;
        config.linux = &of_linux;
        return record_pod_config(pod->node->db, pod->id, &config);
}

/* overhead and resources: what is to hold from now on. Whose scope it is not in has its weight from kubelet. */
static struct error *pod_apply(struct sandbox *pod, const Cri__LinuxContainerResources *overhead,
                               const Cri__LinuxContainerResources *resources, const struct wait *wait)
{
        const Cri__LinuxContainerResources *before = pod_resources_of(pod); /* ours, by the operation */
        TRY(record_with(pod, overhead, resources));
        if (!cgroup_is_adopted(pod->cgroup_path) || shares_of(before) == shares_of(resources))
                return NULL;
        struct error *e =
                cgroup_set_shares(pod->node->config.cgroups, pod->cgroup_path, shares_of(resources), wait);
        if (!e)
                return NULL;
        struct error *stuck = record_with(pod, pod_overhead_of(pod), before);
        if (stuck)
                e = error_wrap(e, "the record stays changed (%s)", error_message(stuck));
        error_free(stuck);
        return e;
}

/* NULL replaces nothing. */
static void replace(struct node *node, Cri__LinuxContainerResources **at,
                    const Cri__LinuxContainerResources *with)
{
        Cri__LinuxContainerResources *copy = with ? message_copy(with) : NULL, *before = NULL;
        (void) pthread_mutex_lock(&node->lock);
        if (copy) {
                before = *at;
                *at = copy;
        }
        (void) pthread_mutex_unlock(&node->lock);
        message_free(before);
}

static struct error *pod_update_held(struct sandbox *pod,
                                     const Cri__UpdatePodSandboxResourcesRequest *request,
                                     const struct wait *wait)
{
        struct node *node = pod->node;
        (void) pthread_mutex_lock(&node->lock);
        bool ready = pod->state == POD_READY && !pod->lost;
        (void) pthread_mutex_unlock(&node->lock);
        if (!ready)
                return error_new(ERROR_FAILED_PRECONDITION, "pod %s is not ready", pod->id);
        TRY(pod_apply(pod, request->overhead ? request->overhead : pod_overhead_of(pod),
                      request->resources ? request->resources : pod_resources_of(pod), wait));
        replace(node, &pod->overhead, request->overhead);
        replace(node, &pod->resources, request->resources);
        return NULL;
}

struct error *node_update_pod(struct node *node, const Cri__UpdatePodSandboxResourcesRequest *request,
                              const struct wait *wait)
{
        bool joined;
        struct error *result;
        _cleanup_(sandbox_unrefp) struct sandbox *pod = table_find_pod(node, request->pod_sandbox_id);
        (void) pthread_mutex_lock(&node->lock);
        bool there = pod && pod_is_visible(pod);
        (void) pthread_mutex_unlock(&node->lock);
        if (!there)
                return error_new(ERROR_NOT_FOUND, "pod %s does not exist", request->pod_sandbox_id);
        TRY(check_one("overhead", request->overhead));
        TRY(check_one("resources", request->resources));
        TRY(operation_begin(&pod->operation, &node->lock, OPERATION_OTHER, wait, &joined, &result));
        struct error *e = pod_update_held(pod, request, wait);
        operation_end(&pod->operation, &node->lock, e);
        return e;
}

/* --- as JSON --- */

static struct error *put_key(struct buf *out, const char *key, bool *comma)
{
        TRY(buf_append_format(out, "%s\"%s\":", *comma ? "," : "", key));
        *comma = true;
        return NULL;
}

static struct error *put_number(struct buf *out, const char *key, int64_t number, bool *comma)
{
        if (!number)
                return NULL;
        TRY(put_key(out, key, comma));
        return buf_append_format(out, "%lld", (long long) number);
}

static struct error *put_text(struct buf *out, const char *key, const char *text, bool *comma)
{
        if (!*text)
                return NULL;
        TRY(put_key(out, key, comma));
        return json_put_text(out, text);
}

static struct error *put_hugepages(const Cri__LinuxContainerResources *r, struct buf *out, bool *comma)
{
        if (!r->n_hugepage_limits)
                return NULL;
        TRY(put_key(out, "hugepage_limits", comma));
        for (size_t i = 0; i < r->n_hugepage_limits; i++) {
                TRY(buf_append_format(out, "%s{\"page_size\":", i ? "," : "["));
                TRY(json_put_text(out, r->hugepage_limits[i]->page_size));
                TRY(buf_append_format(out, ",\"limit\":%llu}",
                                      (unsigned long long) r->hugepage_limits[i]->limit));
        }
        return buf_append_text(out, "]");
}

static struct error *put_unified(const Cri__LinuxContainerResources *r, struct buf *out, bool *comma)
{
        if (!r->n_unified)
                return NULL;
        TRY(put_key(out, "unified", comma));
        for (size_t i = 0; i < r->n_unified; i++) {
                TRY(buf_append_text(out, i ? "," : "{"));
                TRY(json_put_text(out, r->unified[i]->key));
                TRY(buf_append_text(out, ":"));
                TRY(json_put_text(out, r->unified[i]->value));
        }
        return buf_append_text(out, "}");
}

struct error *resources_put(const Cri__LinuxContainerResources *r, struct buf *out)
{
        bool comma = false;
        if (!r)
                return buf_append_text(out, "null");
        TRY(buf_append_text(out, "{"));
        TRY(put_number(out, "cpu_period", r->cpu_period, &comma));
        TRY(put_number(out, "cpu_quota", r->cpu_quota, &comma));
        TRY(put_number(out, "cpu_shares", r->cpu_shares, &comma));
        TRY(put_number(out, "memory_limit_in_bytes", r->memory_limit_in_bytes, &comma));
        TRY(put_number(out, "oom_score_adj", r->oom_score_adj, &comma));
        TRY(put_text(out, "cpuset_cpus", r->cpuset_cpus, &comma));
        TRY(put_text(out, "cpuset_mems", r->cpuset_mems, &comma));
        TRY(put_hugepages(r, out, &comma));
        TRY(put_unified(r, out, &comma));
        TRY(put_number(out, "memory_swap_limit_in_bytes", r->memory_swap_limit_in_bytes, &comma));
        return buf_append_text(out, "}");
}
