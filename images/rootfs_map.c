#include "base/fault.h"
#include "base/file.h"
#include "base/mount.h"
#include "images/store.h"
#include <fcntl.h>

static void map_free(struct rootfs_map *map)
{
        if (!map)
                return;
        closep(&map->userns_fd);
        closep(&map->mount_points_fd);
        closep(&map->layers_fd);
        closep(&map->root_fd); /* last: the others are in this mount only as long as it is open */
        free(map);
}
DEFINE_FREEP(struct rootfs_map, map_free)

static struct error *map_now(struct images *images, int userns_fd, struct rootfs_map *map)
{
        TRY(mount_clone(images->root_fd, "", false, &map->root_fd));
        struct error *e = mount_idmap(map->root_fd, userns_fd, false);
        return e ? error_as(error_wrap(e, "the filesystem of the image store"), ERROR_FAILED_PRECONDITION)
                 : NULL;
}

static struct error *map_keep(struct images *images, int userns_fd, struct rootfs_map *map)
{
        map->root_fd = fcntl(images->root_fd, F_DUPFD_CLOEXEC, 3);
        map->userns_fd = fcntl(userns_fd, F_DUPFD_CLOEXEC, 3);
        return map->root_fd < 0 || map->userns_fd < 0 ? error_errno(errno, "keep a user namespace") : NULL;
}

static struct error *map_make(struct images *images, int userns_fd, uint32_t owner, struct rootfs_map **out)
{
        _cleanup_(map_freep) struct rootfs_map *map = NEW(struct rootfs_map);
        *map = (struct rootfs_map){
                .root_fd = -1, .userns_fd = -1, .layers_fd = -1, .mount_points_fd = -1, .owner = owner
        };
        TRY(images->maps_when_mounting ? map_keep(images, userns_fd, map) : map_now(images, userns_fd, map));
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

void rootfs_label(struct images *images, const char *container_id, const char *context)
{
        struct rootfs *rootfs = rootfs_of(images, container_id);
        if (!rootfs)
                return; /* the mount tells */
        free(rootfs->context);
        rootfs->context = dup_string(context);
}

void rootfs_unmap(struct images *images, const char *container_id)
{
        struct rootfs *rootfs = rootfs_of(images, container_id);
        if (rootfs)
                map_free(TAKE(rootfs->map));
}

/* An overlay is made of two directories of the store. */
static struct error *try_overlay(const struct rootfs_map *map)
{
        _cleanup_(closep) int fd = -1;
        const int lowers[] = { map->layers_fd, map->mount_points_fd };
        return layers_overlay(map, lowers, LENGTH(lowers), -1, -1, false, NULL, &fd);
}

struct error *images_map_check(struct images *images, int userns_fd)
{
        _cleanup_(map_freep) struct rootfs_map *now = NULL, *kept = NULL;
        TRY(map_make(images, userns_fd, 0, &now));
        struct error *e = fault_point("images.map.detached");
        if (!e)
                e = try_overlay(now);
        if (!e)
                return NULL;
        error_free(e);
        images->maps_when_mounting = true; /* a kernel before 6.15 */
        TRY(map_make(images, userns_fd, 0, &kept));
        e = try_overlay(kept);
        return e ? error_as(error_wrap(e, "an overlay of directories with other ids"),
                            ERROR_FAILED_PRECONDITION)
                 : NULL;
}
