/* What a container may use: cgroup limits and devices. */
#include "pods/spec/spec.h"
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DEVICE_DIRECTORY_DEPTH 8
#define CPU_TIME_MIN_US 1000
#define CPU_PERIOD_MAX_US 1000000
#define MEMORY_MIN_BYTES (512 << 10) /* in half of it a small static program can still start */

const Cri__LinuxContainerResources *spec_resources_of(const struct container *c)
{
        static const Cri__LinuxContainerResources none = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        if (c->resources)
                return c->resources;
        return c->config->linux && c->config->linux->resources ? c->config->linux->resources : &none;
}

/* "0-2,7". The kernel takes more ("0,,1"), and means by it what nobody meant. */
static struct error *check_list(const char *field, const char *list)
{
        const char *at = list;
        while (*at) {
                unsigned first = 0, last = 0;
                int n = 0, n_range = 0;
                if (*at >= '0' && *at <= '9' && sscanf(at, "%5u%n", &first, &n) == 1 && at[n] == '-' &&
                    at[n + 1] >= '0' && at[n + 1] <= '9' && sscanf(at + n, "-%5u%n", &last, &n_range) == 1 &&
                    last >= first)
                        n += n_range;
                at += n;
                if (!n || (*at && *at != ',') || (*at && !at[1]))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "resources.%s: \"%.40s\" is no list like 0-2,7", field, list);
                at += *at == ',';
        }
        return NULL;
}

/* What cannot be, whatever the host has. Source: Documentation/scheduler/sched-bwc.rst. */
static struct error *check_values(const Cri__LinuxContainerResources *r)
{
        const struct {
                const char *field;
                int64_t value, least;
        } numbers[] = { { "cpu_period", r->cpu_period, 0 },
                        { "cpu_shares", r->cpu_shares, 0 },
                        { "cpu_quota", r->cpu_quota, -1 },
                        { "memory_limit_in_bytes", r->memory_limit_in_bytes, -1 },
                        { "memory_swap_limit_in_bytes", r->memory_swap_limit_in_bytes, -1 } };
        for (size_t i = 0; i < LENGTH(numbers); i++)
                if (numbers[i].value < numbers[i].least)
                        return error_new(ERROR_INVALID_ARGUMENT, "resources.%s: %lld is less than %lld",
                                         numbers[i].field, (long long) numbers[i].value,
                                         (long long) numbers[i].least);
        if (r->cpu_period && (r->cpu_period < CPU_TIME_MIN_US || r->cpu_period > CPU_PERIOD_MAX_US))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "resources.cpu_period: %lld is not from 1000 to 1000000 (microseconds)",
                                 (long long) r->cpu_period);
        if (r->cpu_quota > 0 && r->cpu_quota < CPU_TIME_MIN_US)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "resources.cpu_quota: %lld is less than 1000 (microseconds)",
                                 (long long) r->cpu_quota);
        if (r->memory_limit_in_bytes && r->memory_swap_limit_in_bytes > 0 &&
            (r->memory_limit_in_bytes < 0 || r->memory_limit_in_bytes > r->memory_swap_limit_in_bytes))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "resources.memory_swap_limit_in_bytes: memory and swap"
                                 " together are less than memory");
        if (r->oom_score_adj < -1000 || r->oom_score_adj > 1000)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "resources.oom_score_adj: %lld is not from -1000 to 1000",
                                 (long long) r->oom_score_adj);
        TRY(check_list("cpuset_cpus", r->cpuset_cpus));
        return check_list("cpuset_mems", r->cpuset_mems);
}

struct error *spec_check_least(const Cri__LinuxContainerResources *r)
{
        if (r->memory_limit_in_bytes <= 0 || r->memory_limit_in_bytes >= MEMORY_MIN_BYTES)
                return NULL;
        return error_new(ERROR_INVALID_ARGUMENT,
                         "resources.memory_limit_in_bytes: in %lld nothing can start; %d is the least",
                         (long long) r->memory_limit_in_bytes, MEMORY_MIN_BYTES);
}

struct error *spec_limits(const Cri__LinuxContainerResources *r, struct cgroup_limits *out)
{
        *out = (struct cgroup_limits){ .cpu_period_us = r->cpu_period,
                                       .cpu_quota_us = r->cpu_quota,
                                       .cpu_shares = r->cpu_shares,
                                       .cpuset_cpus = r->cpuset_cpus,
                                       .cpuset_mems = r->cpuset_mems,
                                       .memory_limit_bytes = r->memory_limit_in_bytes,
                                       .memory_swap_limit_bytes = r->memory_swap_limit_in_bytes };
        TRY(check_values(r));
        /* A limit of memory alone would let the rest go to swap without end: both are limited, as by other runtimes. */
        if (!out->memory_swap_limit_bytes)
                out->memory_swap_limit_bytes = out->memory_limit_bytes;
        for (size_t i = 0; i < r->n_hugepage_limits; i++) /* a name that is part of a file's */
                if (strspn(r->hugepage_limits[i]->page_size, "0123456789KMGB") !=
                            strlen(r->hugepage_limits[i]->page_size) ||
                    r->hugepage_limits[i]->limit > INT64_MAX)
                        return error_new(
                                ERROR_INVALID_ARGUMENT,
                                "resources.hugepage_limits: \"%.40s\" is no page size, or its limit no limit",
                                r->hugepage_limits[i]->page_size);
        struct cgroup_hugepage_limit *hugepages =
                NEW_ARRAY(struct cgroup_hugepage_limit, r->n_hugepage_limits);
        for (size_t i = 0; i < r->n_hugepage_limits; i++)
                hugepages[i] = (struct cgroup_hugepage_limit){ r->hugepage_limits[i]->page_size,
                                                               r->hugepage_limits[i]->limit };
        struct cgroup_unified *unified = NEW_ARRAY(struct cgroup_unified, r->n_unified);
        for (size_t i = 0; i < r->n_unified; i++)
                unified[i] = (struct cgroup_unified){ r->unified[i]->key, r->unified[i]->value };
        out->hugepages = hugepages;
        out->n_hugepages = r->n_hugepage_limits;
        out->unified = unified;
        out->n_unified = r->n_unified;
        return NULL;
}

/* Neither is built, and both other runtimes refuse a class that they cannot give (one passes over blockio's). A key of a pod
 * says it for all of its containers, or, with a name at its end, for one. */
static struct error *check_class(const char *key, const char *value, const char *container_key,
                                 const char *pod_prefix, const char *container_name)
{
        size_t prefix_bytes = strlen(pod_prefix);
        bool is_meant = strcmp(key, container_key) == 0;
        if (strncmp(key, pod_prefix, prefix_bytes) == 0) {
                const char *of = key + prefix_bytes;
                is_meant = strcmp(of, "pod") == 0 ||
                           (strncmp(of, "container.", 10) == 0 && strcmp(of + 10, container_name) == 0);
        }
        if (!is_meant || !*value)
                return NULL;
        return error_new(ERROR_INVALID_ARGUMENT,
                         "annotation %s: the class \"%.80s\" cannot be given; skiff has no %s classes", key,
                         value, strncmp(pod_prefix, "rdt", 3) == 0 ? "RDT" : "blockio");
}

static struct error *check_classes(const char *key, const char *value, const char *container_name)
{
        TRY(check_class(key, value, "io.kubernetes.cri.rdt-class", "rdt.resources.beta.kubernetes.io/",
                        container_name));
        return check_class(key, value, "io.kubernetes.cri.blockio-class",
                           "blockio.resources.beta.kubernetes.io/", container_name);
}

struct error *spec_check_classes(const struct spec_source *s)
{
        const Cri__PodSandboxConfig *pod = s->container->pod->config;
        const char *name = s->config->metadata ? s->config->metadata->name : "";
        for (size_t i = 0; i < s->config->n_annotations; i++)
                TRY(check_classes(s->config->annotations[i]->key, s->config->annotations[i]->value, name));
        for (size_t i = 0; i < pod->n_annotations; i++)
                TRY(check_classes(pod->annotations[i]->key, pod->annotations[i]->value, name));
        return NULL;
}

void spec_limits_done(struct cgroup_limits *limits)
{
        free((void *) (uintptr_t) limits->hugepages);
        free((void *) (uintptr_t) limits->unified);
        *limits = (struct cgroup_limits){ 0 };
}

static void rule_add(struct container_spec *spec, struct device_rule rule)
{
        spec->device_rules = grow_array(spec->device_rules, spec->n_device_rules + 1, sizeof(rule));
        spec->device_rules[spec->n_device_rules++] = rule;
}

static void devices_append(struct container_spec *spec, struct container_device device)
{
        spec->devices = grow_array(spec->devices, spec->n_devices + 1, sizeof(device));
        spec->devices[spec->n_devices++] = device;
}

/* The nodes that every container has; that it may use them cgroup_devices sees to. */
static void add_standard_devices(struct container_spec *spec)
{
        static const struct {
                const char *path;
                uint32_t major, minor;
        } standard[] = { { "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
                         { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 } };
        for (size_t i = 0; i < LENGTH(standard); i++) {
                devices_append(spec, (struct container_device){ .path = dup_string(standard[i].path),
                                                                .type = 'c',
                                                                .major = standard[i].major,
                                                                .minor = standard[i].minor,
                                                                .mode = 0666 });
        }
}

static void permit(struct container_spec *spec, const struct container_device *d, const char *permissions)
{
        rule_add(spec,
                 (struct device_rule){ true, d->type, d->major, d->minor, strchr(permissions, 'r') != NULL,
                                       strchr(permissions, 'w') != NULL, strchr(permissions, 'm') != NULL });
}

void spec_replace_device(struct container_spec *spec, const struct container_device *device,
                         const char *permissions)
{
        size_t kept = 0;
        for (size_t i = 0; i < spec->n_devices; i++) {
                if (strcmp(spec->devices[i].path, device->path) == 0)
                        free(spec->devices[i].path);
                else
                        spec->devices[kept++] = spec->devices[i];
        }
        spec->n_devices = kept;
        devices_append(spec, *device);
        if (device->type != 'p' && *permissions)
                permit(spec, device, permissions);
}

/* Of a device in the container where it is not the host's node's: 0 is that. */
struct owner {
        uint32_t uid, gid;
};

static void device_add(struct container_spec *spec, const char *container_path, const struct stat *st,
                       const char *permissions, const struct owner *owner)
{
        for (size_t i = 0; i < spec->n_devices; i++)
                if (strcmp(spec->devices[i].path, container_path) == 0)
                        return;
        struct container_device device = { .path = dup_string(container_path),
                                           .type = S_ISBLK(st->st_mode) ? 'b' : 'c',
                                           .major = major(st->st_rdev),
                                           .minor = minor(st->st_rdev),
                                           .mode = st->st_mode & 0777,
                                           .uid = owner->uid ? owner->uid : st->st_uid,
                                           .gid = owner->gid ? owner->gid : st->st_gid };
        devices_append(spec, device);
        permit(spec, &device, permissions);
}

static bool is_device(const struct stat *st)
{
        return S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode);
}

/* Every device below a directory. What has a place of its own in a container is left out. */
static void devices_below(struct container_spec *spec, const char *host_path, const char *container_path,
                          const char *permissions, const struct owner *owner, int depth)
{
        static const char *const own[] = {
                "pts", "shm", "mqueue", "fd", "console", "ptmx", ".", "..", ".lxc"
        };
        _cleanup_(closedirp) DIR *dir = opendir(host_path);
        for (struct dirent *entry; dir && depth > 0 && (entry = readdir(dir));) {
                bool skipped = false;
                for (size_t i = 0; i < LENGTH(own); i++)
                        skipped = skipped || strcmp(entry->d_name, own[i]) == 0;
                _cleanup_(freep) char *below = format_string("%s/%s", host_path, entry->d_name);
                _cleanup_(freep) char *target = format_string("%s/%s", container_path, entry->d_name);
                struct stat st;
                if (skipped || lstat(below, &st) < 0)
                        continue;
                if (S_ISDIR(st.st_mode))
                        devices_below(spec, below, target, permissions, owner, depth - 1);
                else if (is_device(&st))
                        device_add(spec, target, &st, permissions, owner);
        }
}

/* The user and group that the container is asked to run as, where the node is set up so: others may not use most devices. */
static struct owner owner_of(const struct spec_source *s)
{
        const Cri__Int64Value *user = s->security->run_as_user, *group = s->security->run_as_group;
        const struct userns_range *range = &s->container->pod->userns;
        uint32_t base = range->length ? range->base : 0; /* there the host's owner is nobody, root too */
        if (!atomic_load(&s->node->settings.device_ownership))
                return (struct owner){ 0, 0 };
        return (struct owner){ base + (user ? (uint32_t) user->value : 0), /* checked with the process */
                               base + (group ? (uint32_t) group->value : 0) };
}

static struct error *add_asked(struct spec_source *s, size_t i)
{
        const struct owner owner = owner_of(s);
        const Cri__Device *device = s->config->devices[i];
        const char *target = *device->container_path ? device->container_path : device->host_path;
        struct stat st;
        if (*device->host_path != '/' || *target != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "config.devices[%zu]: paths must be absolute", i);
        if (!*device->permissions || strspn(device->permissions, "rwm") != strlen(device->permissions))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.devices[%zu].permissions: \"%s\" is not made of r, w and m", i,
                                 device->permissions);
        if (stat(device->host_path, &st) < 0)
                return error_new(ERROR_INVALID_ARGUMENT, "config.devices[%zu].host_path: %s: %s", i,
                                 device->host_path, strerror(errno));
        if (S_ISDIR(st.st_mode))
                devices_below(s->spec, device->host_path, target, device->permissions, &owner,
                              DEVICE_DIRECTORY_DEPTH);
        else if (is_device(&st))
                device_add(s->spec, target, &st, device->permissions, &owner);
        else
                return error_new(ERROR_INVALID_ARGUMENT, "config.devices[%zu].host_path: %s is no device", i,
                                 device->host_path);
        return NULL;
}

struct error *spec_add_devices(struct spec_source *s)
{
        const struct owner of_host = { .uid = 0 };
        s->spec->all_devices = s->security->privileged;
        add_standard_devices(s->spec);
        if (s->security->privileged)
                devices_below(s->spec, "/dev", "/dev", "rwm", &of_host, DEVICE_DIRECTORY_DEPTH);
        for (size_t i = 0; i < s->config->n_devices; i++)
                TRY(add_asked(s, i));
        return NULL;
}
