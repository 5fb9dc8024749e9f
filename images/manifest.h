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
        char *media_type; /* never NULL */
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

/* media_type is what the transport said (may be NULL or ""); the bytes' own mediaType wins. Errors: INVALID_ARGUMENT,
 * naming the field; UNIMPLEMENTED for schema 1, for what is no image (its type is named) and for unknown layers. */
MUST_CHECK struct error *manifest_parse(const char *bytes, size_t len_bytes, const char *media_type,
                                        struct manifest **out);
void manifest_free(struct manifest *manifest);
DEFINE_FREEP(struct manifest, manifest_free)

/* The entry of an index for this machine (os linux, the machine's architecture, the most general variant). Errors:
 * NOT_FOUND, naming the platform. */
MUST_CHECK struct error *manifest_choose(const struct manifest *index, const struct descriptor **out);

/* Whether this machine can run what the descriptor's platform says; one without a platform counts. */
bool manifest_platform_fits(const struct descriptor *descriptor);

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
