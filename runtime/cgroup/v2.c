/* cgroup v2: one hierarchy. A cgroup that has processes has no controllers below it, so skiff-pod and infra are in a leaf
 * of their own, beside the containers'. */
#include "runtime/cgroup/cgroup_internal.h"
#include <fcntl.h>
#include <string.h>

#define TEXT_BYTES 8192

static bool has_file(const struct hierarchy *h, const char *path, const char *file)
{
        _cleanup_(freep) char *name = format_string("%s/%s", path, file);
        return faccessat(h->fd, name, F_OK, 0) == 0;
}

/* The controllers that limits and stats need, handed down from the parent. One at a time: one that is missing, or in use
 * by a v1 hierarchy, must not keep the others away. */
static struct error *v2_prepare(struct cgroups *c, const char *path)
{
        if (has_file(&c->hierarchies[0], path, "memory.max") &&
            has_file(&c->hierarchies[0], path, "pids.max"))
                return NULL; /* handed down already: nothing to write on the way of a container's start */
        static const char *const controllers[] = { "+cpu", "+cpuset", "+memory", "+pids", "+hugetlb", "+io" };
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *parent = slash ? dup_bytes(path, (size_t) (slash - path)) : dup_string(".");
        for (size_t i = 0; i < LENGTH(controllers); i++)
                error_ignore(
                        cgroup_put(&c->hierarchies[0], parent, "cgroup.subtree_control", controllers[i]));
        return NULL;
}

static struct error *put_or_max(struct cgroups *c, const char *path, const char *file, int64_t value)
{
        if (value == 0)
                return NULL;
        if (value < 0)
                return cgroup_put(&c->hierarchies[0], path, file, "max");
        return cgroup_put_number(&c->hierarchies[0], path, file, value);
}

static struct error *cpu_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l)
{
        const struct hierarchy *h = &c->hierarchies[0];
        if (l->cpu_shares)
                TRY(cgroup_put_number(h, path, "cpu.weight",
                                      (int64_t) cgroup_weight_of_shares(l->cpu_shares)));
        if (l->cpu_quota_us || l->cpu_period_us) {
                int64_t period_us = l->cpu_period_us ? l->cpu_period_us : 100000;
                _cleanup_(freep) char *text =
                        l->cpu_quota_us > 0 ? format_string("%lld %lld", (long long) l->cpu_quota_us,
                                                            (long long) period_us)
                                            : format_string("max %lld", (long long) period_us);
                TRY(cgroup_put(h, path, "cpu.max", text));
        }
        if (l->cpuset_cpus && *l->cpuset_cpus)
                TRY(cgroup_put(h, path, "cpuset.cpus", l->cpuset_cpus));
        if (l->cpuset_mems && *l->cpuset_mems)
                TRY(cgroup_put(h, path, "cpuset.mems", l->cpuset_mems));
        return NULL;
}

static struct error *memory_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l)
{
        const struct hierarchy *h = &c->hierarchies[0];
        TRY(put_or_max(c, path, "memory.max", l->memory_limit_bytes));
        if (!l->memory_swap_limit_bytes || !has_file(h, path, "memory.swap.max"))
                return NULL;
        int64_t swap_bytes;
        TRY(cgroup_swap_of(l->memory_limit_bytes, l->memory_swap_limit_bytes, &swap_bytes));
        if (swap_bytes < 0)
                return cgroup_put(h, path, "memory.swap.max", "max");
        return cgroup_put_number(h, path, "memory.swap.max", swap_bytes);
}

static struct error *hugepage_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l)
{
        const struct hierarchy *h = &c->hierarchies[0];
        for (size_t i = 0; i < l->n_hugepages; i++) {
                _cleanup_(freep) char *file = format_string("hugetlb.%s.max", l->hugepages[i].page_size);
                if (l->hugepages[i].limit_bytes == 0 && !has_file(h, path, file))
                        continue; /* none may be used, and none can be */
                TRY(cgroup_put_number(h, path, file, (int64_t) l->hugepages[i].limit_bytes));
        }
        return NULL;
}

/* A key is a file of the cgroup's own: no way out of its directory. */
static struct error *unified_put(struct cgroups *c, const char *path, const struct cgroup_unified *u)
{
        if (!u->key || !*u->key || strchr(u->key, '/') || strcmp(u->key, "cgroup.procs") == 0 ||
            strcmp(u->key, "cgroup.threads") == 0 || !strchr(u->key, '.'))
                return error_new(ERROR_INVALID_ARGUMENT, "unified cgroup setting \"%s\" is not one",
                                 u->key ? u->key : "");
        return cgroup_put(&c->hierarchies[0], path, u->key, u->value ? u->value : "");
}

static struct error *v2_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l)
{
        TRY(cpu_limits(c, path, l));
        TRY(memory_limits(c, path, l));
        TRY(put_or_max(c, path, "pids.max", l->pids_limit));
        TRY(hugepage_limits(c, path, l));
        for (size_t i = 0; i < l->n_unified; i++)
                TRY(unified_put(c, path, &l->unified[i]));
        return NULL;
}

static struct error *v2_entry(struct cgroups *c, const char *path, enum cgroup_kind kind,
                              struct cgroup_entry *out)
{
        (void) kind; /* one hierarchy: the same for both */
        int fd = openat(c->hierarchies[0].fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_errno(errno, "open %s/%s", c->hierarchies[0].mount, path);
        out->is_v2_directory = true;
        out->fds[out->n++] = fd;
        return NULL;
}

static struct error *v2_devices(struct cgroups *c, const char *path, const struct device_rule *rules,
                                size_t n, bool allow_all)
{
        if (allow_all)
                return NULL;
        size_t n_all = n + cgroup_n_device_defaults;
        _cleanup_(freep) struct device_rule *all = NEW_ARRAY(struct device_rule, n_all);
        memcpy(all, cgroup_device_defaults, cgroup_n_device_defaults * sizeof(*all));
        if (n)
                memcpy(all + cgroup_n_device_defaults, rules, n * sizeof(*all));
        _cleanup_(closep) int fd =
                openat(c->hierarchies[0].fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_errno(errno, "open %s/%s", c->hierarchies[0].mount, path);
        return device_bpf_attach(fd, all, n_all);
}

static struct error *memory_stats(const struct hierarchy *h, const char *path, struct cgroup_stats *out)
{
        char text[TEXT_BYTES];
        if (!has_file(h, path, "memory.current"))
                return NULL;
        TRY(cgroup_number(h, path, "memory.current", &out->memory_usage_bytes));
        TRY(cgroup_read(h, path, "memory.stat", text, sizeof(text)));
        uint64_t inactive_bytes = cgroup_keyed(text, "inactive_file");
        out->memory_working_set_bytes =
                out->memory_usage_bytes > inactive_bytes ? out->memory_usage_bytes - inactive_bytes : 0;
        out->memory_rss_bytes = cgroup_keyed(text, "anon");
        out->page_faults = cgroup_keyed(text, "pgfault");
        out->major_page_faults = cgroup_keyed(text, "pgmajfault");
        TRY(cgroup_limit_read(h, path, "memory.max", &out->memory_limit_bytes));
        out->has_memory = true;
        out->has_swap = has_file(h, path, "memory.swap.current");
        if (!out->has_swap)
                return NULL;
        TRY(cgroup_number(h, path, "memory.swap.current", &out->swap_usage_bytes));
        return cgroup_limit_read(h, path, "memory.swap.max", &out->swap_limit_bytes);
}

/* A kernel without PSI has no such file, or refuses to read it. */
static void pressure_read(const struct hierarchy *h, const char *path, const char *file,
                          struct cgroup_pressure *out)
{
        char text[256];
        struct error *e = cgroup_read(h, path, file, text, sizeof(text));
        if (!e)
                cgroup_pressure_parse(text, out);
        error_ignore(e);
}

static struct error *v2_stats(struct cgroups *c, const char *path, struct cgroup_stats *out)
{
        const struct hierarchy *h = &c->hierarchies[0];
        char text[TEXT_BYTES];
        TRY(cgroup_read(h, path, "cpu.stat", text, sizeof(text)));
        out->cpu_usage_ns = cgroup_keyed(text, "usage_usec") * 1000;
        out->has_cpu = true;
        out->has_pids = has_file(h, path, "pids.current");
        if (out->has_pids)
                TRY(cgroup_number(h, path, "pids.current", &out->pids));
        pressure_read(h, path, "cpu.pressure", &out->cpu_pressure);
        pressure_read(h, path, "memory.pressure", &out->memory_pressure);
        pressure_read(h, path, "io.pressure", &out->io_pressure);
        return memory_stats(h, path, out);
}

const struct cgroup_driver cgroup_v2_driver = { .prepare = v2_prepare,
                                                .limits = v2_limits,
                                                .devices = v2_devices,
                                                .entry = v2_entry,
                                                .stats = v2_stats,
                                                .oom_controller = "memory",
                                                .oom_file = "memory.events" };
