/* ROOT/rootfs/D/ID/volumes/HEX is what a container writes to a volume that its image declares (HEX of the path in it): upper
 * and work of an overlay over what the image has there. So the volume has the image's content and owner without a copy, can
 * be written to under a read-only root, and goes with the rootfs. */
#include "base/digest.h"
#include "base/file.h"
#include "images/seams.h"
#include "images/store.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static struct error *make_parts(int home_fd, const char *name, int *dir_fd, int *upper_fd, int *work_fd)
{
        static const char *const parts[] = { "upper", "work", "nothing" };
        TRY(file_mkdirs(home_fd, name, 0700));
        TRY(file_open_beneath(home_fd, name, O_RDONLY | O_DIRECTORY, 0, dir_fd));
        for (size_t i = 0; i < LENGTH(parts); i++)
                TRY(file_mkdirs(*dir_fd, parts[i], 0755));
        TRY(file_open_beneath(*dir_fd, "upper", O_RDONLY | O_DIRECTORY, 0, upper_fd));
        return file_open_beneath(*dir_fd, "work", O_RDONLY | O_DIRECTORY, 0, work_fd);
}

/* What the image has at path, topmost first, with an empty directory last. The array is the caller's to close. */
static struct error *open_content(struct images *images, const struct rootfs *rootfs, const char *path,
                                  int dir_fd, int *fds, size_t *n)
{
        bool hides = false;
        for (size_t i = rootfs->n; i > 0 && !hides; i--) {
                _cleanup_(closep) int mapped_fd = -1;
                int layer_fd = -1;
                bool is_opaque = false;
                size_t looked_at = 0;
                if (rootfs->map)
                        TRY(layer_lower_below(images->layers, rootfs->layers[i - 1], rootfs->map->layers_fd,
                                              &mapped_fd, &is_opaque));
                else
                        TRY(layer_lower(images->layers, rootfs->layers[i - 1], &layer_fd, &is_opaque));
                int fd = layer_open(rootfs->map ? mapped_fd : layer_fd, path, is_opaque, &hides, &looked_at);
                if (fd >= 0)
                        fds[(*n)++] = fd;
        }
        TRY(file_open_beneath(dir_fd, "nothing", O_PATH | O_DIRECTORY, 0, &fds[*n]));
        ++*n;
        return NULL;
}

/* Whom the volume belongs to: whoever the image says, with the container's ids; what the image does not have, to the root of
 * the container's user namespace. */
static struct error *give_to_owner(const struct rootfs_map *map, const int *fds, size_t n, int upper_fd)
{
        struct stat st;
        if (fstat(fds[0], &st) < 0)
                return error_errno(errno, "look at the image's volume");
        uint32_t uid = n > 1 ? st.st_uid : 0, gid = n > 1 ? st.st_gid : 0;
        if (map && (n == 1 || map->userns_fd >= 0)) { /* else they were read with the map's ids */
                uid += map->owner;
                gid += map->owner;
        }
        if (fchown(upper_fd, uid, gid) < 0 || fchmod(upper_fd, st.st_mode & 07777) < 0)
                return error_errno(errno, "give it the image's owner and mode");
        return NULL;
}

static struct error *mount_over(const struct rootfs *rootfs, const int *fds, size_t n, int upper_fd,
                                int work_fd, int *out_fd)
{
        const struct rootfs_map *map = rootfs->map;
        TRY(give_to_owner(map, fds, n, upper_fd));
        TRY(rootfs_forget_volatile(work_fd));
        return layers_overlay(map, fds, n, upper_fd, work_fd, true, rootfs->context, out_fd);
}

static struct error *mount_volume(struct images *images, const struct rootfs *rootfs, const char *path,
                                  int *out_fd)
{
        _cleanup_(closep) int home_fd = -1, dir_fd = -1, upper_fd = -1, work_fd = -1;
        _cleanup_(freep) int *fds = NEW_ARRAY(int, rootfs->n + 1);
        char digest_text[DIGEST_TEXT_SIZE];
        struct digest digest;
        size_t n = 0;
        digest_of(path, strlen(path), &digest);
        digest_format(&digest, digest_text);
        _cleanup_(freep) char *name = format_string("volumes/%.32s", digest_text + strlen("sha256:"));
        TRY(file_open_beneath(rootfs_home(images->rootfs, rootfs->id), rootfs->id, O_RDONLY | O_DIRECTORY, 0,
                              &home_fd));
        TRY(make_parts(home_fd, name, &dir_fd, &upper_fd, &work_fd));
        struct error *e = open_content(images, rootfs, path, dir_fd, fds, &n);
        if (!e)
                e = mount_over(rootfs, fds, n, upper_fd, work_fd, out_fd);
        for (size_t i = 0; i < n; i++)
                closep(&fds[i]);
        return e;
}

static bool has_file(struct images *images, const struct rootfs *rootfs, const char *path)
{
        bool hides = false;
        for (size_t i = rootfs->n; i > 0 && !hides; i--) {
                struct stat st;
                size_t looked_at = 0;
                bool is_opaque = false;
                int layer_fd = -1;
                struct error *e = layer_lower(images->layers, rootfs->layers[i - 1], &layer_fd, &is_opaque);
                if (e) {
                        error_ignore(e); /* the mount tells */
                        return false;
                }
                _cleanup_(closep) int fd = layer_open(layer_fd, path, is_opaque, &hides, &looked_at);
                if (fd >= 0)
                        return false;
                if (hides && fstatat(layer_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        return S_ISREG(st.st_mode);
        }
        return false;
}

bool rootfs_has_file(struct images *images, const char *container_id, const char *path)
{
        (void) pthread_mutex_lock(&images->rootfs->lock);
        const struct rootfs *rootfs = rootfs_find(images->rootfs, container_id);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        return rootfs && !rootfs->is_broken && *path == '/' && has_file(images, rootfs, path + 1);
}

/* As rootfs_mount: a rootfs is used and removed by one at a time. */
struct error *rootfs_volume_mount(struct images *images, const char *container_id, const char *path,
                                  int *out_fd)
{
        (void) pthread_mutex_lock(&images->rootfs->lock);
        const struct rootfs *rootfs = rootfs_find(images->rootfs, container_id);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        if (!rootfs || rootfs->is_broken || *path != '/')
                return error_new(ERROR_INTERNAL, "volume %s: no rootfs of %s", path, container_id);
        TRY_WRAP(mount_volume(images, rootfs, path + 1, out_fd), "volume %s", path);
        return NULL;
}
