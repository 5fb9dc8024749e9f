/* All that a cgroup counts. A file that a kernel does not have leaves its figures unknown: memory.peak came with 5.19,
 * "kernel" in memory.stat with 5.18, a hierarchy may not be mounted. Only the cgroup itself must be there, so that one that
 * is gone is told from one that counts little. */
#include "runtime/cgroup/cgroup_internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define TEXT_BYTES 8192
#define IO_TEXT_BYTES (128 * 1024) /* some 80 bytes a device */
#define NS_A_US 1000
#define NS_A_SECOND UINT64_C(1000000000)

/* --- parsing --- */

uint64_t cgroup_figure(const char *text, const char *key)
{
        size_t len_bytes = strlen(key);
        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, key, len_bytes) == 0 && line[len_bytes] == ' ')
                        return strtoull(line + len_bytes, NULL, 10);
        }
        return CGROUP_UNKNOWN;
}

/* A device is asked for in the order of the lines, which has all of one device together. */
static struct cgroup_device *device_of(struct cgroup_metrics *m, unsigned major, unsigned minor)
{
        for (size_t i = m->n_devices; i > 0; i--)
                if (m->devices[i - 1].major == major && m->devices[i - 1].minor == minor)
                        return &m->devices[i - 1];
        m->devices = grow_array(m->devices, m->n_devices + 1, sizeof(*m->devices));
        m->devices[m->n_devices] = (struct cgroup_device){ .major = major, .minor = minor };
        return &m->devices[m->n_devices++];
}

void cgroup_io_v1_parse(const char *text, bool bytes, struct cgroup_metrics *out)
{
        for (const char *line = text; line && *line; line = strchr(line, '\n')) {
                unsigned major, minor;
                unsigned long long value;
                char operation[16];
                line += *line == '\n';
                if (sscanf(line, "%u:%u %15s %llu", &major, &minor, operation, &value) != 4)
                        continue; /* "Total 4096", of all devices */
                struct cgroup_device *device = device_of(out, major, minor);
                if (strcmp(operation, "Read") == 0)
                        *(bytes ? &device->read_bytes : &device->reads) = value;
                else if (strcmp(operation, "Write") == 0)
                        *(bytes ? &device->written_bytes : &device->writes) = value;
        }
}

/* The number behind "key=" on this line; 0 when it is not there. */
static uint64_t value_on_line(const char *line, const char *key)
{
        size_t len_bytes = strlen(key), end = strcspn(line, "\n");
        for (const char *at = line; (at = memchr(at, ' ', end - (size_t) (at - line)));) {
                at++;
                if (strncmp(at, key, len_bytes) == 0 && at[len_bytes] == '=')
                        return strtoull(at + len_bytes + 1, NULL, 10);
        }
        return 0;
}

void cgroup_io_v2_parse(const char *text, struct cgroup_metrics *out)
{
        for (const char *line = text; line && *line; line = strchr(line, '\n')) {
                unsigned major, minor;
                line += *line == '\n';
                if (sscanf(line, "%u:%u ", &major, &minor) != 2)
                        continue;
                struct cgroup_device *device = device_of(out, major, minor);
                device->read_bytes = value_on_line(line, "rbytes");
                device->written_bytes = value_on_line(line, "wbytes");
                device->reads = value_on_line(line, "rios");
                device->writes = value_on_line(line, "wios");
        }
}

/* Before 5.18 memory.stat has the kernel's part in pieces only. */
static uint64_t kernel_part(const char *text)
{
        static const char *const pieces[] = { "kernel_stack", "pagetables", "percpu", "sock", "slab" };
        uint64_t sum = cgroup_figure(text, "kernel");
        if (sum != CGROUP_UNKNOWN)
                return sum;
        sum = 0;
        for (size_t i = 0; i < LENGTH(pieces); i++)
                sum += cgroup_keyed(text, pieces[i]);
        return sum;
}

void cgroup_memory_stat_parse(const char *text, bool v2, struct cgroup_metrics *out)
{
        out->memory_rss_bytes = cgroup_figure(text, v2 ? "anon" : "total_rss");
        out->memory_cache_bytes = cgroup_figure(text, v2 ? "file" : "total_cache");
        out->memory_mapped_bytes = cgroup_figure(text, v2 ? "file_mapped" : "total_mapped_file");
        out->memory_active_file_bytes = cgroup_figure(text, v2 ? "active_file" : "total_active_file");
        out->memory_inactive_file_bytes = cgroup_figure(text, v2 ? "inactive_file" : "total_inactive_file");
        out->page_faults = cgroup_figure(text, "pgfault");
        out->major_page_faults = cgroup_figure(text, "pgmajfault");
        /* On v2 what is below is always counted in. */
        out->all_page_faults = v2 ? out->page_faults : cgroup_figure(text, "total_pgfault");
        out->all_major_page_faults = v2 ? out->major_page_faults : cgroup_figure(text, "total_pgmajfault");
        if (v2)
                out->memory_kernel_bytes = kernel_part(text);
        else
                out->memory_swap_bytes = cgroup_figure(text, "total_swap");
        uint64_t inactive_bytes = out->memory_inactive_file_bytes;
        if (inactive_bytes != CGROUP_UNKNOWN && out->memory_usage_bytes != CGROUP_UNKNOWN)
                out->memory_working_set_bytes = out->memory_usage_bytes > inactive_bytes
                                                        ? out->memory_usage_bytes - inactive_bytes
                                                        : 0;
}

/* --- reading --- */

/* "" where there is no such file. */
static void text_if(const struct hierarchy *h, const char *path, const char *file, char *text,
                    size_t size_bytes)
{
        text[0] = '\0';
        if (h)
                error_ignore(cgroup_read(h, path, file, text, size_bytes));
}

static uint64_t number_if(const struct hierarchy *h, const char *path, const char *file)
{
        uint64_t value = CGROUP_UNKNOWN;
        if (h)
                error_ignore(cgroup_number(h, path, file, &value));
        return value;
}

/* threads_max: the text of a limit, 0 for "max" as the metric wants it. */
static uint64_t threads_max(const struct hierarchy *h, const char *path)
{
        char text[32];
        text_if(h, path, "pids.max", text, sizeof(text));
        if (!*text)
                return CGROUP_UNKNOWN;
        return strncmp(text, "max", 3) == 0 ? 0 : strtoull(text, NULL, 10);
}

static uint64_t scaled(uint64_t value, uint64_t factor)
{
        return value == CGROUP_UNKNOWN ? CGROUP_UNKNOWN : value * factor;
}

static void io_read(const struct cgroups *c, const char *path, struct cgroup_metrics *m)
{
        const struct hierarchy *h = hierarchy_of(c, "blkio");
        _cleanup_(freep) char *text = NEW_ARRAY(char, IO_TEXT_BYTES);
        if (cgroups_is_v2(c)) {
                text_if(h, path, "io.stat", text, IO_TEXT_BYTES);
                cgroup_io_v2_parse(text, m);
                return;
        }
        text_if(h, path, "blkio.throttle.io_service_bytes_recursive", text, IO_TEXT_BYTES);
        cgroup_io_v1_parse(text, true, m);
        text_if(h, path, "blkio.throttle.io_serviced_recursive", text, IO_TEXT_BYTES);
        cgroup_io_v1_parse(text, false, m);
}

/* "hugepages-2048kB" is "2MB" in the names of a cgroup's files. */
static bool page_size_name(const char *entry, char *out, size_t size_bytes)
{
        unsigned long long kib;
        char end;
        if (sscanf(entry, "hugepages-%llukB%c", &kib, &end) != 1)
                return false;
        int n = kib >= 1 << 20   ? snprintf(out, size_bytes, "%lluGB", kib >> 20)
                : kib >= 1 << 10 ? snprintf(out, size_bytes, "%lluMB", kib >> 10)
                                 : snprintf(out, size_bytes, "%lluKB", kib);
        return n > 0 && (size_t) n < size_bytes;
}

static void hugepages_read(const struct cgroups *c, const char *path, struct cgroup_metrics *m)
{
        const struct hierarchy *h = hierarchy_of(c, "hugetlb");
        _cleanup_(closedirp) DIR *dir = h ? opendir("/sys/kernel/mm/hugepages") : NULL;
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
                struct cgroup_hugepage_use use;
                char usage[64], most[64];
                if (!page_size_name(entry->d_name, use.page_size, sizeof(use.page_size)))
                        continue;
                bool v2 = cgroups_is_v2(c);
                (void) snprintf(usage, sizeof(usage), "hugetlb.%s.%s", use.page_size,
                                v2 ? "current" : "usage_in_bytes");
                (void) snprintf(most, sizeof(most), "hugetlb.%s.max_usage_in_bytes", use.page_size);
                use.usage_bytes = number_if(h, path, usage);
                use.max_usage_bytes = v2 ? CGROUP_UNKNOWN : number_if(h, path, most); /* v2 keeps none */
                if (use.usage_bytes == CGROUP_UNKNOWN)
                        continue;
                m->hugepages = grow_array(m->hugepages, m->n_hugepages + 1, sizeof(*m->hugepages));
                m->hugepages[m->n_hugepages++] = use;
        }
}

static void v1_cpu(const struct cgroups *c, const char *path, struct cgroup_metrics *m)
{
        const struct hierarchy *h = hierarchy_of(c, "cpuacct");
        char text[TEXT_BYTES] = "";
        uint64_t tick_ns = NS_A_SECOND / (uint64_t) sysconf(_SC_CLK_TCK);
        m->cpu_usage_ns = number_if(h, path, "cpuacct.usage");
        text_if(h, path, "cpuacct.stat", text, sizeof(text));
        m->cpu_user_ns = scaled(cgroup_figure(text, "user"), tick_ns);
        m->cpu_system_ns = scaled(cgroup_figure(text, "system"), tick_ns);
        text_if(hierarchy_of(c, "cpu"), path, "cpu.stat", text, sizeof(text));
        m->cfs_periods = cgroup_figure(text, "nr_periods");
        m->cfs_throttled_periods = cgroup_figure(text, "nr_throttled");
        m->cfs_throttled_ns = cgroup_figure(text, "throttled_time");
}

static void v1_read(const struct cgroups *c, const char *path, struct cgroup_metrics *m)
{
        const struct hierarchy *memory = hierarchy_of(c, "memory"), *pids = hierarchy_of(c, "pids");
        char text[TEXT_BYTES] = "";
        v1_cpu(c, path, m);
        m->memory_usage_bytes = number_if(memory, path, "memory.usage_in_bytes");
        m->memory_max_usage_bytes = number_if(memory, path, "memory.max_usage_in_bytes");
        m->memory_failures = number_if(memory, path, "memory.failcnt");
        m->memory_kernel_bytes = number_if(memory, path, "memory.kmem.usage_in_bytes");
        text_if(memory, path, "memory.oom_control", text, sizeof(text));
        m->oom_kills = cgroup_figure(text, "oom_kill");
        text_if(memory, path, "memory.stat", text, sizeof(text));
        cgroup_memory_stat_parse(text, false, m);
        m->threads = number_if(pids, path, "pids.current");
        m->threads_max = threads_max(pids, path);
}

static void pressure_if(const struct hierarchy *h, const char *path, const char *file,
                        struct cgroup_pressure *out)
{
        char text[256];
        text_if(h, path, file, text, sizeof(text));
        cgroup_pressure_parse(text, out);
}

static void v2_read(const struct cgroups *c, const char *path, struct cgroup_metrics *m)
{
        const struct hierarchy *h = &c->hierarchies[0];
        char text[TEXT_BYTES] = "";
        text_if(h, path, "cpu.stat", text, sizeof(text));
        m->cpu_usage_ns = scaled(cgroup_figure(text, "usage_usec"), NS_A_US);
        m->cpu_user_ns = scaled(cgroup_figure(text, "user_usec"), NS_A_US);
        m->cpu_system_ns = scaled(cgroup_figure(text, "system_usec"), NS_A_US);
        m->cfs_periods = cgroup_figure(text, "nr_periods");
        m->cfs_throttled_periods = cgroup_figure(text, "nr_throttled");
        m->cfs_throttled_ns = scaled(cgroup_figure(text, "throttled_usec"), NS_A_US);
        m->memory_usage_bytes = number_if(h, path, "memory.current");
        m->memory_max_usage_bytes = number_if(h, path, "memory.peak");
        m->memory_swap_bytes = number_if(h, path, "memory.swap.current");
        text_if(h, path, "memory.events", text, sizeof(text));
        m->memory_failures = cgroup_figure(text, "max");
        m->oom_kills = cgroup_figure(text, "oom_kill");
        text_if(h, path, "memory.stat", text, sizeof(text));
        if (*text)
                cgroup_memory_stat_parse(text, true, m);
        m->threads = number_if(h, path, "pids.current");
        m->threads_max = threads_max(h, path);
        pressure_if(h, path, "cpu.pressure", &m->cpu_pressure);
        pressure_if(h, path, "memory.pressure", &m->memory_pressure);
        pressure_if(h, path, "io.pressure", &m->io_pressure);
}

struct error *cgroup_find(const struct cgroups *c, const char *path, const char **out)
{
        struct stat st;
        TRY(cgroup_path_check(path, out));
        if (fstatat(c->hierarchies[0].fd, *out, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(errno, "look at %s/%s", c->hierarchies[0].mount, *out);
        return NULL;
}

struct error *cgroup_metrics(struct cgroups *c, const char *path, struct cgroup_metrics *out)
{
        struct cgroup_metrics m;
        const char *below;
        memset(&m, 0xff, offsetof(struct cgroup_metrics, cpu_pressure)); /* every figure is unknown */
        memset(&m.cpu_pressure, 0, sizeof(m) - offsetof(struct cgroup_metrics, cpu_pressure));
        TRY(cgroup_find(c, path, &below));
        if (cgroups_is_v2(c))
                v2_read(c, below, &m);
        else
                v1_read(c, below, &m);
        io_read(c, below, &m);
        hugepages_read(c, below, &m);
        *out = m;
        return NULL;
}

void cgroup_metrics_done(struct cgroup_metrics *m)
{
        freep(&m->devices);
        freep(&m->hugepages);
}
