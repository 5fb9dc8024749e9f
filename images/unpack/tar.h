/* tar.h - reads a layer's tar and tells a layer_sink what is in it.
 *
 * The formats are libarchive's (ustar, pax, GNU, sparse), but for links with a size (tar_headers.h); what an entry may say is decided here: no name that leaves the
 * layer, no trusted.* attribute, no node that would be an overlay whiteout, a bounded number of entries. Whiteout
 * files (.wh.NAME, .wh..wh..opq) become whiteouts and opaque directories.
 * Threads: one at a time. Source: OCI image-spec layer.md, tar(5) of libarchive. */
#pragma once
#include "images/unpack/inflate.h"
#include "images/unpack/sink.h"

/* Unpacks up to the end of the archive. Errors: INVALID_ARGUMENT `entry "NAME": ...` for what no layer may hold;
 * DATA_LOSS for a broken archive; RESOURCE_EXHAUSTED for a full disk or more than max_entries; the sink's. */
MUST_CHECK struct error *tar_unpack(struct inflate *in, struct layer_sink *sink, uint64_t max_entries,
                                    struct sink_usage *usage);
