/* CRI's metrics by name: what cAdvisor would have told of a pod's interfaces and of each running container. Read when
 * asked for, so without a timestamp, but for the writable layer (stats.h). A container that ends meanwhile is left out. */
#include "base/clock.h"
#include "base/log.h"
#include "cni/cni.h"
#include "images/images.h"
#include "pods/select.h"
#include "pods/spec/spec.h"
#include "pods/stats/metric_list.h"
#include "pods/stats/stats.h"
#include "pods/table.h"
#include "runtime/cgroup/cgroup.h"
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#define NS_A_SECOND UINT64_C(1000000000)
#define US_A_SECOND UINT64_C(1000000)
#define CPU_PERIOD_DEFAULT_US 100000
#define CPU_SHARES_DEFAULT 1024
#define UEVENT_BYTES 1024

/* A block device as the metrics name it, once an answer. */
struct device_name {
        unsigned major, minor;
        char device[64], major_text[12], minor_text[12];
        struct device_name *next;
};

/* What one answer has in common. */
struct gathering {
        struct node *node;
        int64_t wall_ns, now_ns; /* now: monotonic */
        bool has_store;
        struct statvfs store; /* the filesystem of the writable layers */
        const struct device_name *store_device;
        struct device_name *devices; /* owned */
};

struct container_metrics {
        struct container *c; /* a reference */
        Cri__ContainerMetrics message;
        struct cgroup_metrics read; /* labels point into it */
        struct metric_list list;
};

struct pod_metrics {
        struct sandbox *pod; /* a reference */
        Cri__PodSandboxMetrics message;
        struct metric_list list;
        struct netns_link *links; /* owned, as what follows */
        struct container_metrics *containers;
        Cri__ContainerMetrics **pointers;
        size_t n_containers;
};

/* --- devices --- */

/* "/dev/vda1", as the kernel calls it; "0:45" for what is no block device (tmpfs, btrfs). */
static void device_name_find(struct device_name *name)
{
        char path[64], text[UEVENT_BYTES];
        (void) snprintf(name->device, sizeof(name->device), "%u:%u", name->major, name->minor);
        (void) snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", name->major, name->minor);
        _cleanup_(fclosep) FILE *file = fopen(path, "re");
        while (file && fgets(text, sizeof(text), file)) {
                if (strncmp(text, "DEVNAME=", 8) != 0)
                        continue;
                text[strcspn(text, "\n")] = '\0';
                (void) snprintf(name->device, sizeof(name->device), "/dev/%.57s", text + 8);
        }
}

static const struct device_name *device_name_of(struct gathering *g, unsigned major, unsigned minor)
{
        for (const struct device_name *name = g->devices; name; name = name->next)
                if (name->major == major && name->minor == minor)
                        return name;
        struct device_name *name = NEW(struct device_name);
        name->major = major;
        name->minor = minor;
        (void) snprintf(name->major_text, sizeof(name->major_text), "%u", major);
        (void) snprintf(name->minor_text, sizeof(name->minor_text), "%u", minor);
        device_name_find(name);
        name->next = g->devices;
        g->devices = name;
        return name;
}

static struct error *gathering_begin(struct node *node, struct gathering *g)
{
        _cleanup_(freep) struct images_usage *usage = NEW(struct images_usage);
        struct stat st;
        *g = (struct gathering){ .node = node, .wall_ns = clock_wall_ns(), .now_ns = clock_monotonic_ns() };
        TRY(images_usage(node->config.images, usage));
        g->has_store = statvfs(usage->mountpoint, &g->store) == 0 && stat(usage->mountpoint, &st) == 0;
        if (g->has_store)
                g->store_device = device_name_of(g, major(st.st_dev), minor(st.st_dev));
        return NULL;
}

static void gathering_end(struct gathering *g)
{
        for (struct device_name *name = g->devices, *next; name; name = next) {
                next = name->next;
                free(name);
        }
}

/* --- one container --- */

/* What must be read under the lock. */
struct container_now {
        bool running;
        pid_t pid;
        int64_t started_ns;
        int64_t cpu_period_us, cpu_quota_us, cpu_shares, memory_bytes, memory_swap_bytes, memory_min_bytes;
};

static int64_t or_default(int64_t value, int64_t otherwise)
{
        return value > 0 ? value : otherwise;
}

static struct container_now container_now(struct container *c)
{
        struct node *node = c->pod->node;
        (void) pthread_mutex_lock(&node->lock);
        const Cri__LinuxContainerResources *r = spec_resources_of(c);
        struct container_now now = { .running = c->state == CONTAINER_RUNNING,
                                     .pid = c->pid,
                                     .started_ns = c->started_ns,
                                     .cpu_period_us = or_default(r->cpu_period, CPU_PERIOD_DEFAULT_US),
                                     .cpu_quota_us = or_default(r->cpu_quota, 0),
                                     .cpu_shares = or_default(r->cpu_shares, CPU_SHARES_DEFAULT),
                                     .memory_bytes = or_default(r->memory_limit_in_bytes, 0),
                                     .memory_swap_bytes = or_default(r->memory_swap_limit_in_bytes, 0) };
        for (size_t i = 0; i < r->n_unified; i++)
                if (strcmp(r->unified[i]->key, "memory.min") == 0)
                        now.memory_min_bytes = or_default(strtoll(r->unified[i]->value, NULL, 10), 0);
        (void) pthread_mutex_unlock(&node->lock);
        return now;
}

static void add_cpu(struct metric_list *list, const struct cgroup_metrics *m, const struct container_now *now)
{
        uint64_t usage_ns = m->cpu_usage_ns;
        metric_add_with(list, METRIC_CPU_USAGE, usage_ns == UINT64_MAX ? usage_ns : usage_ns / NS_A_SECOND,
                        "total");
        metric_add_seconds(list, METRIC_CPU_USER, m->cpu_user_ns, NS_A_SECOND);
        metric_add_seconds(list, METRIC_CPU_SYSTEM, m->cpu_system_ns, NS_A_SECOND);
        if (now->cpu_quota_us == 0) /* nothing holds it back */
                return;
        metric_add(list, METRIC_CFS_PERIODS, m->cfs_periods);
        metric_add(list, METRIC_CFS_THROTTLED_PERIODS, m->cfs_throttled_periods);
        metric_add_seconds(list, METRIC_CFS_THROTTLED_SECONDS, m->cfs_throttled_ns, NS_A_SECOND);
}

static void add_faults(struct metric_list *list, const char *type, const char *scope, uint64_t value)
{
        metric_add_at(list, METRIC_MEMORY_FAILURES, value, 0, (const char *const[]){ type, scope });
}

static void add_memory(struct metric_list *list, const struct cgroup_metrics *m)
{
        metric_add(list, METRIC_MEMORY_USAGE, m->memory_usage_bytes);
        metric_add(list, METRIC_MEMORY_WORKING_SET, m->memory_working_set_bytes);
        metric_add(list, METRIC_MEMORY_RSS, m->memory_rss_bytes);
        metric_add(list, METRIC_MEMORY_CACHE, m->memory_cache_bytes);
        metric_add(list, METRIC_MEMORY_MAPPED_FILE, m->memory_mapped_bytes);
        metric_add(list, METRIC_MEMORY_ACTIVE_FILE, m->memory_active_file_bytes);
        metric_add(list, METRIC_MEMORY_INACTIVE_FILE, m->memory_inactive_file_bytes);
        metric_add(list, METRIC_MEMORY_SWAP, m->memory_swap_bytes);
        metric_add(list, METRIC_MEMORY_KERNEL, m->memory_kernel_bytes);
        metric_add(list, METRIC_MEMORY_MAX_USAGE, m->memory_max_usage_bytes);
        metric_add(list, METRIC_MEMORY_FAILCNT, m->memory_failures);
        metric_add(list, METRIC_OOM_EVENTS, m->oom_kills);
        add_faults(list, "pgfault", "container", m->page_faults);
        add_faults(list, "pgfault", "hierarchy", m->all_page_faults);
        add_faults(list, "pgmajfault", "container", m->major_page_faults);
        add_faults(list, "pgmajfault", "hierarchy", m->all_major_page_faults);
        for (size_t i = 0; i < m->n_hugepages; i++) {
                const struct cgroup_hugepage_use *use = &m->hugepages[i];
                metric_add_with(list, METRIC_HUGETLB_USAGE, use->usage_bytes, use->page_size);
                metric_add_with(list, METRIC_HUGETLB_MAX_USAGE, use->max_usage_bytes, use->page_size);
        }
}

static void add_pressure(struct metric_list *list, const struct cgroup_pressure *pressure,
                         enum metric stalled, enum metric waiting)
{
        if (!pressure->has)
                return;
        metric_add_seconds(list, stalled, pressure->full.total_us, US_A_SECOND);
        metric_add_seconds(list, waiting, pressure->some.total_us, US_A_SECOND);
}

static void add_io(struct gathering *g, struct metric_list *list, const struct cgroup_metrics *m)
{
        for (size_t i = 0; i < m->n_devices; i++) {
                const struct cgroup_device *device = &m->devices[i];
                const struct device_name *name = device_name_of(g, device->major, device->minor);
                const char *labels[] = { name->device, name->major_text, name->minor_text, "Read" };
                metric_add_with(list, METRIC_FS_READS, device->reads, name->device);
                metric_add_with(list, METRIC_FS_READ_BYTES, device->read_bytes, name->device);
                metric_add_with(list, METRIC_FS_WRITES, device->writes, name->device);
                metric_add_with(list, METRIC_FS_WRITTEN_BYTES, device->written_bytes, name->device);
                metric_add_at(list, METRIC_BLKIO_USAGE, device->read_bytes, 0, labels);
                labels[3] = "Write";
                metric_add_at(list, METRIC_BLKIO_USAGE, device->written_bytes, 0, labels);
        }
}

static void add_filesystem(const struct gathering *g, struct container *c, const struct cgroup_metrics *m,
                           struct metric_list *list)
{
        struct layer_sample sample;
        if (!g->has_store)
                return;
        const char *device = g->store_device->device;
        metric_add_with(list, METRIC_FS_LIMIT, g->store.f_blocks * g->store.f_frsize, device);
        metric_add_with(list, METRIC_FS_INODES_TOTAL, g->store.f_files, device);
        metric_add_with(list, METRIC_FS_INODES_FREE, g->store.f_favail, device);
        if (!stats_layer(c, g->now_ns, m->cpu_usage_ns ? m->cpu_usage_ns : UINT64_MAX, &sample))
                return;
        int64_t at_ns = sample.at_ns == g->now_ns ? 0 : g->wall_ns - (g->now_ns - sample.at_ns);
        metric_add_at(list, METRIC_FS_USAGE, sample.bytes, at_ns, &device);
}

static void add_processes(struct metric_list *list, const struct cgroup_metrics *m,
                          const struct cgroup_processes *processes, pid_t pid)
{
        struct rlimit limit;
        metric_add(list, METRIC_PROCESSES, processes->processes);
        metric_add(list, METRIC_FILE_DESCRIPTORS, processes->descriptors);
        metric_add(list, METRIC_SOCKETS, processes->sockets);
        metric_add(list, METRIC_THREADS, m->threads);
        metric_add(list, METRIC_THREADS_MAX, m->threads_max);
        if (pid > 0 && prlimit(pid, RLIMIT_NOFILE, NULL, &limit) == 0)
                metric_add_with(list, METRIC_ULIMITS_SOFT, limit.rlim_cur, "max_open_files");
}

static void add_spec(struct metric_list *list, const struct container_now *now)
{
        metric_add(list, METRIC_SPEC_CPU_PERIOD, (uint64_t) now->cpu_period_us);
        metric_add(list, METRIC_SPEC_CPU_SHARES, (uint64_t) now->cpu_shares);
        if (now->cpu_quota_us)
                metric_add(list, METRIC_SPEC_CPU_QUOTA, (uint64_t) now->cpu_quota_us);
        metric_add(list, METRIC_SPEC_MEMORY_LIMIT, (uint64_t) now->memory_bytes);
        metric_add(list, METRIC_SPEC_MEMORY_SWAP_LIMIT, (uint64_t) now->memory_swap_bytes);
        metric_add(list, METRIC_SPEC_MEMORY_RESERVATION, (uint64_t) now->memory_min_bytes);
}

static void container_add(struct gathering *g, struct container_metrics *cm,
                          const struct cgroup_processes *processes, const struct container_now *now)
{
        const struct cgroup_metrics *m = &cm->read;
        struct metric_list *list = &cm->list;
        metric_add(list, METRIC_LAST_SEEN, (uint64_t) g->wall_ns / NS_A_SECOND);
        metric_add(list, METRIC_START_TIME, (uint64_t) now->started_ns / NS_A_SECOND);
        add_cpu(list, m, now);
        add_memory(list, m);
        add_pressure(list, &m->cpu_pressure, METRIC_PRESSURE_CPU_STALLED, METRIC_PRESSURE_CPU_WAITING);
        add_pressure(list, &m->memory_pressure, METRIC_PRESSURE_MEMORY_STALLED,
                     METRIC_PRESSURE_MEMORY_WAITING);
        add_pressure(list, &m->io_pressure, METRIC_PRESSURE_IO_STALLED, METRIC_PRESSURE_IO_WAITING);
        add_io(g, list, m);
        add_filesystem(g, cm->c, m, list);
        add_processes(list, m, processes, now->pid);
        add_spec(list, now);
}

/* The name that the image was asked for by: kubelet gives the id in its place. */
static const char *image_label(const struct container *c)
{
        const Cri__ImageSpec *image = c->config->image;
        if (!image)
                return "";
        return *image->user_specified_image ? image->user_specified_image : image->image;
}

static void base_labels_of(const struct sandbox *pod, const struct container *c, struct metric_base *base)
{
        const Cri__PodSandboxMetadata *metadata = pod->config->metadata;
        *base = (struct metric_base){ .container = c && c->config->metadata ? c->config->metadata->name : "",
                                      .id = c ? c->cgroup_path : pod->cgroup_path,
                                      .image = c ? image_label(c) : "",
                                      .name = c ? c->id : pod->id,
                                      .namespace = metadata ? metadata->namespace_ : "",
                                      .pod = metadata ? metadata->name : "" };
}

static struct error *container_read(struct gathering *g, struct container *c, struct cgroup_metrics *m,
                                    struct cgroup_processes *processes)
{
        TRY(cgroup_processes(g->node->config.cgroups, c->cgroup_path, processes));
        return cgroup_metrics(g->node->config.cgroups, c->cgroup_path, m);
}

/* False when it does not run, or no longer: then it has nothing to tell. */
static bool container_gather(struct gathering *g, struct container_metrics *cm)
{
        struct container *c = cm->c;
        struct container_now now = container_now(c);
        struct cgroup_processes processes;
        if (!now.running)
                return false;
        struct error *e = container_read(g, c, &cm->read, &processes);
        if (e) {
                if (error_errnum_of(e) == ENOENT || error_errnum_of(e) == ENODEV)
                        error_ignore(e);
                else
                        log_error(LOG_LEVEL_WARN, e, "read a container's metrics", "container", c->id);
                return false;
        }
        base_labels_of(c->pod, c, &cm->list.base);
        container_add(g, cm, &processes, &now);
        metric_list_finish(&cm->list);
        cm->message = (Cri__ContainerMetrics) CRI__CONTAINER_METRICS__INIT;
        cm->message.container_id = c->id;
        cm->message.metrics = cm->list.messages;
        cm->message.n_metrics = cm->list.n;
        return true;
}

/* --- one pod --- */

static void pod_add_links(struct pod_metrics *pm)
{
        size_t n;
        stats_links(pm->pod, &pm->links, &n);
        for (size_t i = 0; i < n; i++) {
                const struct netns_link *link = &pm->links[i];
                struct metric_list *list = &pm->list;
                metric_add_with(list, METRIC_NETWORK_RECEIVE_BYTES, link->rx_bytes, link->name);
                metric_add_with(list, METRIC_NETWORK_RECEIVE_PACKETS, link->rx_packets, link->name);
                metric_add_with(list, METRIC_NETWORK_RECEIVE_DROPPED, link->rx_dropped, link->name);
                metric_add_with(list, METRIC_NETWORK_RECEIVE_ERRORS, link->rx_errors, link->name);
                metric_add_with(list, METRIC_NETWORK_TRANSMIT_BYTES, link->tx_bytes, link->name);
                metric_add_with(list, METRIC_NETWORK_TRANSMIT_PACKETS, link->tx_packets, link->name);
                metric_add_with(list, METRIC_NETWORK_TRANSMIT_DROPPED, link->tx_dropped, link->name);
                metric_add_with(list, METRIC_NETWORK_TRANSMIT_ERRORS, link->tx_errors, link->name);
        }
}

static void pod_gather(struct gathering *g, struct pod_metrics *pm)
{
        _cleanup_(freep) struct container **list = table_containers_of(pm->pod); /* references */
        size_t n = 0;
        while (list[n])
                n++;
        base_labels_of(pm->pod, NULL, &pm->list.base);
        pod_add_links(pm);
        metric_list_finish(&pm->list);
        pm->containers = NEW_ARRAY(struct container_metrics, n);
        pm->pointers = NEW_ARRAY(Cri__ContainerMetrics *, n);
        for (size_t i = 0; i < n; i++) {
                struct container_metrics *cm = &pm->containers[pm->n_containers];
                cm->c = list[i];
                if (container_gather(g, cm))
                        pm->pointers[pm->n_containers++] = &cm->message;
                else
                        container_unref(TAKE(cm->c));
        }
        pm->message = (Cri__PodSandboxMetrics) CRI__POD_SANDBOX_METRICS__INIT;
        pm->message.pod_sandbox_id = pm->pod->id;
        pm->message.metrics = pm->list.messages;
        pm->message.n_metrics = pm->list.n;
        pm->message.container_metrics = pm->pointers;
        pm->message.n_container_metrics = pm->n_containers;
}

static void pods_done(struct pod_metrics *parts, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; k < parts[i].n_containers; k++) {
                        metric_list_done(&parts[i].containers[k].list);
                        cgroup_metrics_done(&parts[i].containers[k].read);
                        container_unref(parts[i].containers[k].c);
                }
                metric_list_done(&parts[i].list);
                free(parts[i].containers);
                free(parts[i].pointers);
                free(parts[i].links);
                sandbox_unref(parts[i].pod);
        }
        free(parts);
}

/* --- the calls --- */

struct error *node_metric_descriptors(const struct node_reply *reply)
{
        Cri__ListMetricDescriptorsResponse response = CRI__LIST_METRIC_DESCRIPTORS_RESPONSE__INIT;
        response.descriptors = metric_descriptors();
        response.n_descriptors = N_METRICS;
        return reply->send(reply->context, &response.base);
}

struct error *node_list_pod_metrics(struct node *node, const struct node_reply *reply)
{
        Cri__ListPodSandboxMetricsResponse response = CRI__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;
        struct sandbox *pod = NULL, *next = NULL;
        _cleanup_(gathering_end) struct gathering g;
        size_t n = 0;
        TRY(gathering_begin(node, &g));
        (void) pthread_mutex_lock(&node->lock);
        struct pod_metrics *parts = NEW_ARRAY(struct pod_metrics, HASH_CNT(by_id, node->pods));
        HASH_ITER(by_id, node->pods, pod, next)
        {
                if (pod->state == POD_READY && !pod->lost)
                        parts[n++].pod = sandbox_ref(pod);
        }
        (void) pthread_mutex_unlock(&node->lock);
        _cleanup_(freep) Cri__PodSandboxMetrics **pointers = NEW_ARRAY(Cri__PodSandboxMetrics *, n);
        for (size_t i = 0; i < n; i++) {
                pod_gather(&g, &parts[i]);
                pointers[i] = &parts[i].message;
        }
        response.pod_metrics = pointers;
        response.n_pod_metrics = n;
        struct error *e = reply->send(reply->context, &response.base);
        pods_done(parts, n);
        return e;
}
