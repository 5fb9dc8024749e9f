/* file.h - files by descriptor: rooted opens, bounded reads, atomic replacement, removal of trees.
 *
 * Functions take a directory descriptor (AT_FDCWD where the path is skiffd's own) and a path below it. Threads: any.
 * Source: openat2(2), rename(2). */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens path with dir_fd as its root: "..", absolute paths and symlinks stay inside, magic links are refused
 * (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS). flags as open(2); O_CLOEXEC is added. */
MUST_CHECK struct error *file_open_in_root(int dir_fd, const char *path, int flags, mode_t mode, int *out_fd);

/* Opens path below dir_fd without following any symlink in it. */
MUST_CHECK struct error *file_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, int *out_fd);

/* Reads a whole regular file of at most limit_bytes into *out (a NUL is added). Errors: RESOURCE_EXHAUSTED when larger;
 * INTERNAL, with error_errnum_of ENOENT, ... */
MUST_CHECK struct error *file_read(int dir_fd, const char *path, size_t limit_bytes, char **out,
                                   size_t *len_bytes);

/* Tells ext4 that the directories in this one have nothing to do with each other (chattr(1), T): each begins in a part of
 * the disk of its own, so that those who make and remove files in them at once do not fight over one, or search through
 * what was removed just now. Other filesystems refuse, and need not be told. */
void file_mark_top_directory(int fd);

/* Replaces path atomically: a temporary file beside it, then rename. durable: fsync of both. */
MUST_CHECK struct error *file_replace(int dir_fd, const char *path, const void *bytes, size_t len_bytes,
                                      mode_t mode, bool durable);

/* mkdir -p below dir_fd, following no symlinks made by others (skiffd's own trees). mode is for the new ones. */
MUST_CHECK struct error *file_mkdirs(int dir_fd, const char *path, mode_t mode);

/* Removes name below dir_fd and everything in it, by descriptor, never crossing a symlink or a mount point (a mount
 * is an error). Succeeds where there is none. Depth costs neither descriptors nor memory (base/tree.h). */
MUST_CHECK struct error *file_remove_tree(int dir_fd, const char *name);

/* Writes all of it, retrying short writes. */
MUST_CHECK struct error *file_write_all(int fd, const void *bytes, size_t len_bytes);
