/* walk.h - disk usage of a tree that a container may be changing. Threads: any. */
#pragma once
#include "base/error.h"
#include <stdint.h>

/* Adds what name below dir_fd and all in it take: allocated bytes, inodes (hard links once each name). Symbolic links and
 * other filesystems are not followed; what vanishes meanwhile is not counted. Errors: INTERNAL. */
MUST_CHECK struct error *walk_usage(int dir_fd, const char *name, uint64_t *bytes, uint64_t *inodes);
