/* copy_out.h - a tar stream that a container made, as files here.
 *
 * The container is not trusted. Every member must lie below the one name that was asked for; every directory on the way is
 * opened without following a symlink, so neither a link in the stream nor one that lay here leads outside; what
 * exists is replaced, never written through. Symlinks are made as they are, and followed by nobody here. Files get the owner who
 * copies and the permission bits, without set-user-ID, set-group-ID and sticky. Devices, pipes and sockets are passed over.
 *
 * Threads: any, at once, on different streams. Source: openat(2), libarchive(3). */
#pragma once
#include "base/error.h"

struct copy_out {
        const char *member; /* "etc" of "./etc/passwd"; "." for all of the stream */
        int dir_fd;         /* where it goes, borrowed */
        const char *name;   /* what "etc" is called there; "." for dir_fd itself */
};

/* Reads tar from fd to its end. Errors: PERMISSION_DENIED for a member that would lie elsewhere; INVALID_ARGUMENT for what is no
 * tar; INTERNAL. */
MUST_CHECK struct error *copy_out_extract(const struct copy_out *copy, int fd);
