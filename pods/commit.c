/* CommitContainer: a container's writable layer as an image. */
#include "images/images.h"
#include "pods/node.h"
#include "pods/pause.h"
#include "pods/table.h"

struct error *node_commit_container(struct node *node, const char *id, bool pause,
                                    const struct image_commit *commit, const struct wait *wait,
                                    char **out_image_id)
{
        struct image_commit whole = *commit;
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        if (!c)
                return error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        whole.container_id = c->id;
        whole.image_id = c->image_id;
        whole.ids_first = c->pod->userns.base;
        whole.n_ids = c->pod->userns.length;
        if (pause)
                TRY(pause_begin(c));
        struct error *e = images_commit(node->config.images, &whole, wait, out_image_id);
        if (pause)
                pause_end(c);
        return e;
}
