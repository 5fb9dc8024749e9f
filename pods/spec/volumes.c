#include "pods/spec/volumes.h"
#include "base/file.h"
#include "images/images.h"
#include <string.h>

#define MOUNT_FAILED "ImageVolumeMountFailed"

static bool is_volume(const Cri__Mount *mount)
{
        return mount->image && *mount->image->image;
}

static bool has_dots(const char *path)
{
        for (const char *at = path; *at;) {
                size_t n = strcspn(at, "/");
                if (n == 2 && strncmp(at, "..", 2) == 0)
                        return true;
                at += n + (at[n] == '/');
        }
        return false;
}

static struct error *check(const Cri__Mount *mount, size_t i)
{
        if (*mount->host_path)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].host_path: an image volume has none", i);
        if (!mount->readonly)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].readonly: an image volume can only be read", i);
        if (mount->propagation != CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].propagation: an image volume has none", i);
        if (*mount->image_sub_path == '/' || has_dots(mount->image_sub_path))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.mounts[%zu].image_sub_path: \"%s\" must lie in the image", i,
                                 mount->image_sub_path);
        return NULL;
}

/* The message owns its texts, but for the one empty text that all share. */
static void set_message_text(const char **to, const char *text)
{
        if (*to != protobuf_c_empty_string)
                free((char *) (uintptr_t) *to);
        *to = dup_string(text);
}

static struct error *resolve(struct images *images, Cri__Mount *mount, size_t i)
{
        _cleanup_(image_freep) struct image *image = NULL;
        TRY(check(mount, i));
        struct error *e = images_find(images, mount->image->image, &image);
        /* To kubelet NOT_FOUND here would mean that the sandbox is gone. */
        if (e && error_code_of(e) == ERROR_NOT_FOUND)
                e = error_as(e, ERROR_FAILED_PRECONDITION);
        TRY_WRAP(e, "config.mounts[%zu].image", i);
        set_message_text(&mount->image->image_ref, image->id);
        return NULL;
}

struct error *volumes_resolve(struct container *c)
{
        for (size_t i = 0; i < c->config->n_mounts; i++)
                if (is_volume(c->config->mounts[i]))
                        TRY(resolve(c->pod->node->config.images, c->config->mounts[i], i));
        return NULL;
}

static struct error *hold(struct container *c, const Cri__Mount *mount)
{
        struct images *images = c->pod->node->config.images;
        _cleanup_(closep) int view_fd = -1, part_fd = -1;
        TRY(rootfs_hold(images, c->id, mount->image->image_ref));
        if (!*mount->image_sub_path)
                return NULL;
        TRY(rootfs_held_view(images, c->id, mount->image->image_ref, &view_fd));
        struct error *e = file_open_in_root(view_fd, mount->image_sub_path, O_PATH, 0, &part_fd);
        int errnum = e ? error_errnum_of(e) : 0; /* what the image does not have, or what cannot be in any */
        bool wrong =
                e && (errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == ENAMETOOLONG);
        return wrong ? error_as(e, ERROR_INVALID_ARGUMENT) : e;
}

struct error *volumes_hold(struct container *c)
{
        for (size_t i = 0; i < c->config->n_mounts; i++) {
                const Cri__Mount *mount = c->config->mounts[i];
                if (is_volume(mount))
                        TRY_WRAP(hold(c, mount), MOUNT_FAILED ": image %s at %s: sub path \"%s\"",
                                 mount->image->image, mount->container_path, mount->image_sub_path);
        }
        return NULL;
}

static struct error *open_one(struct container *c, const char *image_id, int *out_fd)
{
        struct images *images = c->pod->node->config.images;
        size_t n = strlen(VOLUME_OF_IMAGE);
        if (strncmp(image_id, VOLUME_OF_IMAGE, n) == 0)
                return rootfs_volume_mount(images, c->id, image_id + n, out_fd);
        return rootfs_held_view(images, c->id, image_id, out_fd);
}

/* The spec's mounts are in another order than the config's: each of an image has its id. */
struct error *volumes_open(struct container *c, int **out_fds)
{
        const struct container_spec *spec = c->spec;
        int *fds = NULL;
        for (size_t i = 0; i < spec->n_mounts; i++) {
                if (!spec->mounts[i].image_id)
                        continue;
                if (!fds) {
                        fds = NEW_ARRAY(int, spec->n_mounts);
                        memset(fds, -1, spec->n_mounts * sizeof(*fds));
                }
                struct error *e = open_one(c, spec->mounts[i].image_id, &fds[i]);
                if (e) {
                        volumes_close(c, fds);
                        return error_wrap(e, MOUNT_FAILED ": at %s", spec->mounts[i].target);
                }
        }
        *out_fds = fds;
        return NULL;
}

void volumes_close(const struct container *c, int *fds)
{
        for (size_t i = 0; fds && i < c->spec->n_mounts; i++)
                closep(&fds[i]);
        free(fds);
}
