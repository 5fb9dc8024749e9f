/* images.h - the face of the image store: what pods and cri call.
 *
 * Images are kept by the digest of their config (the image id). Names ("docker.io/library/busybox:1.36") and repo
 * digests ("docker.io/library/busybox@sha256:...") point at ids. Layers are kept once, by chain of content; an image
 * becomes visible in one transaction after all of it is durable, and nothing partial is ever visible.
 *
 * Containers hold what they use by rootfs: an image that a rootfs was made from can be untagged, but its layers stay
 * until the last rootfs is removed.
 *
 * Knows neither CRI nor pods. Threads: any, at once. */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct images;

struct images_config {
        const char *root;          /* ROOT/images.db, ROOT/layers, ROOT/rootfs, ROOT/trash live here */
        const char *state;         /* for what must not survive a reboot */
        const char *program_dir;   /* where skiff-pull and skiff-unpack are */
        const char *registry_dirs; /* colon-separated certs.d directories */
        uint32_t pull_uid;         /* the uid and gid that skiff-pull runs as */
        const char *const *pinned; /* NULL-terminated references that are never collected; may be NULL */
        uint32_t stall_s;          /* a registry that sends no byte for so long is given up; 0: 30 */
        int holder_fd; /* what skiff-pull and skiff-unpack inherit to be found by (base/holders.h); 0: nothing */
};

/* Opens the store under config->root (made where absent), finishes or undoes what an earlier process left, and starts
 * the worker that empties the trash. Errors: INTERNAL; FAILED_PRECONDITION for a store of a newer skiff. */
MUST_CHECK struct error *images_open(const struct images_config *config, struct images **out);
void images_free(struct images *images);

/* Takes what can change while the store is open, registry_dirs, pinned and stall_s, for what begins from now on; the rest of
 * config is not looked at. Errors: INVALID_ARGUMENT for a pinned reference that is none: then nothing has changed. */
MUST_CHECK struct error *images_configure(struct images *images, const struct images_config *config);
DEFINE_FREEP(struct images, images_free)

/* To be called every few seconds: ends helpers that were kept for a next pull and were not needed. */
void images_tidy(struct images *images);

/* What an image says of the containers to run from it (OCI image-spec config.md). Owned by struct image. */
struct image_config {
        char **entrypoint, **cmd, **env;        /* NULL-terminated, never NULL */
        char *working_dir, *user, *stop_signal; /* NULL or "" when absent */
        char **volumes;                         /* container paths, NULL-terminated, never NULL */
};

struct image {
        char *id;            /* "sha256:..." of the config */
        char **repo_tags;    /* normalized, NULL-terminated, never NULL */
        char **repo_digests; /* likewise */
        uint64_t size_bytes; /* of the layers unpacked plus the config, layers counted once an image */
        bool pinned;
        char *user;        /* of the config; "" where it has none */
        char *config_json; /* as it came: verified bytes, valid UTF-8. NULL in lists */
        char **diff_ids;   /* "sha256:..." of the layers' tars, base first, NULL-terminated */
        char *seam;        /* a layer that the store puts on top of them (seams.h), or NULL */
};

/* Parses a config that an image had (config_json), for who keeps it longer than the store does. image_config_done frees
 * what is in *out. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *image_config_parse(const char *json, struct image_config *out);
void image_config_done(struct image_config *config);

/* The same config with no more than that in it, for who keeps it: labels, ports and history may be megabytes. *out is the
 * caller's. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *image_config_trim(const char *json, char **out);

/* Frees an image that a function here handed out; NULL is fine. */
void image_free(struct image *image);
DEFINE_FREEP(struct image, image_free)

/* Finds an image by id ("sha256:HEX", "HEX" or a prefix of at least 12 digits when it is the only one), tag, repo
 * digest or short name ("busybox" is docker.io/library/busybox:latest). Errors: NOT_FOUND; INVALID_ARGUMENT for text
 * that is no reference. */
MUST_CHECK struct error *images_find(struct images *images, const char *reference, struct image **out);

/* All images, sorted by id, without their configs; *out is an array of *n owned by the caller (image_list_free). */
MUST_CHECK struct error *images_list(struct images *images, struct image ***out, size_t *n);

/* Those that text names, likewise: as images_find, and a repository without tag or digest means all of it. None: *n is 0.
 * Errors: INVALID_ARGUMENT for text that is no reference. */
MUST_CHECK struct error *images_select(struct images *images, const char *text, struct image ***out,
                                       size_t *n);
void image_list_free(struct image **list, size_t n);

/* Removes what the reference names: a tag or digest only that name (and the image with its last one), an id the image
 * with all its names. A repository's last tag takes that repository's digests along: they came with it, and a person who
 * removes the tag has no other name for what would stay. Succeeds when there is none. Layers that nothing uses any more
 * go to the trash at once and are emptied in the background; those that a rootfs uses stay until that is removed. */
MUST_CHECK struct error *images_remove(struct images *images, const char *reference);

struct image_auth { /* any may be NULL */
        const char *username, *password, *auth, *server_address, *identity_token, *registry_token;
};

/* How far a pull is. Bytes are of the layers as they come from the registry; layers that were here already count. */
struct pull_progress {
        uint64_t done_bytes, total_bytes;
        size_t done_layers, n_layers;
};

/* Told a few times a second while layers come, on the thread that pulls, and once at their end. Its error ends the pull. */
struct pull_watcher {
        struct error *(*tell)(void *context, const struct pull_progress *progress);
        void *context;
};

/* Pulls by reference; *out_id is the image's id. watcher may be NULL. asked_ns: when it was asked for, on
 * CLOCK_MONOTONIC; a pull of the same with the same credentials that was under way then serves it too (but not one with a
 * watcher). Cancel and deadline by wait. Errors: NOT_FOUND (the
 * registry has no such image, or it has none for this machine), UNAUTHENTICATED and PERMISSION_DENIED (no message repeats
 * a credential), INVALID_ARGUMENT (the reference; a manifest or config that is none), UNIMPLEMENTED (schema 1, what is no
 * image), UNAVAILABLE (a registry that cannot be reached, stalls or fails), RESOURCE_EXHAUSTED (disk, limits),
 * DATA_LOSS (a digest or size that does not match), FAILED_PRECONDITION (hosts.toml). Nothing is left after any. */
MUST_CHECK struct error *images_pull(struct images *images, const char *reference,
                                     const struct image_auth *auth, const struct pull_watcher *watcher,
                                     int64_t asked_ns, const struct wait *wait, char **out_id);

/* Imports an OCI layout (tar) or docker archive, plain, gzip or zstd, from archive_fd (seekable, borrowed). name (may
 * be NULL) is what its one image is called, whatever the archive calls it; INVALID_ARGUMENT if it has several. *out_ids: NULL-terminated ids, owned by the caller. Errors:
 * INVALID_ARGUMENT with the entry's name for a malformed or hostile archive, DATA_LOSS for a digest that does not
 * match, RESOURCE_EXHAUSTED for a full disk; nothing is left after any. */
MUST_CHECK struct error *images_import(struct images *images, int archive_fd, const char *name,
                                       const struct wait *wait, char ***out_ids);

/* One layer of the store. */
struct image_layer {
        char diff_id[72];
        uint64_t bytes, inodes; /* on the disk */
        unsigned n_images;      /* that have it; 0: kept for a rootfs alone, or for a pull under way */
};

/* All layers that are there; *out is an array of *n, the caller's to free. */
void images_layers(struct images *images, struct image_layer **out, size_t *n);

/* Writes the image as an OCI layout (a tar) to fd, an empty regular file. The layers' tars are made anew from what was
 * unpacked, the same bytes each time but mostly others than those that came: then the config names these diffIDs and the
 * exported image has an id of its own, *out_id (the caller's). Names and history stay. Errors: NOT_FOUND;
 * UNIMPLEMENTED for a config whose diffIDs cannot be replaced; RESOURCE_EXHAUSTED (disk). */
MUST_CHECK struct error *images_export(struct images *images, const char *reference, int fd,
                                       const struct wait *wait, char **out_id);

/* What a new image's config says otherwise than the old one's. Borrowed; NULL: as it was. */
struct image_changes {
        char *const *entrypoint,
                *const *cmd; /* NULL-terminated; an entrypoint without a cmd takes the old cmd away */
        char *const *env, *const *labels;    /* "KEY=VALUE", NULL-terminated, beside those that are there */
        char *const *ports, *const *volumes; /* "80/tcp", container paths; likewise */
        const char *user, *working_dir, *stop_signal;
};
struct image_commit {
        const char *
                container_id; /* has a rootfs, which nobody removes meanwhile: else it fails, or what went is missing */
        const char *image_id;         /* that it was made from */
        uint32_t ids_first, n_ids;    /* of its user namespace on the host; n_ids 0: it has none */
        const char *name;             /* of the new image; an image that has it loses it */
        const char *author, *comment; /* "": none */
        const struct image_changes *changes;
};

/* Makes an image of a container: the layers of its own, and on top of them one with what the container has written (volumes
 * and mounts are not in it). *out_id: the image's id, the caller's. Errors: INVALID_ARGUMENT for the name and changes that no
 * config can have; FAILED_PRECONDITION when the container's image is gone; ABORTED for a file that changed while it was read
 * (paused containers do not do that); UNIMPLEMENTED for a tree that is no layer; RESOURCE_EXHAUSTED (disk). Nothing is left
 * after any. Source: OCI image-spec config.md, layer.md. */
MUST_CHECK struct error *images_commit(struct images *images, const struct image_commit *commit,
                                       const struct wait *wait, char **out_id);

/* Bytes and inodes used, without a walk (kept up to date as layers come and go; rootfs sampled in the background). */
struct images_usage {
        char mountpoint[4096]; /* the mountpoint that holds root, from /proc/self/mountinfo */
        uint64_t image_bytes, image_inodes, container_bytes, container_inodes;
};
MUST_CHECK struct error *images_usage(struct images *images, struct images_usage *out);

/* --- rootfs: an image's layers with a writable directory on top, one per container, by container id --- */

/* Makes ROOT/rootfs/ID for a container of the image and holds the image's layers. Idempotent. Errors: NOT_FOUND if the
 * image is gone. */
MUST_CHECK struct error *rootfs_make(struct images *images, const char *container_id, const char *image_id);

/* Mounts it, detached: *out_fd is a mount (fsmount(2)) that nobody but its holders sees. */
MUST_CHECK struct error *rootfs_mount(struct images *images, const char *container_id, int *out_fd);

/* Whether rootfs_bound can work: FAILED_PRECONDITION, with the reason, where the store's filesystem has no project quotas. */
MUST_CHECK struct error *rootfs_bound_check(struct images *images);

/* Bounds what the container writes, beside its volumes of others, to max_bytes: it gets EDQUOT for more. Once, before it is
 * mounted. Errors: as rootfs_bound_check. */
MUST_CHECK struct error *rootfs_bound(struct images *images, const char *container_id, uint64_t max_bytes);

/* From here on what the container can write to, its rootfs and volumes, is mounted with this SELinux context; NULL: none. */
void rootfs_label(struct images *images, const char *container_id, const char *context);

/* From here on what is mounted for the container, its rootfs and volumes, has the ids of a user namespace (userns_fd,
 * borrowed), whose root is the host's id owner; until rootfs_unmap, which frees what that took and is fine where there is no
 * such thing. What has been mounted stays as it is. Errors: FAILED_PRECONDITION where kernel or filesystem cannot. */
MUST_CHECK struct error *rootfs_map(struct images *images, const char *container_id, int userns_fd,
                                    uint32_t owner);
void rootfs_unmap(struct images *images, const char *container_id);

/* Whether that works here, with userns_fd as an example. Errors: FAILED_PRECONDITION with the reason. */
MUST_CHECK struct error *images_map_check(struct images *images, int userns_fd);

/* A directory to look things up in before the first mount (an image's passwd): the layers, read-only and detached. The
 * second is of a rootfs, whose image may have been removed since. */
MUST_CHECK struct error *rootfs_view(struct images *images, const char *image_id, int *out_fd);
MUST_CHECK struct error *rootfs_view_below(struct images *images, const char *container_id, int *out_fd);

/* Holds another image's layers for as long as the container's rootfs exists, that of an image volume: it can be mounted
 * after its image was removed. Idempotent. Errors: NOT_FOUND if the image is gone. */
MUST_CHECK struct error *rootfs_hold(struct images *images, const char *container_id, const char *image_id);

/* The layers of an image that rootfs_hold was told of, read-only and detached. */
MUST_CHECK struct error *rootfs_held_view(struct images *images, const char *container_id,
                                          const char *image_id, int *out_fd);

/* A volume that the image declares at path: writable, with the image's content, mode and owner, detached; what is written to
 * it goes with the rootfs. */
MUST_CHECK struct error *rootfs_volume_mount(struct images *images, const char *container_id,
                                             const char *path, int *out_fd);

/* Whether the image has a file at path, which no volume can be mounted on. False where there is no rootfs. */
bool rootfs_has_file(struct images *images, const char *container_id, const char *path);

/* Removes it: renamed to the trash at once, emptied in the background. Succeeds where there is none, and on a full
 * disk. */
MUST_CHECK struct error *rootfs_remove(struct images *images, const char *container_id);

/* Bytes and inodes of the writable directory and of volumes, by a walk. Calls at once for one container share it. */
MUST_CHECK struct error *rootfs_usage(struct images *images, const char *container_id, uint64_t *bytes,
                                      uint64_t *inodes);

/* Ids of all rootfs that exist, NULL-terminated: for the sweep after a start. */
MUST_CHECK struct error *rootfs_list(struct images *images, char ***out_ids);
