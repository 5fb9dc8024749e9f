#include "pods/stats/metric_list.h"
#include "base/cleanup.h"
#include <pthread.h>

#define ROOM_FIRST 64

#define COUNTER CRI__METRIC_TYPE__COUNTER
#define GAUGE CRI__METRIC_TYPE__GAUGE

struct metric_kind {
        const char *name;
        Cri__MetricType type;
        const char *help;
        const char *labels[METRIC_MORE_LABELS]; /* besides the base ones */
};

static const char *const base_labels[METRIC_BASE_LABELS] = { "container", "id",        "image",
                                                             "name",      "namespace", "pod" };

/* Name, type, help, and the labels besides the base ones. */
#define KIND(name, type, help, ...)                                                                          \
        {                                                                                                    \
                name, type, help,                                                                            \
                {                                                                                            \
                        __VA_ARGS__                                                                          \
                }                                                                                            \
        }

static const struct metric_kind kinds[N_METRICS] = {
        [METRIC_LAST_SEEN] = KIND("container_last_seen", GAUGE,
                                  "When the runtime last saw the container running, in seconds since 1970."),
        [METRIC_START_TIME] = KIND("container_start_time_seconds", GAUGE,
                                   "When the container was started, in seconds since 1970."),
        [METRIC_CPU_USAGE] =
                KIND("container_cpu_usage_seconds_total", COUNTER, "CPU time used, in seconds.", "cpu"),
        [METRIC_CPU_USER] = KIND("container_cpu_user_seconds_total", COUNTER,
                                 "CPU time used by the program itself, in seconds."),
        [METRIC_CPU_SYSTEM] = KIND("container_cpu_system_seconds_total", COUNTER,
                                   "CPU time used by the kernel on behalf of the container, in seconds."),
        [METRIC_CFS_PERIODS] =
                KIND("container_cpu_cfs_periods_total", COUNTER,
                     "Periods of the CPU quota that have passed while the container wanted to run."),
        [METRIC_CFS_THROTTLED_PERIODS] = KIND("container_cpu_cfs_throttled_periods_total", COUNTER,
                                              "Periods in which the container had used up its CPU quota."),
        [METRIC_CFS_THROTTLED_SECONDS] =
                KIND("container_cpu_cfs_throttled_seconds_total", COUNTER,
                     "Time that the container was held back by its CPU quota, in seconds."),
        [METRIC_MEMORY_USAGE] =
                KIND("container_memory_usage_bytes", GAUGE, "Memory in use, page cache included."),
        [METRIC_MEMORY_WORKING_SET] =
                KIND("container_memory_working_set_bytes", GAUGE,
                     "Memory in use that cannot be had back easily: usage without inactive page cache."),
        [METRIC_MEMORY_RSS] = KIND("container_memory_rss", GAUGE, "Anonymous memory, in bytes."),
        [METRIC_MEMORY_CACHE] = KIND("container_memory_cache", GAUGE, "Page cache, in bytes."),
        [METRIC_MEMORY_MAPPED_FILE] =
                KIND("container_memory_mapped_file", GAUGE, "Memory-mapped files, in bytes."),
        [METRIC_MEMORY_ACTIVE_FILE] = KIND("container_memory_total_active_file_bytes", GAUGE,
                                           "Page cache that was used lately, in bytes."),
        [METRIC_MEMORY_INACTIVE_FILE] = KIND("container_memory_total_inactive_file_bytes", GAUGE,
                                             "Page cache that was not used lately, in bytes."),
        [METRIC_MEMORY_SWAP] = KIND("container_memory_swap", GAUGE, "Swap in use, in bytes."),
        [METRIC_MEMORY_KERNEL] = KIND("container_memory_kernel_usage", GAUGE,
                                      "Kernel memory used on behalf of the container, in bytes."),
        [METRIC_MEMORY_MAX_USAGE] = KIND("container_memory_max_usage_bytes", GAUGE,
                                         "The most memory that was ever in use, in bytes."),
        [METRIC_MEMORY_FAILCNT] =
                KIND("container_memory_failcnt", COUNTER, "How often the memory limit was hit."),
        [METRIC_MEMORY_FAILURES] =
                KIND("container_memory_failures_total", COUNTER, "Page faults.", "failure_type", "scope"),
        [METRIC_OOM_EVENTS] = KIND("container_oom_events_total", COUNTER,
                                   "Processes of the container that were killed for want of memory."),
        [METRIC_HUGETLB_USAGE] =
                KIND("container_hugetlb_usage_bytes", GAUGE, "Huge pages in use, in bytes.", "pagesize"),
        [METRIC_HUGETLB_MAX_USAGE] = KIND("container_hugetlb_max_usage_bytes", GAUGE,
                                          "The most huge pages that were ever in use, in bytes.", "pagesize"),
        [METRIC_FS_USAGE] = KIND("container_fs_usage_bytes", GAUGE,
                                 "What the container has written to its own filesystem, in bytes.", "device"),
        [METRIC_FS_LIMIT] =
                KIND("container_fs_limit_bytes", GAUGE,
                     "The size of the filesystem that holds what the container writes, in bytes.", "device"),
        [METRIC_FS_INODES_FREE] =
                KIND("container_fs_inodes_free", GAUGE, "Inodes free on that filesystem.", "device"),
        [METRIC_FS_INODES_TOTAL] =
                KIND("container_fs_inodes_total", GAUGE, "Inodes of that filesystem.", "device"),
        [METRIC_FS_READS] = KIND("container_fs_reads_total", COUNTER, "Reads from the device.", "device"),
        [METRIC_FS_READ_BYTES] =
                KIND("container_fs_reads_bytes_total", COUNTER, "Bytes read from the device.", "device"),
        [METRIC_FS_WRITES] = KIND("container_fs_writes_total", COUNTER, "Writes to the device.", "device"),
        [METRIC_FS_WRITTEN_BYTES] =
                KIND("container_fs_writes_bytes_total", COUNTER, "Bytes written to the device.", "device"),
        [METRIC_BLKIO_USAGE] =
                KIND("container_blkio_device_usage_total", COUNTER,
                     "Bytes that went to or came from the device.", "device", "major", "minor", "operation"),
        [METRIC_PROCESSES] = KIND("container_processes", GAUGE, "Processes in the container."),
        [METRIC_THREADS] = KIND("container_threads", GAUGE, "Threads in the container."),
        [METRIC_THREADS_MAX] = KIND("container_threads_max", GAUGE,
                                    "The most threads that the container may have; 0 is no limit."),
        [METRIC_FILE_DESCRIPTORS] = KIND("container_file_descriptors", GAUGE,
                                         "Open file descriptors of the container's processes."),
        [METRIC_SOCKETS] = KIND("container_sockets", GAUGE, "Open sockets of the container's processes."),
        [METRIC_ULIMITS_SOFT] = KIND("container_ulimits_soft", GAUGE,
                                     "Soft limits of the container's first process.", "ulimit"),
        [METRIC_SPEC_CPU_PERIOD] =
                KIND("container_spec_cpu_period", GAUGE, "The period of the CPU quota, in microseconds."),
        [METRIC_SPEC_CPU_QUOTA] =
                KIND("container_spec_cpu_quota", GAUGE, "The CPU quota of a period, in microseconds."),
        [METRIC_SPEC_CPU_SHARES] = KIND("container_spec_cpu_shares", GAUGE, "The container's CPU shares."),
        [METRIC_SPEC_MEMORY_LIMIT] =
                KIND("container_spec_memory_limit_bytes", GAUGE, "The memory limit; 0 is none."),
        [METRIC_SPEC_MEMORY_RESERVATION] = KIND("container_spec_memory_reservation_limit_bytes", GAUGE,
                                                "Memory that is kept for the container; 0 is none."),
        [METRIC_SPEC_MEMORY_SWAP_LIMIT] = KIND("container_spec_memory_swap_limit_bytes", GAUGE,
                                               "The limit of memory and swap together; 0 is none."),
        [METRIC_PRESSURE_CPU_STALLED] =
                KIND("container_pressure_cpu_stalled_seconds_total", COUNTER,
                     "Time in which everything in the container waited for CPU, in seconds."),
        [METRIC_PRESSURE_CPU_WAITING] =
                KIND("container_pressure_cpu_waiting_seconds_total", COUNTER,
                     "Time in which something in the container waited for CPU, in seconds."),
        [METRIC_PRESSURE_MEMORY_STALLED] =
                KIND("container_pressure_memory_stalled_seconds_total", COUNTER,
                     "Time in which everything in the container waited for memory, in seconds."),
        [METRIC_PRESSURE_MEMORY_WAITING] =
                KIND("container_pressure_memory_waiting_seconds_total", COUNTER,
                     "Time in which something in the container waited for memory, in seconds."),
        [METRIC_PRESSURE_IO_STALLED] =
                KIND("container_pressure_io_stalled_seconds_total", COUNTER,
                     "Time in which everything in the container waited for disks, in seconds."),
        [METRIC_PRESSURE_IO_WAITING] =
                KIND("container_pressure_io_waiting_seconds_total", COUNTER,
                     "Time in which something in the container waited for disks, in seconds."),
        [METRIC_NETWORK_RECEIVE_BYTES] =
                KIND("container_network_receive_bytes_total", COUNTER, "Bytes received.", "interface"),
        [METRIC_NETWORK_RECEIVE_PACKETS] =
                KIND("container_network_receive_packets_total", COUNTER, "Packets received.", "interface"),
        [METRIC_NETWORK_RECEIVE_DROPPED] = KIND("container_network_receive_packets_dropped_total", COUNTER,
                                                "Packets dropped on receipt.", "interface"),
        [METRIC_NETWORK_RECEIVE_ERRORS] =
                KIND("container_network_receive_errors_total", COUNTER, "Errors on receipt.", "interface"),
        [METRIC_NETWORK_TRANSMIT_BYTES] =
                KIND("container_network_transmit_bytes_total", COUNTER, "Bytes sent.", "interface"),
        [METRIC_NETWORK_TRANSMIT_PACKETS] =
                KIND("container_network_transmit_packets_total", COUNTER, "Packets sent.", "interface"),
        [METRIC_NETWORK_TRANSMIT_DROPPED] = KIND("container_network_transmit_packets_dropped_total", COUNTER,
                                                 "Packets dropped while sending.", "interface"),
        [METRIC_NETWORK_TRANSMIT_ERRORS] = KIND("container_network_transmit_errors_total", COUNTER,
                                                "Errors while sending.", "interface"),
};

static size_t n_more(const struct metric_kind *kind)
{
        size_t n = 0;
        while (n < METRIC_MORE_LABELS && kind->labels[n])
                n++;
        return n;
}

/* --- descriptors --- */

static struct {
        Cri__MetricDescriptor messages[N_METRICS];
        Cri__MetricDescriptor *pointers[N_METRICS];
        const char *keys[N_METRICS][METRIC_BASE_LABELS + METRIC_MORE_LABELS];
} descriptors;

static void descriptors_fill(void)
{
        for (size_t i = 0; i < N_METRICS; i++) {
                Cri__MetricDescriptor *to = descriptors.pointers[i] = &descriptors.messages[i];
                *to = (Cri__MetricDescriptor) CRI__METRIC_DESCRIPTOR__INIT;
                to->name = kinds[i].name;
                to->help = kinds[i].help;
                to->label_keys = descriptors.keys[i];
                for (size_t k = 0; k < METRIC_BASE_LABELS; k++)
                        descriptors.keys[i][to->n_label_keys++] = base_labels[k];
                for (size_t k = 0; k < n_more(&kinds[i]); k++)
                        descriptors.keys[i][to->n_label_keys++] = kinds[i].labels[k];
        }
}

Cri__MetricDescriptor **metric_descriptors(void)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        (void) pthread_once(&once, descriptors_fill);
        return descriptors.pointers;
}

/* --- values --- */

void metric_add_at(struct metric_list *list, enum metric metric, uint64_t value, int64_t at_ns,
                   const char *const *labels)
{
        const struct metric_kind *kind = &kinds[metric];
        if (value == UINT64_MAX)
                return;
        if (list->n == list->room) {
                list->room = list->room ? 2 * list->room : ROOM_FIRST;
                list->entries = grow_array(list->entries, list->room, sizeof(*list->entries));
        }
        struct metric_entry *entry = &list->entries[list->n++];
        const struct metric_base *base = &list->base;
        *entry = (struct metric_entry){
                .message = CRI__METRIC__INIT,
                .value = CRI__UINT64_VALUE__INIT,
                .labels = { base->container, base->id, base->image, base->name, base->namespace, base->pod },
        };
        entry->value.value = value;
        entry->message.name = kind->name;
        entry->message.timestamp = at_ns;
        entry->message.metric_type = kind->type;
        entry->message.n_label_values = METRIC_BASE_LABELS;
        for (size_t i = 0; labels && i < n_more(kind); i++)
                entry->labels[entry->message.n_label_values++] = labels[i];
}

void metric_add(struct metric_list *list, enum metric metric, uint64_t value)
{
        metric_add_at(list, metric, value, 0, NULL);
}

void metric_add_with(struct metric_list *list, enum metric metric, uint64_t value, const char *label)
{
        metric_add_at(list, metric, value, 0, &label);
}

void metric_add_seconds(struct metric_list *list, enum metric metric, uint64_t value, uint64_t per_second)
{
        metric_add(list, metric, value == UINT64_MAX ? value : value / per_second);
}

/* Not before: the entries move while there come more. */
void metric_list_finish(struct metric_list *list)
{
        list->messages = NEW_ARRAY(Cri__Metric *, list->n);
        for (size_t i = 0; i < list->n; i++) {
                struct metric_entry *entry = &list->entries[i];
                entry->message.value = &entry->value;
                entry->message.label_values = entry->labels;
                list->messages[i] = &entry->message;
        }
}

void metric_list_done(struct metric_list *list)
{
        freep(&list->entries);
        freep(&list->messages);
}
