/* layers.h - the layer store: layers by diffID, whole or absent, each unpacked once however many want it.
 *
 * A layer is claimed by one (who unpacks it), then unpacked, then durable; users pin it while they need it. One that
 * no image has and nobody pins is collected. Which images there are is the catalog's to say (layers_count_*).
 *
 * A struct layer is borrowed and lives as long as it is pinned. Threads: any, at once; the store has a lock of its own,
 * taken after the catalog's. */
#pragma once
#include "base/buf.h"
#include "base/wait.h"
#include "images/form.h"
#include "images/images.h"
#include <stddef.h>
#include <stdint.h>

struct layers;
struct layer;

/* root_fd and trash are borrowed. */
MUST_CHECK struct error *layers_open(int root_fd, struct trash *trash, struct layers **out);
void layers_free(struct layers *layers);
DEFINE_FREEP(struct layers, layers_free)

/* --- at the start --- */

/* A layer that images.db has. False when it is not on the disk, or of a form that is not known. */
bool layers_add(struct layers *layers, const char *diff_id, const char *form, uint64_t bytes,
                uint64_t inodes);
/* Moves what is in ROOT/layers and not in the table to the trash. */
MUST_CHECK struct error *layers_sweep(struct layers *layers);

/* --- for a pull --- */

/* Pins the layer. *must_unpack: it is absent and the caller's to unpack, until layer_commit or layer_abandon; others
 * who claim it meanwhile wait. Errors: CANCELLED, DEADLINE_EXCEEDED. */
MUST_CHECK struct error *layers_claim(struct layers *layers, const char *diff_id, const struct wait *wait,
                                      struct layer **out, bool *must_unpack);
/* *out_fd: the directory to unpack to; *seams_fd: a file for its seams. */
MUST_CHECK struct error *layer_begin(struct layers *layers, struct layer *layer, int *out_fd, int *seams_fd);
MUST_CHECK struct error *layer_commit(struct layers *layers, struct layer *layer, uint64_t bytes,
                                      uint64_t inodes);
void layer_abandon(struct layers *layers, struct layer *layer); /* unpins; the next waiter may claim it */

/* Begins to write out what has been unpacked, so that layers_sync has less to wait for. Changes no layer's state. */
void layers_sync_early(struct layers *layers);

/* Makes these durable: one syncfs unless all are already. */
MUST_CHECK struct error *layers_sync(struct layers *layers, struct layer *const *list, size_t n);

/* --- for users --- */

/* Pins one that is there. Errors: NOT_FOUND. */
MUST_CHECK struct error *layers_pin(struct layers *layers, const char *diff_id, struct layer **out);
void layers_unpin(struct layers *layers, struct layer *layer);

/* The directory to use as a lower, borrowed; it is held open as long as the layer is. */
MUST_CHECK struct error *layer_lower(struct layers *layers, struct layer *layer, int *fd, bool *is_opaque);

/* The same below another mount of ROOT/layers; *fd is the caller's, and only a place (O_PATH). */
MUST_CHECK struct error *layer_lower_below(struct layers *layers, struct layer *layer, int layers_fd, int *fd,
                                           bool *is_opaque);

/* Appends the layer's seams to out, as places_write_seams has them, each with its NUL; nothing where it has none. */
MUST_CHECK struct error *layer_seams(struct layers *layers, struct layer *layer, struct buf *out);

/* Of a pinned layer: "sha256:...", the form's name ("dir"), what it takes on disk. Texts are the layer's. */
const char *layer_diff_id(const struct layer *layer);
const char *layer_form_name(const struct layer *layer);
void layer_usage(const struct layer *layer, uint64_t *bytes, uint64_t *inodes);

/* --- for the catalog --- */

void layers_count_reset(struct layers *layers);                    /* no layer has an image */
void layers_count_add(struct layers *layers, const char *diff_id); /* one more image has it */

/* Removes what no image has and nobody pins: forget(context, diff_ids), a list that ends with NULL, first (its error
 * leaves the layers), then to the trash. */
MUST_CHECK struct error *layers_collect(struct layers *layers,
                                        struct error *(*forget)(void *context, const char *const *diff_ids),
                                        void *context);

/* All that are there, in no order; *out is an array of *n, the caller's to free. */
void layers_list(struct layers *layers, struct image_layer **out, size_t *n);

/* Of all layers that are there. */
void layers_usage(struct layers *layers, uint64_t *bytes, uint64_t *inodes);
