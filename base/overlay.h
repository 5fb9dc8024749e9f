/* overlay.h - overlay mounts, by whatever way the kernel has: directories are given as descriptors.
 *
 * Threads: any. Source: Documentation/filesystems/overlayfs.rst, fsopen(2), mount_setattr(2). */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

/* An overlay over the lower directories (top first), detached. upper_fd and work_fd may be -1 together: read-only; a
 * single lower then is cloned, since an overlay wants two. By descriptor where the kernel takes them (6.13+), else by
 * /proc/self/fd names. context: the SELinux context of all files in it (not with a clone); NULL: those that they have. */
MUST_CHECK struct error *mount_overlay(const int *lower_fds, size_t n, int upper_fd, int work_fd,
                                       bool is_volatile, const char *context, int *out_fd);

/* The same with the ids of a user namespace on the lower directories, which lie below tree_fd (none of them its own mount),
 * while upper and work have their own: for kernels before 6.15, whose overlay takes idmapped directories only where they
 * are attached to the caller's mount namespace. A process is made for it. */
MUST_CHECK struct error *mount_overlay_mapped(int tree_fd, int userns_fd, const int *lower_fds, size_t n,
                                              int upper_fd, int work_fd, bool is_volatile,
                                              const char *context, int *out_fd);
