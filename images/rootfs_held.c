/* Images that a container uses beside its own: image volumes. ROOT/rootfs/D/ID/held has a line "IMAGE DIFFID" for each layer,
 * base first; it is written before the layers are counted on. */
#include "base/file.h"
#include "images/store.h"
#include <string.h>

enum { HELD_FILE_LIMIT = 1 << 20 };

static void held_one_free(struct images *images, struct held *held)
{
        for (size_t i = 0; i < held->n; i++)
                layers_unpin(images->layers, held->layers[i]);
        free(held->layers);
        free(held->image_id);
        free(held);
}

void held_free(struct images *images, struct rootfs *rootfs)
{
        while (rootfs->held) {
                struct held *held = rootfs->held;
                rootfs->held = held->next;
                held_one_free(images, held);
        }
}

static struct held *held_find(const struct rootfs *rootfs, const char *image_id)
{
        struct held *held = rootfs->held;
        while (held && strcmp(held->image_id, image_id) != 0)
                held = held->next;
        return held;
}

static struct held *held_add(struct rootfs *rootfs, const char *image_id)
{
        struct held *held = NEW(struct held);
        held->image_id = dup_string(image_id);
        held->next = rootfs->held;
        rootfs->held = held;
        return held;
}

static void pin_line(struct images *images, struct rootfs *rootfs, char *line)
{
        char *diff_id = strchr(line, ' ');
        if (!diff_id)
                return;
        *diff_id++ = '\0';
        struct held *held = held_find(rootfs, line);
        if (!held)
                held = held_add(rootfs, line);
        held->layers = grow_array(held->layers, held->n + 1, sizeof(struct layer *));
        struct error *e = layers_pin(images->layers, diff_id, &held->layers[held->n]);
        if (e)
                rootfs->is_broken = true;
        else
                held->n++;
        error_ignore(e); /* said when it is to be mounted */
}

void held_load(struct images *images, struct rootfs_table *table, struct rootfs *rootfs)
{
        _cleanup_(freep) char *path = format_string("%s/held", rootfs->id), *text = NULL;
        size_t len_bytes = 0;
        char *rest = NULL;
        struct error *e = file_read(rootfs_home(table, rootfs->id), path, HELD_FILE_LIMIT, &text, &len_bytes);
        if (e) {
                if (error_errnum_of(e) != ENOENT)
                        rootfs->is_broken = true;
                error_ignore(e); /* most containers hold nothing more */
                return;
        }
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                pin_line(images, rootfs, line);
}

static struct error *held_write(struct images *images, const char *id, const struct held *held)
{
        struct buf text;
        _cleanup_(closep) int dir_fd = -1;
        buf_init(&text, HELD_FILE_LIMIT);
        struct error *e = buf_append_text(&text, "");
        for (; held && !e; held = held->next)
                for (size_t i = 0; i < held->n && !e; i++)
                        e = buf_append_format(&text, "%s %s\n", held->image_id,
                                              layer_diff_id(held->layers[i]));
        if (!e)
                e = file_open_beneath(rootfs_home(images->rootfs, id), id, O_RDONLY | O_DIRECTORY, 0,
                                      &dir_fd);
        if (!e)
                e = file_replace(dir_fd, "held", text.bytes, text.len_bytes, 0600, false);
        buf_done(&text);
        return e;
}

/* The rootfs of a container is its own: only its creation holds, so there is no other writer. */
static struct rootfs *rootfs_of(struct images *images, const char *id)
{
        (void) pthread_mutex_lock(&images->rootfs->lock);
        struct rootfs *rootfs = rootfs_find(images->rootfs, id);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        return rootfs;
}

struct error *rootfs_hold(struct images *images, const char *container_id, const char *image_id)
{
        struct rootfs *rootfs = rootfs_of(images, container_id);
        if (!rootfs)
                return error_new(ERROR_INTERNAL, "rootfs of %s: there is none", container_id);
        if (held_find(rootfs, image_id))
                return NULL;
        struct layer **layers = NULL;
        size_t n = 0;
        TRY(catalog_pin_layers(images->catalog, image_id, &layers, &n));
        layers_drop_repeated(images, layers, &n);
        struct held *held = held_add(rootfs, image_id);
        held->layers = layers;
        held->n = n;
        struct error *e = held_write(images, container_id, rootfs->held);
        if (e) {
                rootfs->held = held->next;
                held_one_free(images, held);
        }
        return e ? error_wrap(e, "rootfs of %s", container_id) : NULL;
}

struct error *rootfs_held_view(struct images *images, const char *container_id, const char *image_id,
                               int *out_fd)
{
        const struct rootfs *rootfs = rootfs_of(images, container_id);
        const struct held *held = rootfs ? held_find(rootfs, image_id) : NULL;
        if (!held || rootfs->is_broken)
                return error_new(ERROR_FAILED_PRECONDITION, "the layers of image %s are gone", image_id);
        TRY_WRAP(layers_view(images, rootfs->map, held->layers, held->n, out_fd), "view of image %s",
                 image_id);
        return NULL;
}
