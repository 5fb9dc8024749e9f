/* What is mounted in a container: the kernel's own filesystems, what CRI asks for, the pod's files. */
#include "base/file.h"
#include "images/images.h"
#include "pods/spec/mount_options.h"
#include "pods/spec/spec.h"
#include "pods/spec/userns.h"
#include "pods/spec/volumes.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static struct container_mount *mount_add(struct container_spec *spec, enum mount_kind kind,
                                         const char *target)
{
        spec->mounts = grow_array(spec->mounts, spec->n_mounts + 1, sizeof(*spec->mounts));
        struct container_mount *m = &spec->mounts[spec->n_mounts++];
        *m = (struct container_mount){ .kind = kind, .target = dup_string(target), .source_fd = -1 };
        return m;
}

struct container_mount *spec_replace_mount(struct container_spec *spec, enum mount_kind kind,
                                           const char *target)
{
        size_t kept = 0;
        for (size_t i = 0; i < spec->n_mounts; i++) {
                if (strcmp(spec->mounts[i].target, target) == 0)
                        container_mount_done(&spec->mounts[i]);
                else
                        spec->mounts[kept++] = spec->mounts[i];
        }
        spec->n_mounts = kept;
        return mount_add(spec, kind, target);
}

char *spec_path_clean(const char *path)
{
        char *clean = NEW_ARRAY(char, strlen(path) + 2);
        size_t n = 0;
        while (*(path += strspn(path, "/"))) {
                size_t len_bytes = strcspn(path, "/");
                if (len_bytes == 2 && path[0] == '.' && path[1] == '.') {
                        while (n && clean[--n] != '/')
                                ;
                } else if (len_bytes != 1 || path[0] != '.') {
                        clean[n++] = '/';
                        memcpy(clean + n, path, len_bytes);
                        n += len_bytes;
                }
                path += len_bytes;
        }
        if (n == 0)
                clean[n++] = '/';
        clean[n] = '\0';
        return clean;
}

static bool is_asked(const struct spec_source *s, const char *target)
{
        for (size_t i = 0; i < s->config->n_mounts; i++) {
                _cleanup_(freep) char *path = spec_path_clean(s->config->mounts[i]->container_path);
                if (strcmp(path, target) == 0)
                        return true;
        }
        return false;
}

static bool is_volume(const Cri__Mount *mount)
{
        return mount->image && *mount->image->image;
}

/* What the client mounts that target lies in, the innermost, or NULL; *rest is the way from there, with its slash. */
static const Cri__Mount *asked_above(const struct spec_source *s, const char *target, const char **rest)
{
        const Cri__Mount *above = NULL;
        size_t above_bytes = 0;
        for (size_t i = 0; i < s->config->n_mounts; i++) {
                _cleanup_(freep) char *path = spec_path_clean(s->config->mounts[i]->container_path);
                size_t len_bytes = strlen(path);
                if (len_bytes <= above_bytes || strncmp(path, target, len_bytes) != 0 ||
                    target[len_bytes] != '/')
                        continue;
                above = s->config->mounts[i];
                above_bytes = len_bytes;
                *rest = target + len_bytes;
        }
        return above;
}

static bool is_shared(const Cri__Mount *mount)
{
        return !is_volume(mount) && mount->propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
}

/* A kernel's filesystem of ours belongs on top of a client's directory too: of the host's /sys a container sees its own
 * cgroups alone, of the host's /dev it has its own terminals and the pod's shm. But not where it would be mounted on the
 * host as well, nor where a directory would have to be made for it. */
static bool is_wanted(const struct spec_source *s, const char *target)
{
        const char *rest = "";
        struct stat st;
        if (is_asked(s, target))
                return false;
        const Cri__Mount *above = asked_above(s, target, &rest);
        if (!above)
                return true;
        if (is_volume(above) || is_shared(above))
                return false;
        _cleanup_(freep) char *path = format_string("%s%s", above->host_path, rest);
        return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void add_kernel_mounts(struct spec_source *s)
{
        static const struct {
                enum mount_kind kind;
                const char *target, *data;
                bool noexec, nodev, readonly;
        } standard[] = {
                { MOUNT_PROC, "/proc", NULL, true, true, false },
                { MOUNT_TMPFS, "/dev", "mode=755,size=65536k", true, false, false },
                { MOUNT_DEVPTS, "/dev/pts", NULL, true, false, false },
                { MOUNT_MQUEUE, "/dev/mqueue", NULL, true, true, false },
                { MOUNT_SHM, "/dev/shm", NULL, true, true, false },
                { MOUNT_SYSFS, "/sys", NULL, true, true, true },
                { MOUNT_CGROUP, "/sys/fs/cgroup", NULL, true, true, true },
        };
        for (size_t i = 0; i < LENGTH(standard); i++) {
                if (!is_wanted(s, standard[i].target))
                        continue;
                struct container_mount *m = mount_add(s->spec, standard[i].kind, standard[i].target);
                m->data = dup_string(standard[i].data);
                m->nosuid = true;
                m->noexec = standard[i].noexec;
                m->nodev = standard[i].nodev;
                m->readonly = standard[i].readonly && !s->security->privileged;
        }
}

/* kubelet does not look at a hostPath volume without a type, and other runtimes make what is not there a directory. */
static struct error *check_source(const Cri__Mount *mount, size_t i)
{
        struct stat st;
        if (stat(mount->host_path, &st) == 0)
                return NULL;
        struct error *e = errno == ENOENT ? file_mkdirs(AT_FDCWD, mount->host_path, 0755)
                                          : error_errno(errno, "%s", mount->host_path);
        return e ? error_as(error_wrap(e, "config.mounts[%zu].host_path", i), ERROR_INVALID_ARGUMENT) : NULL;
}

/* The exceptions inside /proc are what lxcfs gives. */
struct error *spec_check_target(const char *container_path, const char *host_path)
{
        static const char *const harmless[] = { "cpuinfo",
                                                "diskstats",
                                                "meminfo",
                                                "stat",
                                                "swaps",
                                                "uptime",
                                                "loadavg",
                                                "slabinfo",
                                                "net/dev",
                                                "sys/kernel/ns_last_pid",
                                                "sys/crypto/fips_enabled" };
        _cleanup_(freep) char *target = spec_path_clean(container_path);
        struct statfs fs;
        if (strcmp(target, "/") == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "the root cannot be mounted over");
        if (strcmp(target, "/proc") == 0 &&
            (!host_path || statfs(host_path, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC))
                return error_new(ERROR_INVALID_ARGUMENT, "only a procfs can be mounted at /proc");
        if (strncmp(target, "/proc/", 6) != 0)
                return NULL;
        for (size_t j = 0; j < LENGTH(harmless); j++)
                if (strcmp(target + 6, harmless[j]) == 0)
                        return NULL;
        return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" lies inside /proc", container_path);
}

static struct error *check_mount(const Cri__Mount *mount, size_t i)
{
        if (*mount->container_path != '/')
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].container_path: \"%s\" is not absolute", i,
                                 mount->container_path);
        TRY_WRAP(spec_check_target(mount->container_path, mount->host_path),
                 "config.mounts[%zu].container_path", i);
        TRY_WRAP(mount_options_check(mount), "config.mounts[%zu].mount_options", i);
        if (is_volume(mount)) /* checked when its image was found */
                return NULL;
        if (*mount->image_sub_path)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].image_sub_path: there is no image", i);
        if (*mount->host_path != '/')
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].host_path: \"%s\" is not absolute", i, mount->host_path);
        if (mount->propagation > CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].propagation: %d is no propagation", i,
                                 (int) mount->propagation);
        if (mount->recursive_read_only &&
            (!mount->readonly || mount->propagation != CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE))
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "config.mounts[%zu].recursive_read_only: wants readonly and private propagation", i);
        return NULL;
}

static void add_asked(struct spec_source *s, const Cri__Mount *mount)
{
        static const enum mount_propagation propagations[] = {
                [CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE] = MOUNT_PRIVATE,
                [CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER] = MOUNT_SLAVE,
                [CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL] = MOUNT_SHARED,
        };
        _cleanup_(freep) char *target = spec_path_clean(mount->container_path);
        struct container_mount *m = mount_add(s->spec, MOUNT_BIND, target);
        m->readonly = mount->readonly;
        mount_options_add(m, mount);
        if (is_volume(mount)) {
                m->image_id = dup_string(mount->image->image_ref);
                m->data = dup_string(mount->image_sub_path);
                m->nosuid = m->nodev = true;
                return;
        }
        m->host_path = dup_string(mount->host_path);
        m->idmapped = mount->n_uidmappings > 0;
        m->recursive_readonly = mount->recursive_read_only;
        m->propagation = propagations[mount->propagation];
}

static size_t depth_of(const char *path)
{
        size_t depth = 0;
        for (const char *c = path; *c; c++)
                depth += *c == '/' && c[1];
        return depth;
}

/* A mount comes after the one that it lies in, whatever order they were asked in; equals keep their order. */
void spec_sort_mounts(struct container_spec *spec)
{
        struct container_mount *mounts = spec->mounts;
        for (size_t i = 1; i < spec->n_mounts; i++)
                for (size_t j = i; j > 0 && depth_of(mounts[j].target) < depth_of(mounts[j - 1].target);
                     j--) {
                        struct container_mount swapped = mounts[j];
                        mounts[j] = mounts[j - 1];
                        mounts[j - 1] = swapped;
                }
}

/* The pod's own files, unless CRI mounts something there or around. /etc/hosts is kubelet's to give; on the host's network without
 * one the host's is the right one. */
static void add_pod_files(struct spec_source *s)
{
        const struct sandbox *pod = s->container->pod;
        static const char *const files[][2] = { { "/etc/resolv.conf", "resolv.conf" },
                                                { "/etc/hostname", "hostname" } };
        const char *rest;
        for (size_t i = 0; i < LENGTH(files); i++) {
                if (is_asked(s, files[i][0]) || asked_above(s, files[i][0], &rest))
                        continue;
                struct container_mount *m = mount_add(s->spec, MOUNT_BIND, files[i][0]);
                m->host_path = format_string("%s/pods/%s/%s", s->node->state, pod->id, files[i][1]);
                m->readonly = s->security->readonly_rootfs;
        }
        if (pod->host_network && !is_asked(s, "/etc/hosts") && !asked_above(s, "/etc/hosts", &rest) &&
            access("/etc/hosts", R_OK) == 0) {
                struct container_mount *m = mount_add(s->spec, MOUNT_BIND, "/etc/hosts");
                m->host_path = dup_string("/etc/hosts");
                m->readonly = true;
        }
}

/* A mask in what is mounted on the host too would be a mask there. */
static void drop_shared(const struct spec_source *s, char **paths)
{
        size_t n = 0;
        for (char **path = paths; *path; path++) {
                const char *rest;
                const Cri__Mount *above = asked_above(s, *path, &rest);
                if (above && is_shared(above))
                        free(*path);
                else
                        paths[n++] = *path;
        }
        paths[n] = NULL;
}

static bool has_mount(const struct container_spec *spec, const char *target)
{
        for (size_t i = 0; i < spec->n_mounts; i++)
                if (strcmp(spec->mounts[i].target, target) == 0)
                        return true;
        return false;
}

/* What the image declares, but where the client mounts something of its own there or above, where the pod has its own files,
 * where the kernel's filesystems are, and what is a file. */
static bool is_volume_wanted(const struct spec_source *s, const char *target)
{
        static const char *const kernels[] = { "/proc", "/sys", "/dev" };
        const char *rest = NULL;
        for (size_t i = 0; i < LENGTH(kernels); i++) {
                size_t n = strlen(kernels[i]);
                if (strncmp(target, kernels[i], n) == 0 && (target[n] == '/' || target[n] == '\0'))
                        return false;
        }
        if (!target[1] || is_asked(s, target) || asked_above(s, target, &rest) || has_mount(s->spec, target))
                return false;
        return !rootfs_has_file(s->container->pod->node->config.images, s->container->id, target);
}

static void add_image_volumes(struct spec_source *s)
{
        for (char *const *volume = s->image->volumes; *volume; volume++) {
                _cleanup_(freep) char *target = spec_path_clean(*volume);
                if (!is_volume_wanted(s, target))
                        continue;
                struct container_mount *m = mount_add(s->spec, MOUNT_BIND, target);
                m->image_id = format_string(VOLUME_OF_IMAGE "%s", target);
        }
}

struct error *spec_add_mounts(struct spec_source *s)
{
        /* What is built again after a restart is for an exec: a source that has gone since is none of its business. */
        for (size_t i = 0; i < s->config->n_mounts; i++) {
                TRY(check_mount(s->config->mounts[i], i));
                TRY(userns_check_mount(s->config->mounts[i], i, &s->container->pod->userns));
                if (s->container->state == CONTAINER_MAKING && !is_volume(s->config->mounts[i]))
                        TRY(check_source(s->config->mounts[i], i));
        }
        add_kernel_mounts(s);
        add_pod_files(s);
        add_image_volumes(s);
        for (size_t i = 0; i < s->config->n_mounts; i++)
                add_asked(s, s->config->mounts[i]);
        spec_sort_mounts(s->spec);
        drop_shared(s, s->spec->masked_paths);
        drop_shared(s, s->spec->readonly_paths);
        return NULL;
}
