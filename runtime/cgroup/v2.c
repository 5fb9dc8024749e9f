/* cgroup v2: one hierarchy. A cgroup that has processes has no controllers below it, so skiff-pod and infra are in a leaf
 * of their own, beside the containers'. */
#include "runtime/cgroup/cgroup_internal.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 8192

/* The controllers that limits and stats need, handed down from the parent. One at a time: one that is missing, or in use
 * by a v1 hierarchy, must not keep the others away. */
static struct error *v2_prepare(struct cgroups *c, const char *path)
{
        if (cgroup_has_file(&c->hierarchies[0], path, "memory.max") &&
            cgroup_has_file(&c->hierarchies[0], path, "pids.max"))
                return NULL; /* handed down already: nothing to write on the way of a container's start */
        static const char *const controllers[] = { "+cpu", "+cpuset", "+memory", "+pids", "+hugetlb", "+io" };
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *parent = slash ? dup_bytes(path, (size_t) (slash - path)) : dup_string(".");
        for (size_t i = 0; i < LENGTH(controllers); i++)
                error_ignore(
                        cgroup_put(&c->hierarchies[0], parent, "cgroup.subtree_control", controllers[i]));
        return NULL;
}

static void add_or_max(struct cgroups *c, const char *file, int64_t value, struct settings *out)
{
        if (value < 0)
                settings_add(out, &c->hierarchies[0], file, "max");
        else if (value > 0)
                settings_add_number(out, &c->hierarchies[0], file, value);
}

/* A period without a quota leaves the quota that there is; a quota without a period the period, which the kernel does by
 * itself. */
static struct error *cpu_max(const struct hierarchy *h, const char *path, const struct cgroup_limits *l,
                             bool in_use, struct settings *out)
{
        char quota[TEXT_BYTES] = "max";
        if (l->cpu_quota_us > 0)
                (void) snprintf(quota, sizeof(quota), "%lld", (long long) l->cpu_quota_us);
        else if (l->cpu_quota_us == 0 && in_use)
                TRY(cgroup_read(h, path, "cpu.max", quota, sizeof(quota)));
        quota[strcspn(quota, " \n")] = '\0';
        _cleanup_(freep) char *text = l->cpu_period_us
                                              ? format_string("%s %lld", quota, (long long) l->cpu_period_us)
                                              : dup_string(quota);
        settings_add(out, h, "cpu.max", text);
        return NULL;
}

static struct error *cpu_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l,
                                bool in_use, struct settings *out)
{
        const struct hierarchy *h = &c->hierarchies[0];
        if (l->cpuset_cpus && *l->cpuset_cpus)
                settings_add(out, h, "cpuset.cpus", l->cpuset_cpus);
        if (l->cpuset_mems && *l->cpuset_mems)
                settings_add(out, h, "cpuset.mems", l->cpuset_mems);
        if (l->cpu_quota_us || l->cpu_period_us)
                TRY(cpu_max(h, path, l, in_use, out));
        if (l->cpu_shares)
                settings_add_number(out, h, "cpu.weight", (int64_t) cgroup_weight_of_shares(l->cpu_shares));
        return NULL;
}

/* The kernel would take it, and kill for it. Pages of files that were not used of late it lets go first. */
static struct error *check_use(const struct hierarchy *h, const char *path, int64_t limit_bytes)
{
        char text[TEXT_BYTES];
        uint64_t used_bytes;
        TRY(cgroup_number(h, path, "memory.current", &used_bytes));
        if (limit_bytes < 0 || used_bytes <= (uint64_t) limit_bytes)
                return NULL;
        TRY(cgroup_read(h, path, "memory.stat", text, sizeof(text)));
        uint64_t idle_bytes = cgroup_keyed(text, "inactive_file");
        used_bytes = used_bytes > idle_bytes ? used_bytes - idle_bytes : 0;
        if (used_bytes > (uint64_t) limit_bytes)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "memory.max: %llu bytes are in use, more than the new limit of %lld",
                                 (unsigned long long) used_bytes, (long long) limit_bytes);
        return NULL;
}

static struct error *memory_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l,
                                   bool in_use, struct settings *out)
{
        const struct hierarchy *h = &c->hierarchies[0];
        int64_t memory_bytes = l->memory_limit_bytes, swap_bytes;
        if (in_use && memory_bytes)
                TRY(check_use(h, path, memory_bytes));
        add_or_max(c, "memory.max", memory_bytes, out);
        if (!l->memory_swap_limit_bytes || !cgroup_has_file(h, path, "memory.swap.max"))
                return NULL;
        if (!memory_bytes && in_use) { /* of the limit that there is */
                uint64_t limit_bytes;
                TRY(cgroup_limit_read(h, path, "memory.max", &limit_bytes));
                memory_bytes = limit_bytes == CGROUP_NO_LIMIT ? -1 : (int64_t) limit_bytes;
        }
        TRY(cgroup_swap_of(memory_bytes, l->memory_swap_limit_bytes, &swap_bytes));
        if (swap_bytes < 0)
                settings_add(out, h, "memory.swap.max", "max");
        else
                settings_add_number(out, h, "memory.swap.max", swap_bytes);
        return NULL;
}

/* What is in use, and what is only reserved, where the kernel counts that (5.7): as in v1.c. */
static void hugepage_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l,
                            struct settings *out)
{
        const struct hierarchy *h = &c->hierarchies[0];
        for (size_t i = 0; i < l->n_hugepages; i++) {
                int64_t limit_bytes = (int64_t) l->hugepages[i].limit_bytes;
                _cleanup_(freep) char *used = format_string("hugetlb.%s.max", l->hugepages[i].page_size);
                _cleanup_(freep) char *reserved =
                        format_string("hugetlb.%s.rsvd.max", l->hugepages[i].page_size);
                if (limit_bytes == 0 && !cgroup_has_file(h, path, used))
                        continue; /* none may be used, and none can be */
                settings_add_number(out, h, used, limit_bytes);
                if (cgroup_has_file(h, path, reserved))
                        settings_add_number(out, h, reserved, limit_bytes);
        }
}

/* A key is a file of a controller's in the cgroup's own directory: no way out of it, and none of the files by which
 * processes are moved, frozen and killed. */
static struct error *unified_add(struct cgroups *c, const char *path, const struct cgroup_unified *u,
                                 bool in_use, struct settings *out)
{
        if (!u->key || !*u->key || strchr(u->key, '/') || strncmp(u->key, "cgroup.", 7) == 0 ||
            strcmp(u->key, "memory.reclaim") == 0 || !strchr(u->key, '.'))
                return error_new(ERROR_INVALID_ARGUMENT, "unified cgroup setting \"%s\" is not one",
                                 u->key ? u->key : "");
        if (!u->value || !*u->value)
                return error_new(ERROR_INVALID_ARGUMENT, "unified cgroup setting \"%s\" has no value",
                                 u->key);
        if (in_use && strcmp(u->key, "memory.max") == 0 && strspn(u->value, "0123456789") == strlen(u->value))
                TRY(check_use(&c->hierarchies[0], path, strtoll(u->value, NULL, 10)));
        settings_add(out, &c->hierarchies[0], u->key, u->value);
        return NULL;
}

/* --- whether the kernel has what is asked for --- */

static bool has_controller(const struct hierarchy *h, const char *path, const char *controller)
{
        char text[TEXT_BYTES], *rest = text;
        bool has = false;
        struct error *e = cgroup_read(h, path, "cgroup.controllers", text, sizeof(text));
        for (char *word; !e && !has && (word = strsep(&rest, " \n"));)
                has = strcmp(word, controller) == 0;
        error_ignore(e); /* it is not there, and has none */
        return has;
}

/* v2_prepare gives what every container needs; of the rest a level may have kept something for itself. */
static void hand_down(const struct hierarchy *h, const char *path, const char *controller)
{
        _cleanup_(freep) char *part = dup_string(path), *word = format_string("+%s", controller);
        error_ignore(cgroup_put(h, ".", "cgroup.subtree_control", word));
        for (char *slash = part; (slash = strchr(slash, '/')); slash++) {
                *slash = '\0';
                error_ignore(cgroup_put(h, part, "cgroup.subtree_control", word));
                *slash = '/';
        }
}

/* What is missing: the controller, here or on this host, or the setting. */
static struct error *check_file(const struct hierarchy *h, const char *path, const char *file)
{
        static const char *const known[] = { "cpu",    "cpuset", "dmem", "hugetlb", "io",
                                             "memory", "misc",   "pids", "rdma",    "perf_event" };
        char controller[32];
        bool is_known = false;
        if (cgroup_has_file(h, path, file))
                return NULL;
        (void) snprintf(controller, sizeof(controller), "%.*s", (int) strcspn(file, "."), file);
        for (size_t i = 0; i < LENGTH(known); i++)
                is_known = is_known || strcmp(known[i], controller) == 0;
        if (is_known && !has_controller(h, ".", controller))
                return error_new(ERROR_FAILED_PRECONDITION, "%s: this host has no cgroup controller %s", file,
                                 controller);
        if (is_known && !has_controller(h, path, controller))
                hand_down(h, path, controller);
        if (cgroup_has_file(h, path, file))
                return NULL;
        if (is_known && !has_controller(h, path, controller))
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "%s: the cgroup above does not hand down the controller %s", file,
                                 controller);
        return error_new(ERROR_INVALID_ARGUMENT, "%s: the kernel has no such cgroup setting", file);
}

/* What is said by the kernel's own names comes last, and so counts. */
static struct error *v2_limits(struct cgroups *c, const char *path, const struct cgroup_limits *l,
                               bool in_use, struct settings *out)
{
        TRY(cpu_limits(c, path, l, in_use, out));
        TRY(memory_limits(c, path, l, in_use, out));
        add_or_max(c, "pids.max", l->pids_limit, out);
        hugepage_limits(c, path, l, out);
        for (size_t i = 0; i < l->n_unified; i++)
                TRY(unified_add(c, path, &l->unified[i], in_use, out));
        for (size_t i = 0; i < out->n; i++)
                TRY(check_file(out->list[i].h, path, out->list[i].file));
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
        if (!cgroup_has_file(h, path, "memory.current"))
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
        out->has_swap = cgroup_has_file(h, path, "memory.swap.current");
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
        out->has_pids = cgroup_has_file(h, path, "pids.current");
        if (out->has_pids)
                TRY(cgroup_number(h, path, "pids.current", &out->pids));
        pressure_read(h, path, "cpu.pressure", &out->cpu_pressure);
        pressure_read(h, path, "memory.pressure", &out->memory_pressure);
        pressure_read(h, path, "io.pressure", &out->io_pressure);
        return memory_stats(h, path, out);
}

const struct cgroup_driver cgroup_v2_driver = { .is_v2 = true,
                                                .prepare = v2_prepare,
                                                .limits = v2_limits,
                                                .devices = v2_devices,
                                                .entry = v2_entry,
                                                .stats = v2_stats,
                                                .oom_controller = "memory",
                                                .oom_file = "memory.events" };
