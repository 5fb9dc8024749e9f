/* sink_dir.h - writes a layer as a directory, in the form that overlayfs wants.
 *
 * Every name is resolved with the layer as its root (places.h): an archive cannot write outside. Whiteouts are character devices 0:0. Directories get their times, set-id bits and default ACLs last, so that
 * nothing written into them is touched by those.
 * Threads: one at a time. Source: openat2(2), Documentation/filesystems/overlayfs.rst. */
#pragma once
#include "images/unpack/places.h"

/* root_fd stays the caller's and outlives the sink; umask(2) must be 0. */
struct layer_sink *sink_dir_new(int root_fd, sink_dir_opaque *opaque, void *context);
/* As places_write_seams, once all entries have come. */
MUST_CHECK struct error *sink_dir_seams(const struct layer_sink *sink, int fd);
void sink_dir_free(struct layer_sink *sink);
DEFINE_FREEP(struct layer_sink, sink_dir_free)
