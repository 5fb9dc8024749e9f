/* sink_dir.h - writes a layer as a directory, in the form that overlayfs wants.
 *
 * Every name is resolved below the root by openat2 without following a symbolic link: an archive cannot write through
 * one. Whiteouts are character devices 0:0. Directories get their times, set-id bits and default ACLs last, so that
 * nothing written into them is touched by those.
 * Threads: one at a time. Source: openat2(2), Documentation/filesystems/overlayfs.rst. */
#pragma once
#include "images/unpack/sink.h"

/* Tells of an opaque directory by a descriptor, borrowed: only the caller's caller may set the mark. */
typedef struct error *sink_dir_opaque(void *context, int dir_fd);

/* root_fd stays the caller's and outlives the sink; umask(2) must be 0. */
struct layer_sink *sink_dir_new(int root_fd, sink_dir_opaque *opaque, void *context);
void sink_dir_free(struct layer_sink *sink);
DEFINE_FREEP(struct layer_sink, sink_dir_free)
