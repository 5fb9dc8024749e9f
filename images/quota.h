/* quota.h - a bound for a directory and all below it, by a project quota. Private to images/.
 *
 * ext4 and XFS, mounted with prjquota, count what belongs to a project: a number that each file has from its directory. A
 * directory that is bounded gets a number of its own, above those that others use, and keeps it; the filesystem itself knows
 * which are taken, also after a restart. Whoever hits the bound gets EDQUOT, root too: overlayfs writes without CAP_SYS_RESOURCE.
 *
 * Threads: any. Source: quotactl_fd(2), Linux 5.14; FS_IOC_FSSETXATTR, ioctl_xfs_fsgetxattr(2). */
#pragma once
#include "base/error.h"
#include <stdint.h>

/* Errors: FAILED_PRECONDITION when the filesystem of dir_fd does not hold projects to their quota. */
MUST_CHECK struct error *quota_check(int dir_fd);

/* Bounds the directory dir_fd and those named in it, which are there and hold nothing yet, to max_bytes together, in a project
 * of its own: *project. names: NULL-terminated. */
MUST_CHECK struct error *quota_bound(int dir_fd, const char *const *names, uint64_t max_bytes,
                                     uint32_t *project);

/* The project of a directory that was bounded so; 0: it was not, or the filesystem knows no projects. */
uint32_t quota_project(int dir_fd);

/* The bound goes, and the number is free once all that belongs to it is removed. dir_fd: any of the filesystem. */
MUST_CHECK struct error *quota_free(int dir_fd, uint32_t project);
