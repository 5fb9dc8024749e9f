/* metric_list.h - the metrics that skiffd knows by name, and lists of their values; private to pods/.
 *
 * Names, types and labels are those that dashboards know from cAdvisor, as kubelet hands them on unchanged (KEP-2371): so
 * `id` is the cgroup's path and `name` the container's id. Every value in a list has its labels in the order of its
 * descriptor, which comes from the same table. CRI's values are whole numbers: seconds are rounded down.
 *
 * Threads: no state. */
#pragma once
#include "api/cri.pb-c.h"
#include <stddef.h>
#include <stdint.h>

enum metric {
        METRIC_LAST_SEEN,
        METRIC_START_TIME,
        METRIC_CPU_USAGE,
        METRIC_CPU_USER,
        METRIC_CPU_SYSTEM,
        METRIC_CFS_PERIODS,
        METRIC_CFS_THROTTLED_PERIODS,
        METRIC_CFS_THROTTLED_SECONDS,
        METRIC_MEMORY_USAGE,
        METRIC_MEMORY_WORKING_SET,
        METRIC_MEMORY_RSS,
        METRIC_MEMORY_CACHE,
        METRIC_MEMORY_MAPPED_FILE,
        METRIC_MEMORY_ACTIVE_FILE,
        METRIC_MEMORY_INACTIVE_FILE,
        METRIC_MEMORY_SWAP,
        METRIC_MEMORY_KERNEL,
        METRIC_MEMORY_MAX_USAGE,
        METRIC_MEMORY_FAILCNT,
        METRIC_MEMORY_FAILURES,
        METRIC_OOM_EVENTS,
        METRIC_HUGETLB_USAGE,
        METRIC_HUGETLB_MAX_USAGE,
        METRIC_FS_USAGE,
        METRIC_FS_LIMIT,
        METRIC_FS_INODES_FREE,
        METRIC_FS_INODES_TOTAL,
        METRIC_FS_READS,
        METRIC_FS_READ_BYTES,
        METRIC_FS_WRITES,
        METRIC_FS_WRITTEN_BYTES,
        METRIC_BLKIO_USAGE,
        METRIC_PROCESSES,
        METRIC_THREADS,
        METRIC_THREADS_MAX,
        METRIC_FILE_DESCRIPTORS,
        METRIC_SOCKETS,
        METRIC_ULIMITS_SOFT,
        METRIC_SPEC_CPU_PERIOD,
        METRIC_SPEC_CPU_QUOTA,
        METRIC_SPEC_CPU_SHARES,
        METRIC_SPEC_MEMORY_LIMIT,
        METRIC_SPEC_MEMORY_RESERVATION,
        METRIC_SPEC_MEMORY_SWAP_LIMIT,
        METRIC_PRESSURE_CPU_STALLED,
        METRIC_PRESSURE_CPU_WAITING,
        METRIC_PRESSURE_MEMORY_STALLED,
        METRIC_PRESSURE_MEMORY_WAITING,
        METRIC_PRESSURE_IO_STALLED,
        METRIC_PRESSURE_IO_WAITING,
        METRIC_NETWORK_RECEIVE_BYTES,
        METRIC_NETWORK_RECEIVE_PACKETS,
        METRIC_NETWORK_RECEIVE_DROPPED,
        METRIC_NETWORK_RECEIVE_ERRORS,
        METRIC_NETWORK_TRANSMIT_BYTES,
        METRIC_NETWORK_TRANSMIT_PACKETS,
        METRIC_NETWORK_TRANSMIT_DROPPED,
        METRIC_NETWORK_TRANSMIT_ERRORS,
        N_METRICS,
};

#define METRIC_BASE_LABELS 6 /* container, id, image, name, namespace, pod: every metric has them */
#define METRIC_MORE_LABELS 4

struct metric_base {
        const char *container, *id, *image, *name, *namespace, *pod;
};

struct metric_entry {
        Cri__Metric message;
        Cri__UInt64Value value;
        const char *labels[METRIC_BASE_LABELS + METRIC_MORE_LABELS];
};

/* The values of one container or pod. Owns its arrays; label values are borrowed and must outlive it. */
struct metric_list {
        struct metric_base base;
        struct metric_entry *entries;
        size_t n, room;
        Cri__Metric **messages; /* after metric_list_finish */
};

/* A value with its further labels (as many as the metric has; NULL where it has none). at_ns: 0 when it was read now, else
 * the wall time when it was. UINT64_MAX is a figure that is not known: nothing is added. */
void metric_add_at(struct metric_list *list, enum metric metric, uint64_t value, int64_t at_ns,
                   const char *const *labels);
void metric_add(struct metric_list *list, enum metric metric, uint64_t value);
void metric_add_with(struct metric_list *list, enum metric metric, uint64_t value, const char *label);
/* In whole seconds, of which there are per_second in one. */
void metric_add_seconds(struct metric_list *list, enum metric metric, uint64_t value, uint64_t per_second);

void metric_list_finish(struct metric_list *list); /* messages; nothing may be added after */
void metric_list_done(struct metric_list *list);

/* The descriptors of all metrics: N_METRICS of them, for as long as the program runs. */
Cri__MetricDescriptor **metric_descriptors(void);
