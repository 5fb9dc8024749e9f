/* mount.h - the new mount API as functions: detached mounts are descriptors, attached only where they are used.
 *
 * A detached mount is in no mount table; the kernel frees it with its last descriptor. Part of base_core.
 * Threads: any. Source: fsopen(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2). */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* A new filesystem of the type, configured by key=value pairs ("size", "64m"; value NULL: a flag), with MOUNT_ATTR_*
 * bits. options: NULL-terminated pairs, or NULL. The kernel's own message (from the fs context's log) is in the error. */
MUST_CHECK struct error *mount_new(const char *type, const char *const *options, uint64_t attributes,
                                   int *out_fd);

/* A detached copy of what is at path below dir_fd (dir_fd itself with ""), with all mounts below it if recursive. It is
 * private: the kernel makes a copy of a shared mount (and / is one on every node with systemd) a member of the same peer
 * group, so that what is mounted on the copy would be mounted on the host, and pivot_root(2) refuses it. */
MUST_CHECK struct error *mount_clone(int dir_fd, const char *path, bool recursive, int *out_fd);

/* The same, but with the propagation of what it was copied from: for a caller that makes a slave or a peer of it. */
MUST_CHECK struct error *mount_clone_peer(int dir_fd, const char *path, bool recursive, int *out_fd);

/* Sets and clears MOUNT_ATTR_* bits and the propagation (MS_PRIVATE, MS_SLAVE, MS_SHARED; 0: as it is). */
MUST_CHECK struct error *mount_attributes(int mount_fd, uint64_t set, uint64_t clear, uint64_t propagation,
                                          bool recursive);

/* Gives a detached mount (with all mounts below it if recursive) the ids of a user namespace: uid 0 of its files is that
 * namespace's uid 0. Errors: EINVAL where a filesystem in it cannot; nothing has changed then. */
MUST_CHECK struct error *mount_idmap(int mount_fd, int userns_fd, bool recursive);

/* Attaches a detached mount at path below dir_fd. */
MUST_CHECK struct error *mount_attach(int mount_fd, int dir_fd, const char *path);

/* Makes a detached mount the root and working directory of this process, and lets go all else that its mount namespace
 * holds. The namespace must be the caller's own (CLONE_NEWNS), and the process have one thread. Works wherever skiffd
 * runs: below a shared root, and in a chroot, whose outside is let go as well. Errors: FAILED_PRECONDITION where the
 * namespace's root is an initramfs, which cannot be left. Source: pivot_root(2), setns(2). */
MUST_CHECK struct error *mount_pivot(int mount_fd);

/* An overlay over the lower directories (top first), detached. upper_fd and work_fd may be -1 together: read-only; a
 * single lower then is cloned, since an overlay wants two. By descriptor where the kernel takes them (6.13+), else by
 * /proc/self/fd names. */
MUST_CHECK struct error *mount_overlay(const int *lower_fds, size_t n, int upper_fd, int work_fd,
                                       bool is_volatile, int *out_fd);

/* The same, where the lower directories are to have the ids of a user namespace, for kernels before 6.15, which take no
 * directories of a detached mount: root_fd is a directory that holds them all, with a path in this mount namespace, and none of
 * them has other ids yet. */
struct mount_map {
        int root_fd, userns_fd;
};
MUST_CHECK struct error *mount_overlay_mapped(const int *lower_fds, size_t n, int upper_fd, int work_fd,
                                              bool is_volatile, const struct mount_map *map, int *out_fd);
