#include "base/file.h"
#include "base/mount.h"
#include "images/store.h"
#include <fcntl.h>

static void map_free(struct rootfs_map *map)
{
        if (!map)
                return;
        closep(&map->mount_points_fd);
        closep(&map->layers_fd);
        closep(&map->userns_fd);
        closep(&map->root_fd); /* last: the others are in this mount only as long as it is open */
        free(map);
}
DEFINE_FREEP(struct rootfs_map, map_free)

static struct error *map_make(struct images *images, int userns_fd, uint32_t owner, struct rootfs_map **out)
{
        _cleanup_(map_freep) struct rootfs_map *map = NEW(struct rootfs_map);
        *map = (struct rootfs_map){
                .root_fd = -1, .layers_fd = -1, .mount_points_fd = -1, .userns_fd = -1, .owner = owner
        };
        if (images->maps_attached) {
                map->userns_fd = fcntl(userns_fd, F_DUPFD_CLOEXEC, 3);
                if (map->userns_fd < 0)
                        return error_errno(errno, "keep a user namespace");
                *out = TAKE(map);
                return NULL;
        }
        TRY(mount_clone(images->root_fd, "", false, &map->root_fd));
        struct error *e = mount_idmap(map->root_fd, userns_fd, false);
        if (e)
                return error_as(error_wrap(e, "the filesystem of the image store"),
                                ERROR_FAILED_PRECONDITION);
        TRY(file_open_beneath(map->root_fd, "layers", O_RDONLY | O_DIRECTORY, 0, &map->layers_fd));
        TRY(file_open_beneath(map->root_fd, "mount-points", O_RDONLY | O_DIRECTORY, 0,
                              &map->mount_points_fd));
        *out = TAKE(map);
        return NULL;
}

/* As rootfs_mount: a rootfs is used and removed by one at a time. */
static struct rootfs *rootfs_of(struct images *images, const char *id)
{
        (void) pthread_mutex_lock(&images->rootfs->lock);
        struct rootfs *rootfs = rootfs_find(images->rootfs, id);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        return rootfs;
}

struct error *rootfs_map(struct images *images, const char *container_id, int userns_fd, uint32_t owner)
{
        struct rootfs *rootfs = rootfs_of(images, container_id);
        if (!rootfs)
                return error_new(ERROR_INTERNAL, "rootfs of %s: there is none", container_id);
        rootfs_unmap(images, container_id);
        TRY_WRAP(map_make(images, userns_fd, owner, &rootfs->map), "rootfs of %s", container_id);
        return NULL;
}

void rootfs_unmap(struct images *images, const char *container_id)
{
        struct rootfs *rootfs = rootfs_of(images, container_id);
        if (rootfs)
                map_free(TAKE(rootfs->map));
}

const struct rootfs_map *map_of_lowers(const struct rootfs_map *map)
{
        return map && map->root_fd >= 0 ? map : NULL;
}

struct error *map_overlay(struct images *images, const struct rootfs_map *map, const int *lowers, size_t n,
                          int upper_fd, int work_fd, int *out_fd)
{
        bool is_volatile = upper_fd >= 0;
        if (!map || map_of_lowers(map))
                return mount_overlay(lowers, n, upper_fd, work_fd, is_volatile, out_fd);
        const struct mount_map ids = { images->root_fd, map->userns_fd };
        return mount_overlay_mapped(lowers, n, upper_fd, work_fd, is_volatile, &ids, out_fd);
}

/* An overlay is made of two directories of the store. */
static struct error *overlay_try(struct images *images, int userns_fd)
{
        _cleanup_(map_freep) struct rootfs_map *map = NULL;
        _cleanup_(closep) int fd = -1, layers_fd = -1;
        TRY(map_make(images, userns_fd, 0, &map));
        TRY(file_open_beneath(images->root_fd, "layers", O_RDONLY | O_DIRECTORY, 0, &layers_fd));
        const bool is_detached = map_of_lowers(map) != NULL;
        const int lowers[] = { is_detached ? map->layers_fd : layers_fd,
                               is_detached ? map->mount_points_fd : images->rootfs->mount_points_fd };
        struct error *e = map_overlay(images, map, lowers, LENGTH(lowers), -1, -1, &fd);
        if (e)
                return error_as(error_wrap(e, "an overlay of directories with other ids"),
                                ERROR_FAILED_PRECONDITION);
        return NULL;
}

/* Kernels before 6.15 refuse directories of a detached mount. */
struct error *images_map_check(struct images *images, int userns_fd)
{
        images->maps_attached = false;
        struct error *e = overlay_try(images, userns_fd);
        if (!e || error_errnum_of(e) != EINVAL)
                return e;
        images->maps_attached = true;
        struct error *again = overlay_try(images, userns_fd);
        if (again)
                error_free(again); /* a filesystem that cannot, say, is told better by the first */
        else
                error_free(TAKE(e));
        return e;
}
