/* Cgroups, links and writable layers as CRI's stats. Everything is read without the lock, on objects that are held. */
#include "pods/stats/stats.h"
#include "base/clock.h"
#include "base/log.h"
#include "cni/cni.h"
#include "images/images.h"
#include "pods/select.h"
#include "pods/stats/stats_usage.h"
#include "pods/table.h"
#include <fcntl.h>

#define LAYER_MAX_AGE_NS INT64_C(10000000000) /* a walk of a large writable layer is not cheap */
#define LAYER_IDLE_MAX_AGE_NS INT64_C(300000000000)
#define POD_INTERFACE "eth0"

/* What one answer has in common. */
struct reading {
        struct node *node;
        int64_t stamp_ns, now_ns; /* wall, monotonic */
        struct images_usage *store;
};

static struct error *reading_begin(struct node *node, struct reading *out)
{
        *out = (struct reading){ .node = node,
                                 .stamp_ns = clock_wall_ns(),
                                 .now_ns = clock_monotonic_ns(),
                                 .store = NEW(struct images_usage) };
        struct error *e = images_usage(node->config.images, out->store);
        if (e)
                freep(&out->store);
        return e;
}

/* A cgroup that is not there, or no longer, has no figures: *out is left zeroed. */
static struct error *cgroup_look(struct node *node, const char *path, struct cgroup_stats *out)
{
        *out = (struct cgroup_stats){ .has_cpu = false };
        struct error *e = cgroup_stats(node->config.cgroups, path, out);
        int errnum = e ? error_errnum_of(e) : 0;
        if (errnum != ENOENT && errnum != ENODEV)
                return e;
        error_ignore(e);
        *out = (struct cgroup_stats){ .has_cpu = false };
        return NULL;
}

/* --- containers --- */

struct container_parts {
        struct container *c; /* a reference */
        struct cgroup_stats read;
        Cri__ContainerStats message;
        Cri__ContainerAttributes attributes;
        struct usage_parts usage;
        Cri__FilesystemUsage layer;
        Cri__FilesystemIdentifier filesystem;
        Cri__UInt64Value bytes, inodes;
};

/* Processes that used no processor since before the last count wrote nothing, so the count holds still; what is written for
 * them later (what the filesystem had put off) is counted when that is old. */
static bool sample_holds(const struct layer_sample *sample, int64_t now_ns, uint64_t cpu_usage_ns)
{
        int64_t age_ns = now_ns - sample->walked_ns;
        if (!sample->at_ns)
                return false;
        return age_ns <= LAYER_MAX_AGE_NS ||
               (cpu_usage_ns == sample->cpu_usage_ns && age_ns <= LAYER_IDLE_MAX_AGE_NS);
}

bool stats_layer(struct container *c, int64_t now_ns, uint64_t cpu_usage_ns, struct layer_sample *out)
{
        struct node *node = c->pod->node;
        (void) pthread_mutex_lock(&node->lock);
        *out = c->layer;
        (void) pthread_mutex_unlock(&node->lock);
        if (sample_holds(out, now_ns, cpu_usage_ns)) {
                if (cpu_usage_ns == out->cpu_usage_ns)
                        out->at_ns = now_ns;
                return true;
        }
        struct error *e = rootfs_usage(node->config.images, c->id, &out->bytes, &out->inodes);
        if (e) {
                error_ignore(e); /* being removed: it has no writable layer any more */
                return false;
        }
        out->at_ns = out->walked_ns = now_ns;
        out->cpu_usage_ns = cpu_usage_ns;
        (void) pthread_mutex_lock(&node->lock);
        c->layer = *out;
        (void) pthread_mutex_unlock(&node->lock);
        return true;
}

static void layer_look(const struct reading *r, struct container_parts *p)
{
        struct layer_sample sample;
        /* Without a cgroup there is no process. */
        if (!stats_layer(p->c, r->now_ns, p->read.has_cpu ? p->read.cpu_usage_ns : UINT64_MAX, &sample))
                return;
        p->layer = (Cri__FilesystemUsage) CRI__FILESYSTEM_USAGE__INIT;
        p->filesystem = (Cri__FilesystemIdentifier) CRI__FILESYSTEM_IDENTIFIER__INIT;
        p->filesystem.mountpoint = r->store->mountpoint;
        p->layer.timestamp = r->stamp_ns - (r->now_ns - sample.at_ns);
        p->layer.fs_id = &p->filesystem;
        p->layer.used_bytes = value_of(&p->bytes, sample.bytes);
        p->layer.inodes_used = value_of(&p->inodes, sample.inodes);
        p->message.writable_layer = &p->layer;
}

static struct error *container_look(const struct reading *r, struct container_parts *p)
{
        struct container *c = p->c;
        struct cpu_rate rate;
        TRY_WRAP(cgroup_look(r->node, c->cgroup_path, &p->read), "stats of container %s", c->id);
        (void) pthread_mutex_lock(&r->node->lock);
        if (p->read.has_cpu)
                cpu_rate_note(&c->rate, r->now_ns, p->read.cpu_usage_ns);
        rate = c->rate;
        (void) pthread_mutex_unlock(&r->node->lock);
        p->message = (Cri__ContainerStats) CRI__CONTAINER_STATS__INIT;
        p->attributes = (Cri__ContainerAttributes) CRI__CONTAINER_ATTRIBUTES__INIT;
        p->attributes.id = c->id;
        p->attributes.metadata = c->config->metadata;
        p->attributes.labels = (void *) c->config->labels;
        p->attributes.n_labels = c->config->n_labels;
        p->attributes.annotations = (void *) c->config->annotations;
        p->attributes.n_annotations = c->config->n_annotations;
        p->message.attributes = &p->attributes;
        usage_fill(&p->usage, &p->read, &rate, r->stamp_ns);
        p->message.cpu = p->usage.has_cpu ? &p->usage.cpu : NULL;
        p->message.memory = p->usage.has_memory ? &p->usage.memory : NULL;
        p->message.swap = p->usage.has_swap ? &p->usage.swap : NULL;
        p->message.io = p->usage.has_io ? &p->usage.io : NULL;
        layer_look(r, p);
        return NULL;
}

static void containers_done(struct container_parts *parts, size_t n)
{
        for (size_t i = 0; i < n; i++)
                container_unref(parts[i].c);
        free(parts);
}

static struct error *containers_look(const struct reading *r, struct container_parts *parts, size_t n,
                                     Cri__ContainerStats **pointers)
{
        for (size_t i = 0; i < n; i++) {
                TRY(container_look(r, &parts[i]));
                pointers[i] = &parts[i].message;
        }
        return NULL;
}

struct error *node_container_stats(struct node *node, const char *id, const struct node_reply *reply)
{
        Cri__ContainerStatsResponse response = CRI__CONTAINER_STATS_RESPONSE__INIT;
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        (void) pthread_mutex_lock(&node->lock);
        bool visible = c && container_is_visible(c);
        (void) pthread_mutex_unlock(&node->lock);
        if (!visible)
                return error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        struct reading r;
        _cleanup_(freep) struct container_parts *parts = NEW(struct container_parts);
        TRY(reading_begin(node, &r));
        parts->c = c;
        struct error *e = container_look(&r, parts);
        response.stats = &parts->message;
        if (!e)
                e = reply->send(reply->context, &response.base);
        free(r.store);
        return e;
}

static bool is_selected(const struct container *c, const Cri__ContainerStatsFilter *filter)
{
        if (!container_is_visible(c))
                return false;
        return !filter || (id_matches(c->id, filter->id) && id_matches(c->pod->id, filter->pod_sandbox_id) &&
                           SELECTS(filter->label_selector, filter->n_label_selector, c->config->labels,
                                   c->config->n_labels));
}

struct error *node_list_container_stats(struct node *node, const Cri__ContainerStatsFilter *filter,
                                        const struct node_reply *reply)
{
        Cri__ListContainerStatsResponse response = CRI__LIST_CONTAINER_STATS_RESPONSE__INIT;
        struct container *c = NULL, *next = NULL;
        struct reading r;
        size_t n = 0;
        TRY(reading_begin(node, &r));
        (void) pthread_mutex_lock(&node->lock);
        struct container_parts *parts = NEW_ARRAY(struct container_parts, HASH_CNT(by_id, node->containers));
        HASH_ITER(by_id, node->containers, c, next)
        {
                if (is_selected(c, filter))
                        parts[n++].c = container_ref(c);
        }
        (void) pthread_mutex_unlock(&node->lock);
        _cleanup_(freep) Cri__ContainerStats **pointers = NEW_ARRAY(Cri__ContainerStats *, n);
        struct error *e = containers_look(&r, parts, n, pointers);
        response.stats = pointers;
        response.n_stats = n;
        if (!e)
                e = reply->send(reply->context, &response.base);
        containers_done(parts, n);
        free(r.store);
        return e;
}

/* --- pods --- */

struct link_parts {
        Cri__NetworkInterfaceUsage message;
        Cri__UInt64Value values[4];
};

struct pod_parts {
        struct sandbox *pod; /* a reference */
        Cri__PodSandboxStats message;
        Cri__PodSandboxAttributes attributes;
        Cri__LinuxPodSandboxStats figures;
        struct usage_parts usage;
        Cri__NetworkUsage network;
        struct netns_link *links; /* owned, as what follows */
        struct link_parts *link_parts;
        Cri__NetworkInterfaceUsage **link_pointers;
        Cri__ProcessUsage process;
        Cri__UInt64Value n_processes;
        struct container_parts *containers;
        Cri__ContainerStats **container_pointers;
        size_t n_containers;
};

static void pods_done(struct pod_parts *parts, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                containers_done(parts[i].containers, parts[i].n_containers);
                free(parts[i].container_pointers);
                free(parts[i].links);
                free(parts[i].link_parts);
                free(parts[i].link_pointers);
                sandbox_unref(parts[i].pod);
        }
        free(parts);
}

static void links_fill(const struct reading *r, struct pod_parts *p, size_t n)
{
        p->link_parts = NEW_ARRAY(struct link_parts, n);
        p->link_pointers = NEW_ARRAY(Cri__NetworkInterfaceUsage *, n);
        p->network = (Cri__NetworkUsage) CRI__NETWORK_USAGE__INIT;
        p->network.timestamp = r->stamp_ns;
        p->network.interfaces = p->link_pointers;
        for (size_t i = 0; i < n; i++) {
                struct link_parts *to = &p->link_parts[i];
                const struct netns_link *link = &p->links[i];
                to->message = (Cri__NetworkInterfaceUsage) CRI__NETWORK_INTERFACE_USAGE__INIT;
                to->message.name = link->name;
                to->message.rx_bytes = value_of(&to->values[0], link->rx_bytes);
                to->message.rx_errors = value_of(&to->values[1], link->rx_errors);
                to->message.tx_bytes = value_of(&to->values[2], link->tx_bytes);
                to->message.tx_errors = value_of(&to->values[3], link->tx_errors);
                if (strcmp(link->name, POD_INTERFACE) == 0)
                        p->network.default_interface = &to->message;
                else
                        p->link_pointers[p->network.n_interfaces++] = &to->message;
        }
        p->figures.network = &p->network;
}

void stats_links(struct sandbox *pod, struct netns_link **out, size_t *n)
{
        struct node *node = pod->node;
        *out = NULL;
        *n = 0;
        (void) pthread_mutex_lock(&node->lock);
        bool has = pod->state == POD_READY && !pod->lost && pod->runtime;
        /* A descriptor of our own: a stop closes the pod's. */
        int pods_fd = has ? runtime_pod_netns(pod->runtime) : -1;
        _cleanup_(closep) int netns_fd = pods_fd < 0 ? -1 : fcntl(pods_fd, F_DUPFD_CLOEXEC, 3);
        (void) pthread_mutex_unlock(&node->lock);
        if (netns_fd < 0)
                return;
        struct error *e = netns_links(netns_fd, out, n);
        log_error(LOG_LEVEL_WARN, e, "read a pod's interfaces", "pod", pod->id);
}

/* kubelet gives each pod a cgroup of its own, whose figures are the pod's, of ended and removed containers too; so is a
 * scope. Elsewhere the parent may be anybody's, and the pod is what skiff made below it. */
static bool home_is_the_pods(const struct sandbox *pod)
{
        if (cgroup_parent_is_slice(pod->cgroup_parent))
                return true;
        const char *uid = pod->config->metadata ? pod->config->metadata->uid : "";
        const char *slash = strrchr(pod->cgroup_parent, '/');
        return *uid && slash && strncmp(slash + 1, "pod", 3) == 0 && strcmp(slash + 4, uid) == 0;
}

static void add_up(struct cgroup_stats *sum, const struct cgroup_stats *one)
{
        sum->has_cpu |= one->has_cpu;
        sum->has_memory |= one->has_memory;
        sum->has_pids |= one->has_pids;
        sum->cpu_usage_ns += one->cpu_usage_ns;
        sum->memory_usage_bytes += one->memory_usage_bytes;
        sum->memory_working_set_bytes += one->memory_working_set_bytes;
        sum->memory_rss_bytes += one->memory_rss_bytes;
        sum->page_faults += one->page_faults;
        sum->major_page_faults += one->major_page_faults;
        sum->pids += one->pids;
}

/* After its containers were read. */
static struct error *pod_cgroups_look(const struct reading *r, const struct pod_parts *p,
                                      struct cgroup_stats *out)
{
        if (home_is_the_pods(p->pod))
                return cgroup_look(r->node, p->pod->cgroup_home, out);
        TRY(cgroup_look(r->node, p->pod->cgroup_path, out));
        out->memory_limit_bytes = out->swap_limit_bytes = CGROUP_NO_LIMIT;
        for (size_t i = 0; i < p->n_containers; i++)
                add_up(out, &p->containers[i].read);
        /* Those are of the leaf alone, and of no use without the rest. */
        out->cpu_pressure.has = out->memory_pressure.has = out->io_pressure.has = false;
        return NULL;
}

static void fill_attributes(struct pod_parts *p)
{
        const Cri__PodSandboxConfig *config = p->pod->config;
        p->attributes = (Cri__PodSandboxAttributes) CRI__POD_SANDBOX_ATTRIBUTES__INIT;
        p->attributes.id = p->pod->id;
        p->attributes.metadata = config->metadata;
        p->attributes.labels = (void *) config->labels;
        p->attributes.n_labels = config->n_labels;
        p->attributes.annotations = (void *) config->annotations;
        p->attributes.n_annotations = config->n_annotations;
        p->message.attributes = &p->attributes;
}

static void pod_hold_containers(struct pod_parts *p)
{
        _cleanup_(freep) struct container **list = table_containers_of(p->pod); /* references */
        size_t n = 0;
        while (list[n])
                n++;
        p->containers = NEW_ARRAY(struct container_parts, n);
        p->container_pointers = NEW_ARRAY(Cri__ContainerStats *, n);
        (void) pthread_mutex_lock(&p->pod->node->lock);
        for (size_t i = 0; i < n; i++)
                if (container_is_visible(list[i]))
                        p->containers[p->n_containers++].c = TAKE(list[i]);
        (void) pthread_mutex_unlock(&p->pod->node->lock);
        for (size_t i = 0; i < n; i++)
                container_unref(list[i]);
}

static struct error *pod_look(const struct reading *r, struct pod_parts *p)
{
        struct cgroup_stats stats;
        p->message = (Cri__PodSandboxStats) CRI__POD_SANDBOX_STATS__INIT;
        p->figures = (Cri__LinuxPodSandboxStats) CRI__LINUX_POD_SANDBOX_STATS__INIT;
        fill_attributes(p);
        pod_hold_containers(p);
        TRY(containers_look(r, p->containers, p->n_containers, p->container_pointers));
        TRY_WRAP(pod_cgroups_look(r, p, &stats), "stats of pod %s", p->pod->id);
        (void) pthread_mutex_lock(&r->node->lock);
        if (stats.has_cpu)
                cpu_rate_note(&p->pod->rate, r->now_ns, stats.cpu_usage_ns);
        struct cpu_rate rate = p->pod->rate;
        (void) pthread_mutex_unlock(&r->node->lock);
        usage_fill(&p->usage, &stats, &rate, r->stamp_ns);
        p->figures.cpu = p->usage.has_cpu ? &p->usage.cpu : NULL;
        p->figures.memory = p->usage.has_memory ? &p->usage.memory : NULL;
        p->figures.io = p->usage.has_io ? &p->usage.io : NULL;
        if (stats.has_pids) {
                p->process = (Cri__ProcessUsage) CRI__PROCESS_USAGE__INIT;
                p->process.timestamp = r->stamp_ns;
                p->process.process_count = value_of(&p->n_processes, stats.pids);
                p->figures.process = &p->process;
        }
        p->figures.containers = p->container_pointers;
        p->figures.n_containers = p->n_containers;
        size_t n_links;
        stats_links(p->pod, &p->links, &n_links);
        if (p->links)
                links_fill(r, p, n_links);
        p->message.linux = &p->figures;
        return NULL;
}

struct error *node_pod_stats(struct node *node, const char *id, const struct node_reply *reply)
{
        Cri__PodSandboxStatsResponse response = CRI__POD_SANDBOX_STATS_RESPONSE__INIT;
        _cleanup_(sandbox_unrefp) struct sandbox *pod = table_find_pod(node, id);
        (void) pthread_mutex_lock(&node->lock);
        bool visible = pod && pod_is_visible(pod);
        (void) pthread_mutex_unlock(&node->lock);
        if (!visible)
                return error_new(ERROR_NOT_FOUND, "pod %s does not exist", id);
        struct reading r;
        TRY(reading_begin(node, &r));
        struct pod_parts *parts = NEW(struct pod_parts);
        parts->pod = TAKE(pod);
        struct error *e = pod_look(&r, parts);
        response.stats = &parts->message;
        if (!e)
                e = reply->send(reply->context, &response.base);
        pods_done(parts, 1);
        free(r.store);
        return e;
}

struct error *node_list_pod_stats(struct node *node, const Cri__PodSandboxStatsFilter *filter,
                                  const struct node_reply *reply)
{
        Cri__ListPodSandboxStatsResponse response = CRI__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;
        struct sandbox *pod = NULL, *next = NULL;
        struct reading r;
        struct error *e = NULL;
        size_t n = 0;
        TRY(reading_begin(node, &r));
        (void) pthread_mutex_lock(&node->lock);
        struct pod_parts *parts = NEW_ARRAY(struct pod_parts, HASH_CNT(by_id, node->pods));
        HASH_ITER(by_id, node->pods, pod, next)
        {
                if (pod_is_visible(pod) &&
                    (!filter || (id_matches(pod->id, filter->id) &&
                                 SELECTS(filter->label_selector, filter->n_label_selector,
                                         pod->config->labels, pod->config->n_labels))))
                        parts[n++].pod = sandbox_ref(pod);
        }
        (void) pthread_mutex_unlock(&node->lock);
        _cleanup_(freep) Cri__PodSandboxStats **pointers = NEW_ARRAY(Cri__PodSandboxStats *, n);
        for (size_t i = 0; i < n && !e; i++) {
                e = pod_look(&r, &parts[i]);
                pointers[i] = &parts[i].message;
        }
        response.stats = pointers;
        response.n_stats = n;
        if (!e)
                e = reply->send(reply->context, &response.base);
        pods_done(parts, n);
        free(r.store);
        return e;
}
