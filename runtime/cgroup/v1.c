/* cgroup v1: one hierarchy a controller (or several mounted together), each with its own directory for a cgroup. */
#include "runtime/cgroup/cgroup_internal.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define TEXT_BYTES 4096

/* A new cpuset has no cpus and no memory nodes, and no process may enter it until it has both. */
static struct error *cpuset_inherit(const struct hierarchy *h, const char *path, const char *file)
{
        char text[TEXT_BYTES];
        TRY(cgroup_read(h, path, file, text, sizeof(text)));
        if (text[0] && text[0] != '\n')
                return NULL;
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *parent = slash ? dup_bytes(path, (size_t) (slash - path)) : dup_string(".");
        TRY(cgroup_read(h, parent, file, text, sizeof(text)));
        if (!text[0] || text[0] == '\n') /* as if it were not there: who makes the levels begins at the top */
                return error_errno(ENOENT, "%s of cgroup %s", file, parent);
        return cgroup_put(h, path, file, text);
}

/* A cpuset that is born with its parent's cpus costs nothing. One that is given them makes the kernel build its scheduling
 * domains anew, over all cpusets: 0.1 ms each, and more with every pod. Where the parent will not have it (the host's own
 * rules for it), v1_prepare does the rest. */
static void v1_announce(struct cgroups *c, const char *path)
{
        const struct hierarchy *h = hierarchy_of(c, "cpuset");
        const char *slash = strrchr(path, '/');
        if (!h || !slash)
                return; /* children of the root are rare, and the root is not ours to set up */
        _cleanup_(freep) char *parent = dup_bytes(path, (size_t) (slash - path));
        error_ignore(cgroup_put(h, parent, "cgroup.clone_children", "1"));
}

static struct error *v1_prepare(struct cgroups *c, const char *path)
{
        const struct hierarchy *h = hierarchy_of(c, "cpuset");
        if (!h)
                return NULL;
        TRY(cpuset_inherit(h, path, "cpuset.cpus"));
        return cpuset_inherit(h, path, "cpuset.mems");
}

/* Where the value is asked for. A controller that this host does not have is an error only then. */
static struct error *add_if(struct cgroups *c, const char *controller, const char *file, int64_t value,
                            struct settings *out)
{
        if (value == 0)
                return NULL;
        const struct hierarchy *h = hierarchy_of(c, controller);
        if (!h)
                return error_new(ERROR_FAILED_PRECONDITION, "this host has no cgroup controller %s",
                                 controller);
        settings_add_number(out, h, file, value);
        return NULL;
}

static struct error *add_cpuset(struct cgroups *c, const char *file, const char *value, struct settings *out)
{
        if (!value || !*value)
                return NULL;
        const struct hierarchy *h = hierarchy_of(c, "cpuset");
        if (!h)
                return error_new(ERROR_FAILED_PRECONDITION, "this host has no cgroup controller cpuset");
        settings_add(out, h, file, value);
        return NULL;
}

static struct error *cpu_limits(struct cgroups *c, const struct cgroup_limits *l, struct settings *out)
{
        TRY(add_cpuset(c, "cpuset.cpus", l->cpuset_cpus, out));
        TRY(add_cpuset(c, "cpuset.mems", l->cpuset_mems, out));
        /* A quota that does not fit the old period, or a period the old quota, is refused: so the quota is lifted,
         * then both are set. */
        if (l->cpu_period_us && l->cpu_quota_us)
                TRY(add_if(c, "cpu", "cpu.cfs_quota_us", -1, out));
        TRY(add_if(c, "cpu", "cpu.cfs_period_us", l->cpu_period_us, out));
        TRY(add_if(c, "cpu", "cpu.cfs_quota_us", l->cpu_quota_us, out));
        return add_if(c, "cpu", "cpu.shares", l->cpu_shares, out);
}

/* Whether memory+swap grows: then it must do so before memory, of which it may never be less. In a new cgroup it can only
 * shrink. */
static struct error *swap_grows(const struct hierarchy *h, const char *path, int64_t swap_bytes, bool in_use,
                                bool *out)
{
        uint64_t before_bytes;
        *out = false;
        if (!in_use)
                return NULL;
        TRY(cgroup_number(h, path, "memory.memsw.limit_in_bytes", &before_bytes));
        *out = swap_bytes < 0 || (uint64_t) swap_bytes > before_bytes;
        return NULL;
}

static struct error *memory_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l,
                                   bool in_use, struct settings *out)
{
        static const char memory[] = "memory.limit_in_bytes", swap[] = "memory.memsw.limit_in_bytes";
        const struct hierarchy *h = hierarchy_of(c, "memory");
        int64_t memory_bytes = l->memory_limit_bytes, swap_bytes = l->memory_swap_limit_bytes;
        if (swap_bytes > 0 && (memory_bytes > swap_bytes || memory_bytes < 0))
                return error_new(ERROR_INVALID_ARGUMENT, "memory and swap together are less than memory");
        /* Without swap accounting there is no such file, and memory alone is limited: as much as the host can do. */
        bool both = swap_bytes && (!h || cgroup_has_file(h, path, swap)), swap_first = false;
        if (both && h)
                TRY(swap_grows(h, path, swap_bytes, in_use, &swap_first));
        if (both && swap_first)
                TRY(add_if(c, "memory", swap, swap_bytes, out));
        TRY(add_if(c, "memory", memory, memory_bytes, out));
        return both && !swap_first ? add_if(c, "memory", swap, swap_bytes, out) : NULL;
}

/* What is in use, and, where the kernel counts that (5.7), what is only reserved: a mapping that was not touched yet must
 * not take another's pages. */
static struct error *hugepage_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l,
                                     struct settings *out)
{
        const struct hierarchy *h = hierarchy_of(c, "hugetlb");
        for (size_t i = 0; i < l->n_hugepages; i++) {
                int64_t limit_bytes = (int64_t) l->hugepages[i].limit_bytes;
                if (!h && limit_bytes == 0)
                        continue; /* none may be used, and none can be */
                if (!h)
                        return error_new(ERROR_FAILED_PRECONDITION,
                                         "this host has no cgroup controller hugetlb");
                _cleanup_(freep) char *used =
                        format_string("hugetlb.%s.limit_in_bytes", l->hugepages[i].page_size);
                _cleanup_(freep) char *reserved =
                        format_string("hugetlb.%s.rsvd.limit_in_bytes", l->hugepages[i].page_size);
                settings_add_number(out, h, used, limit_bytes);
                if (cgroup_has_file(h, path, reserved))
                        settings_add_number(out, h, reserved, limit_bytes);
        }
        return NULL;
}

static struct error *pids_limits(struct cgroups *c, const struct cgroup_limits *l, struct settings *out)
{
        const struct hierarchy *h = hierarchy_of(c, "pids");
        if (l->pids_limit >= 0 || !h)
                return add_if(c, "pids", "pids.max", l->pids_limit, out);
        settings_add(out, h, "pids.max", "max");
        return NULL;
}

static struct error *v1_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l,
                               bool in_use, struct settings *out)
{
        if (l->n_unified)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "unified cgroup settings need cgroup v2; this host has v1");
        TRY(cpu_limits(c, l, out));
        TRY(memory_limits(c, path, l, in_use, out));
        TRY(pids_limits(c, l, out));
        return hugepage_limits(c, path, l, out);
}

/* What follows "devices.allow" or "devices.deny": "c 1:3 rwm". */
static struct error *device_write(int fd, const struct device_rule *rule)
{
        char major[24] = "*", minor[24] = "*", text[64];
        if (rule->major >= 0)
                (void) snprintf(major, sizeof(major), "%lld", (long long) rule->major);
        if (rule->minor >= 0)
                (void) snprintf(minor, sizeof(minor), "%lld", (long long) rule->minor);
        int n = snprintf(text, sizeof(text), "%c %s:%s %s%s%s", rule->type, major, minor,
                         rule->read ? "r" : "", rule->write ? "w" : "", rule->mknod ? "m" : "");
        if (write(fd, text, (size_t) n) != n)
                return error_errno(errno, "write \"%s\"", text);
        return NULL;
}

/* In order: what a rule denies, a later one may allow. fds: of devices.allow and devices.deny. */
static struct error *device_rules_write(const int fds[2], const struct device_rule *rules, size_t n)
{
        for (size_t i = 0; i < n; i++)
                TRY(device_write(fds[rules[i].allow ? 0 : 1], &rules[i]));
        return NULL;
}

static struct error *v1_devices(struct cgroups *c, const char *path, const struct device_rule *rules,
                                size_t n, bool allow_all)
{
        _cleanup_(closep) int allow_fd = -1, deny_fd = -1;
        const struct hierarchy *h = hierarchy_of(c, "devices");
        if (!h)
                return error_new(ERROR_FAILED_PRECONDITION, "this host has no cgroup controller devices, so "
                                                            "devices cannot be kept from a container");
        if (allow_all)
                return cgroup_put(h, path, "devices.allow", "a");
        TRY(cgroup_open(h, path, "devices.allow", O_WRONLY, &allow_fd));
        TRY(cgroup_open(h, path, "devices.deny", O_WRONLY, &deny_fd));
        if (write(deny_fd, "a", 1) != 1)
                return error_errno(errno, "deny all in %s/%s/devices.deny", h->mount, path);
        const int fds[] = { allow_fd, deny_fd };
        TRY(device_rules_write(fds, cgroup_device_defaults, cgroup_n_device_defaults));
        return device_rules_write(fds, rules, n);
}

static struct error *v1_entry(struct cgroups *c, const char *path, enum cgroup_kind kind,
                              struct cgroup_entry *out)
{
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *parent = slash ? dup_bytes(path, (size_t) (slash - path)) : dup_string(".");
        for (size_t i = 0; i < c->n; i++) {
                const struct hierarchy *h = &c->hierarchies[i];
                bool own = kind == CGROUP_CONTAINER || h->has_sandboxes;
                TRY(cgroup_open(h, own ? path : parent, "tasks", O_WRONLY, &out->fds[out->n]));
                out->n++;
        }
        return NULL;
}

static struct error *memory_stats(const struct hierarchy *h, const char *path, struct cgroup_stats *out)
{
        char text[TEXT_BYTES];
        if (!h)
                return NULL;
        TRY(cgroup_number(h, path, "memory.usage_in_bytes", &out->memory_usage_bytes));
        TRY(cgroup_read(h, path, "memory.stat", text, sizeof(text)));
        uint64_t inactive_bytes = cgroup_keyed(text, "total_inactive_file");
        out->memory_working_set_bytes =
                out->memory_usage_bytes > inactive_bytes ? out->memory_usage_bytes - inactive_bytes : 0;
        out->memory_rss_bytes = cgroup_keyed(text, "total_rss");
        out->page_faults = cgroup_keyed(text, "total_pgfault");
        out->major_page_faults = cgroup_keyed(text, "total_pgmajfault");
        TRY(cgroup_limit_read(h, path, "memory.limit_in_bytes", &out->memory_limit_bytes));
        out->has_memory = true;
        out->has_swap = cgroup_has_file(h, path, "memory.memsw.limit_in_bytes");
        if (!out->has_swap)
                return NULL;
        uint64_t both_bytes;
        out->swap_usage_bytes = cgroup_keyed(text, "total_swap");
        TRY(cgroup_limit_read(h, path, "memory.memsw.limit_in_bytes", &both_bytes));
        if (both_bytes != CGROUP_NO_LIMIT && out->memory_limit_bytes != CGROUP_NO_LIMIT)
                out->swap_limit_bytes = both_bytes - out->memory_limit_bytes;
        return NULL;
}

static struct error *v1_stats(struct cgroups *c, const char *path, struct cgroup_stats *out)
{
        const struct hierarchy *cpu = hierarchy_of(c, "cpuacct"), *pids = hierarchy_of(c, "pids");
        if (cpu)
                TRY(cgroup_number(cpu, path, "cpuacct.usage", &out->cpu_usage_ns));
        out->has_cpu = cpu != NULL;
        if (pids)
                TRY(cgroup_number(pids, path, "pids.current", &out->pids));
        out->has_pids = pids != NULL;
        return memory_stats(hierarchy_of(c, "memory"), path, out);
}

const struct cgroup_driver cgroup_v1_driver = { .announce = v1_announce,
                                                .prepare = v1_prepare,
                                                .limits = v1_limits,
                                                .devices = v1_devices,
                                                .entry = v1_entry,
                                                .stats = v1_stats,
                                                .oom_controller = "memory",
                                                .oom_file = "memory.oom_control" };
