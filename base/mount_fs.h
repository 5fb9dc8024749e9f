/* mount_fs.h - a filesystem context (fsopen(2)), for mount.c and overlay.c. Threads: any, one a context. */
#pragma once
#include "base/error.h"
#include <stdint.h>

/* fsconfig(2) by number; as that, with errno. */
int fs_config(int fs_fd, unsigned command, const char *key, const void *value, int aux);

/* The kernel's own words about what went wrong: one line of the context's log, "e overlay: ...". */
MUST_CHECK struct error *fs_error(int fs_fd, int errnum, const char *what);

/* A context for the type. *out_fd is the caller's. */
MUST_CHECK struct error *fs_open(const char *type, int *out_fd);
/* A key with a string of at most 255 bytes, or a flag (value NULL). */
MUST_CHECK struct error *fs_set(int fs_fd, const char *key, const char *value);
/* Makes the filesystem and a detached mount of it with MOUNT_ATTR_* bits. *out_fd is the caller's. */
MUST_CHECK struct error *fs_mount(int fs_fd, const char *type, uint64_t attributes, int *out_fd);
