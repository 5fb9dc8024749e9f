/* copy_in.h - files here as a tar stream for a container.
 *
 * In GNU's form, whose long names every tar reads (busybox passes pax's over). Owners are left to the container: all is its
 * root's, or the one's who unpacks. Symlinks go as they are; devices, pipes and sockets are passed over.
 *
 * Threads: any, at once. Source: fts(3), tar(5). */
#pragma once
#include "base/error.h"

/* Writes path, and what is below it, as `name` to fd; "." for name puts what is in the directory `path` into the one that is
 * unpacked in. Errors: NOT_FOUND when there is no path; INTERNAL, also when nobody reads fd any more. */
MUST_CHECK struct error *copy_in_archive(const char *path, const char *name, int fd);
