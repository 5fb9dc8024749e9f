/* manifest.h - image manifests and indexes of both families (OCI, Docker schema 2), and docker archives' manifest.json.
 *
 * Bytes from outside, whose digest skiffd has checked: bounded in every list, refused where two readings are possible.
 * Threads: any. Source: OCI image-spec manifest.md, image-index.md, media-types.md; Docker's image manifest v2
 * schema 2; CVE-2021-41190. */
#pragma once
#include "base/digest.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define MANIFEST_LIMIT_BYTES (4u << 20) /* of a manifest, index or config */
#define LAYERS_MAX 500                  /* overlayfs takes no more (OVL_MAX_STACK) */
#define INDEX_MAX 1000

struct descriptor {
        char *media_type; /* never NULL; "" where it says none */
        bool is_artifact; /* it says of itself that it is something else than an image */
        struct digest digest;
        int64_t size_bytes;
        char *os, *architecture, *variant; /* NULL where no platform is given */
        char *name;                        /* org.opencontainers.image.ref.name, or NULL */
        char *fullname;                    /* io.containerd.image.name, or NULL */
};

enum manifest_kind { MANIFEST_IMAGE, MANIFEST_INDEX };

struct manifest {
        enum manifest_kind kind;
        struct descriptor config;   /* of an image */
        struct descriptor *entries; /* an image's layers, base first; an index's manifests */
        size_t n;
};

/* media_type is what the transport said (may be NULL or ""); the bytes' own mediaType wins. Null stands for an empty list.
 * Types of configs and layers that are not known are taken: what they hold tells. Errors: INVALID_ARGUMENT, naming the
 * field; UNIMPLEMENTED for schema 1 and for what is no image (its type is named). */
MUST_CHECK struct error *manifest_parse(const char *bytes, size_t len_bytes, const char *media_type,
                                        struct manifest **out);
void manifest_free(struct manifest *manifest);
DEFINE_FREEP(struct manifest, manifest_free)

/* The entries of an index that may be images for this machine, the best first (platform.h), and of those that rank the
 * same as the index has them: *out is an array of *n, the caller's (free). Attestations, signatures and what else lies
 * beside images is left out, as far as the index tells. *n is 0 where there is none. */
void manifest_candidates(const struct manifest *index, const struct descriptor ***out, size_t *n);

/* NOT_FOUND: "no image for linux/amd64 in the index, but for linux/arm64"; the first eight are named. */
MUST_CHECK struct error *manifest_no_image(const struct manifest *index);

/* The first unknown type among an image's layers, or NULL: for errors. */
const char *manifest_odd_layer(const struct manifest *image);
/* Whether an image's config is of a type that images have. */
bool manifest_config_is_known(const struct manifest *image);

/* One image of a docker archive: names of files in it. */
struct docker_image {
        char *config;
        char **layers;    /* NULL-terminated, base first */
        char **repo_tags; /* NULL-terminated, never NULL */
};

/* manifest.json of a docker archive. *n images, owned by the caller (docker_images_free). Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *docker_manifest_parse(const char *bytes, size_t len_bytes, struct docker_image **out,
                                               size_t *n);
void docker_images_free(struct docker_image *images, size_t n);
