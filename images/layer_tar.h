/* layer_tar.h - a layer's directory as a tar again: the same bytes each time for the same directory.
 *
 * Sorted by name, ustar with pax records for what that has no room for. Whiteouts and opaque marks are .wh. files again,
 * links are links to the first name. Source: POSIX pax, OCI image-spec layer.md.
 * Threads: one at a time. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "base/wait.h"
#include <stdint.h>

/* The ids that a user namespace has on the host: from `first` on, which is its 0. n 0: none, ids stay as they are. */
struct layer_ids {
        uint32_t first, n;
};

/* Writes dir_fd's tree at fd's position; directories that seams (the layer's, as layer_seams gives them) tell as described by
 * no entry have none again. Owners, ACLs and capabilities are as the user namespace sees them: others than its own are 65534,
 * but the host's root, who made mount points there, is its root. *digest: of the tar; *bytes: its length. Errors:
 * UNIMPLEMENTED for a tree that is no layer by itself (overlayfs's redirects, metadata without content, more than 400 levels);
 * ABORTED for what changes while it is read. */
MUST_CHECK struct error *layer_tar_write(int dir_fd, const struct buf *seams, struct layer_ids ids, int fd,
                                         const struct wait *wait, struct digest *digest, uint64_t *bytes);

/* Fills a tar header for a plain file, its checksum too. */
enum { TAR_BLOCK_BYTES = 512 };
void layer_tar_file_header(char block[TAR_BLOCK_BYTES], const char *name, uint64_t size_bytes);
