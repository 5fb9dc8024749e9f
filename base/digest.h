/* digest.h - "sha256:HEX" values. Threads: any. Source: OCI image-spec descriptor.md, OpenSSL EVP. */
#pragma once
#include "base/error.h"
#include <stddef.h>

#define DIGEST_TEXT_SIZE (sizeof("sha256:") + 64) /* with its NUL */
struct digest {
        unsigned char bytes[32];
};

/* Errors: INVALID_ARGUMENT for another algorithm, length or case. */
MUST_CHECK struct error *digest_parse(const char *text, struct digest *out);
void digest_format(const struct digest *digest, char out[DIGEST_TEXT_SIZE]);
void digest_of(const void *bytes, size_t len_bytes, struct digest *out);
int digest_equal(const struct digest *a, const struct digest *b);

struct digest_stream; /* hashes as bytes go by */
struct digest_stream *digest_stream_new(void);
void digest_stream_add(struct digest_stream *stream, const void *bytes, size_t len_bytes);
void digest_stream_end(struct digest_stream *stream, struct digest *out); /* no add afterwards */
void digest_stream_free(struct digest_stream *stream);
DEFINE_FREEP(struct digest_stream, digest_stream_free)
