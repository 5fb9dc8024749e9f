/* install.h - the layers of one image from a skiff-pull into the store: claimed, unpacked two or more at once, made durable.
 *
 * For pull and import alike. Threads: any, at once, for different images. */
#pragma once
#include "base/digest.h"
#include "images/puller.h"
#include "images/store.h"

struct install_layer {
        const char *diff_id;
        const char *name; /* what skiff-pull is asked for */
        bool has_blob;    /* the two below are known, and checked */
        struct digest blob;
        uint64_t blob_bytes;
};

/* watcher may be NULL. *out: the layers, pinned (install_done lets go), base first; behind the n of them the seam they need
 * or NULL (seams.h). Errors: as images_pull; nothing
 * partial is left. */
MUST_CHECK struct error *install_layers(struct images *images, struct puller *puller, enum pull_type type,
                                        const struct install_layer *list, size_t n,
                                        const struct pull_watcher *watcher, const struct wait *wait,
                                        struct layer ***out);
/* How many workers more than two a pull all pulls together may have on a machine of so many processors. */
int install_spare_workers(long processors);

/* Unpins what install_layers gave, and frees the list; NULL is fine. */
void install_done(struct images *images, struct layer **layers, size_t n);

/* Reads and checks an image's config and makes its diffIDs the list's. digest may be NULL: not known beforehand. *id is
 * the caller's. Errors: as images_pull. */
MUST_CHECK struct error *install_config(struct puller *puller, enum pull_type type, const char *name,
                                        const struct digest *digest, const struct wait *wait, struct buf *out,
                                        char ***diff_ids, char **id);
