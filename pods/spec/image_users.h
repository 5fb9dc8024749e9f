/* image_users.h - passwd and group of the images that were used last: a node starts the same images again and again, and to
 * look into one takes a mount of its layers and its end, a tenth of a container's creation.
 *
 * An image's id is the digest of all that it is, so nothing here can grow old. At most 32 images are kept, each of 32 kB at
 * most (others are read anew each time). Threads: any. */
#pragma once
#include "runtime/users.h"

struct images;
struct image_users;

/* An empty one. Freed after the last call has returned; NULL is fine. */
struct image_users *image_users_new(void);
void image_users_free(struct image_users *users);

/* user_resolve in the image of a container whose rootfs is there. */
MUST_CHECK struct error *image_users_find(struct image_users *users, struct images *images,
                                          const char *image_id, const char *container_id, const char *text,
                                          struct user *out);
