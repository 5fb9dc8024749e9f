/* volumes.h - image volumes: an image's layers, read-only, at a path of a container. Private to pods/.
 *
 * What a mount's image means is settled when the container is created, and kept in its config as image_ref, which CRI
 * wants told; the layers are held for as long as the container exists. Threads: any. */
#pragma once
#include "pods/state.h"

/* Finds the images of c->config's mounts. Errors: INVALID_ARGUMENT naming the field; FAILED_PRECONDITION when an image is
 * not here. */
MUST_CHECK struct error *volumes_resolve(struct container *c);

/* Holds their layers, and looks whether each sub path is there. After rootfs_make; undone with the rootfs. Errors begin
 * with kubelet's word for them, "ImageVolumeMountFailed". */
MUST_CHECK struct error *volumes_hold(struct container *c);

/* Mounts them, detached, for runtime_start: *out_fds has one a mount of c->spec, -1 where it is no image; NULL when there
 * are none. Owned by the caller (volumes_close). */
MUST_CHECK struct error *volumes_open(struct container *c, int **out_fds);
void volumes_close(const struct container *c, int *fds);

/* Of a mount's image_id: a volume that the container's own image declares, at the path behind this. */
#define VOLUME_OF_IMAGE "volume:"
