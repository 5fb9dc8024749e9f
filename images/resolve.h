/* resolve.h - from an index to the image in it that this machine runs, through indexes inside it and past what is no image.
 * Threads: no state. */
#pragma once
#include "images/manifest.h"

/* Reads what a descriptor names, checked against its digest. Errors: UNIMPLEMENTED for what is no image or index. */
struct manifest_reader {
        struct error *(*read)(void *context, const struct descriptor *from, struct manifest **out);
        void *context;
};

/* *out is an image's manifest, the caller's: that of the best entry (manifest_candidates), or of the best one of an index
 * inside. At most 32 manifests are read, four indexes deep. Errors: the reader's; NOT_FOUND naming the platform; what is
 * wrong with the first entry that is no image, when there is no other. */
MUST_CHECK struct error *manifest_resolve(const struct manifest *index, const struct manifest_reader *reader,
                                          struct manifest **out);
