/* What rootfs.c and its neighbours share: where a rootfs is, and layers as overlayfs wants them. */
#include "base/overlay.h"
#include "images/store.h"
#include <string.h>

int rootfs_home(const struct rootfs_table *table, const char *id)
{
        static const char digits[] = ROOTFS_DIGITS;
        const char *digit = *id ? strchr(digits, *id) : NULL;
        return table->home_fds[digit ? digit - digits : 0];
}

struct rootfs *rootfs_find(struct rootfs_table *table, const char *id)
{
        struct rootfs *rootfs = NULL;
        HASH_FIND_STR(table->table, id, rootfs);
        return rootfs;
}

void layers_drop_repeated(struct images *images, struct layer **layers, size_t *n)
{
        size_t kept = 0;
        for (size_t i = 0; i < *n; i++) {
                bool again = false;
                for (size_t j = i + 1; j < *n; j++)
                        again |= layers[i] == layers[j];
                if (again)
                        layers_unpin(images->layers, layers[i]);
                else
                        layers[kept++] = layers[i];
        }
        *n = kept;
}

struct error *layers_lowers(struct images *images, const struct rootfs_map *map, struct layer *const *layers,
                            size_t n, int *fds, size_t *n_fds)
{
        bool is_opaque = false;
        *n_fds = 0;
        for (size_t i = n; i > 0 && !is_opaque; i--) {
                struct error *e = map ? layer_lower_below(images->layers, layers[i - 1], map->layers_fd,
                                                          &fds[*n_fds], &is_opaque)
                                      : layer_lower(images->layers, layers[i - 1], &fds[*n_fds], &is_opaque);
                if (e)
                        return e;
                ++*n_fds;
        }
        return NULL;
}

void lowers_done(const struct rootfs_map *map, int *fds, size_t n_fds)
{
        for (size_t i = 0; map && i < n_fds; i++) /* else they are the layers' own */
                closep(&fds[i]);
}

struct error *layers_overlay(const struct rootfs_map *map, const int *lowers, size_t n, int upper_fd,
                             int work_fd, bool is_volatile, const char *context, int *out_fd)
{
        return map && map->userns_fd >= 0
                       ? mount_overlay_mapped(map->root_fd, map->userns_fd, lowers, n, upper_fd, work_fd,
                                              is_volatile, context, out_fd)
                       : mount_overlay(lowers, n, upper_fd, work_fd, is_volatile, context, out_fd);
}

struct error *layers_view(struct images *images, const struct rootfs_map *map, struct layer *const *layers,
                          size_t n, int *out_fd)
{
        _cleanup_(freep) int *lowers = NEW_ARRAY(int, n);
        size_t n_lowers = 0;
        if (n == 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the image has no layers");
        struct error *e = layers_lowers(images, map, layers, n, lowers, &n_lowers);
        if (!e)
                e = layers_overlay(map, lowers, n_lowers, -1, -1, false, NULL, out_fd);
        lowers_done(map, lowers, n_lowers);
        return e;
}
