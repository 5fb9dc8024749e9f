#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const struct container_device usual[] = {
        { .path = (char *) "/dev/null", .type = 'c', .major = 1, .minor = 3, .mode = 0666 },
        { .path = (char *) "/dev/zero", .type = 'c', .major = 1, .minor = 5, .mode = 0666 },
        { .path = (char *) "/dev/full", .type = 'c', .major = 1, .minor = 7, .mode = 0666 },
        { .path = (char *) "/dev/random", .type = 'c', .major = 1, .minor = 8, .mode = 0666 },
        { .path = (char *) "/dev/urandom", .type = 'c', .major = 1, .minor = 9, .mode = 0666 },
        { .path = (char *) "/dev/tty", .type = 'c', .major = 5, .minor = 0, .mode = 0666 },
};

static const char *const links[][2] = {
        { "/proc/self/fd", "fd" },       { "/proc/self/fd/0", "stdin" }, { "/proc/self/fd/1", "stdout" },
        { "/proc/self/fd/2", "stderr" }, { "/proc/kcore", "core" },      { "pts/ptmx", "ptmx" },
};

/* The directory that holds path, made where absent; *name is its last part. */
static int parent_open(const char *path, const char **name)
{
        char dir[4096];
        const char *slash = strrchr(path, '/');
        size_t len_bytes = slash ? (size_t) (slash - path) : 0;
        if (!slash || len_bytes >= sizeof(dir) || !slash[1]) {
                errno = EINVAL;
                return -1;
        }
        memcpy(dir, path, len_bytes);
        dir[len_bytes] = '\0';
        *name = slash + 1;
        return child_target_open(*dir ? dir : "/", 0, 0755);
}

/* The same by another name of the spec's; or one of the links that /dev has. */
static bool is_there(int dir_fd, const char *name, mode_t type, const struct container_device *d)
{
        struct stat st;
        bool same = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    (S_ISLNK(st.st_mode) || ((st.st_mode & S_IFMT) == type &&
                                             (type == S_IFIFO || st.st_rdev == makedev(d->major, d->minor))));
        errno = EEXIST;
        return same;
}

/* is_of_host: in a user namespace what we make is its root's, and a disk of the host must not be. */
static int node_make(int dir_fd, const char *name, const struct container_device *d, bool is_of_host)
{
        mode_t type = d->type == 'b' ? S_IFBLK : d->type == 'p' ? S_IFIFO : S_IFCHR;
        if (mknodat(dir_fd, name, type | (d->mode & 07777), makedev(d->major, d->minor)) < 0)
                return errno == EEXIST && is_there(dir_fd, name, type, d) ? 0 : -1;
        return d->uid || d->gid || is_of_host ? fchownat(dir_fd, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW)
                                              : 0;
}

static int device_make(const struct container_device *d, bool is_of_host)
{
        const char *name;
        int dir_fd = parent_open(d->path, &name);
        if (dir_fd < 0)
                return -1;
        int rc = node_make(dir_fd, name, d, is_of_host), saved = errno;
        (void) close(dir_fd);
        errno = saved;
        return rc;
}

static bool is_in_dev(const struct container_device *d)
{
        return strncmp(d->path, "/dev/", 5) == 0;
}

/* The name of a device right in /dev, or NULL for one that lies deeper. */
static const char *name_in_dev(const struct container_device *d)
{
        return strchr(d->path + 5, '/') ? NULL : d->path + 5;
}

/* There already: who asks for all of the host's devices asks for these too. */
static bool is_usual(const struct container_device *d)
{
        for (size_t i = 0; i < LENGTH(usual); i++)
                if (strcmp(usual[i].path, d->path) == 0 && usual[i].major == d->major &&
                    usual[i].minor == d->minor)
                        return true;
        return false;
}

void child_dev_fill(const struct child *child)
{
        const struct container_spec *spec = &child->message->spec;
        const bool is_of_host = child->pod->userns_fd >= 0;
        int dev_fd = sys_openat2(AT_FDCWD, "/dev", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
        if (dev_fd < 0)
                child_fail(child, STAGE_DEVICE, UINT32_MAX);
        for (size_t i = 0; i < LENGTH(usual); i++)
                if (node_make(dev_fd, name_in_dev(&usual[i]), &usual[i], false) < 0)
                        child_fail(child, STAGE_DEVICE, UINT32_MAX);
        for (size_t i = 0; i < LENGTH(links); i++)
                if (symlinkat(links[i][0], dev_fd, links[i][1]) < 0 && errno != EEXIST)
                        child_fail(child, STAGE_DEVICE, UINT32_MAX);
        for (size_t i = 0; i < spec->n_devices; i++) {
                const struct container_device *d = &spec->devices[i];
                const char *name = is_in_dev(d) ? name_in_dev(d) : NULL;
                if (is_in_dev(d) && !is_usual(d) &&
                    (name && *name ? node_make(dev_fd, name, d, is_of_host) : device_make(d, is_of_host)) < 0)
                        child_fail(child, STAGE_DEVICE, i);
        }
        (void) close(dev_fd);
}

void child_devices_elsewhere(const struct child *child)
{
        const struct container_spec *spec = &child->message->spec;
        for (size_t i = 0; i < spec->n_devices; i++)
                if (!is_in_dev(&spec->devices[i]) &&
                    device_make(&spec->devices[i], child->pod->userns_fd >= 0) < 0)
                        child_fail(child, STAGE_DEVICE, i);
}
