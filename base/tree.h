/* tree.h - how much a tree takes, however deep a container made it.
 *
 * The removal of trees (file_remove_tree) is here too. Both hold at most TREE_FDS_MAX descriptors and no memory that grows
 * with the tree: its depth and width are decided by whoever wrote it.
 *
 * Threads: any; the tree may be changing. Source: openat(2), readdir(3). */
#pragma once
#include "base/error.h"
#include <stdint.h>

enum { TREE_FDS_MAX = 24 };

/* Adds what name below dir_fd and all in it take: allocated bytes and inodes. A file with n links counts as the n-th part of
 * itself at each name, so once in all where the tree has all its names. Symbolic links and other filesystems are not
 * followed; what vanishes or moves meanwhile may not be counted. Errors: INTERNAL when name itself cannot be read. */
MUST_CHECK struct error *tree_usage(int dir_fd, const char *name, uint64_t *bytes, uint64_t *inodes);
