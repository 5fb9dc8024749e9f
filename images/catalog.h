/* catalog.h - which images there are: names, configs, layers; in images.db and, for reading, in memory.
 *
 * Readers touch the database only for a config of more than 16 kB. A change is one transaction, then the memory is read
 * anew from it. Changes take turns. Threads: any, at once. */
#pragma once
#include "base/db.h"
#include "images/images.h"
#include "images/layers.h"

struct catalog;

/* Opens ROOT/images.db, tells layers which there are, forgets images whose layers are not on the disk. layers and
 * pinned are borrowed. */
MUST_CHECK struct error *catalog_open(const char *path, struct layers *layers, const char *const *pinned,
                                      struct catalog **out);
void catalog_free(struct catalog *catalog);
/* Other ones are pinned from now on. Errors: INVALID_ARGUMENT for a reference that is none: then all is as before. */
MUST_CHECK struct error *catalog_repin(struct catalog *catalog, const char *const *pinned);
DEFINE_FREEP(struct catalog, catalog_free)

/* As images_find, images_list, images_select. */
MUST_CHECK struct error *catalog_find(struct catalog *catalog, const char *reference, struct image **out);
void catalog_list(struct catalog *catalog, struct image ***out, size_t *n);
MUST_CHECK struct error *catalog_select(struct catalog *catalog, const char *text, struct image ***out,
                                        size_t *n);

/* Pins the layers of the image with this id, base first, its seam last where it has one (seams.h); the array is the
 * caller's. Errors: NOT_FOUND. */
MUST_CHECK struct error *catalog_pin_layers(struct catalog *catalog, const char *id, struct layer ***out,
                                            size_t *n);

struct catalog_image {
        const char *id, *config_json;
        size_t config_bytes;
        struct layer *const *layers; /* pinned and durable, base first */
        size_t n_layers;
        struct layer *seam;                 /* likewise, or NULL */
        char *const *tags, *const *digests; /* whole names; those that other images have move here */
};

/* Makes them visible, all or none. */
MUST_CHECK struct error *catalog_commit(struct catalog *catalog, const struct catalog_image *images,
                                        size_t n);

/* Whether the image is there and has all of these names already: a commit of it would change nothing. */
bool catalog_has(struct catalog *catalog, const struct catalog_image *wanted);

/* As images_remove. */
MUST_CHECK struct error *catalog_remove(struct catalog *catalog, const char *reference);

/* Removes the layers that nothing needs. */
MUST_CHECK struct error *catalog_collect(struct catalog *catalog);

/* Moves what the WAL holds into the database's file, as far as no reader is in the way. For a background thread. */
MUST_CHECK struct error *catalog_checkpoint(struct catalog *catalog);
