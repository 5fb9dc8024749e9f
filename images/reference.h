/* reference.h - what people write to name an image: "busybox", "quay.io/a/b:1", "host:5000/x@sha256:...".
 *
 * Parsed references are whole: a missing registry is docker.io, a bare name there lives in library/, a missing tag is
 * latest; where a digest is given it alone decides and the tag is dropped. Threads: any.
 * Source: distribution's reference grammar, OCI distribution-spec. */
#pragma once
#include "base/error.h"
#include <stdbool.h>

struct reference {
        char *domain; /* "docker.io", "localhost:5000" */
        char *path;   /* "library/busybox" */
        char *tag;    /* NULL where digest is set */
        char *digest; /* "sha256:...", or NULL */
};

/* Errors: INVALID_ARGUMENT, quoting the text. */
MUST_CHECK struct error *reference_parse(const char *text, struct reference **out);
void reference_free(struct reference *reference);
DEFINE_FREEP(struct reference, reference_free)

/* "docker.io/library/busybox:latest" or "...@sha256:..."; owned by the caller. */
char *reference_name(const struct reference *reference);

/* "docker.io/library/busybox"; owned by the caller. */
char *reference_repository(const struct reference *reference);

/* Whether text is 12 to 64 hex digits, "sha256:" before them or not: an image id or a prefix of one. *hex is where the
 * digits start. */
bool reference_is_id(const char *text, const char **hex);
