/* inflate.h - a compressed stream to its bytes, hashing both on the way.
 *
 * gzip (all members), zstd (all frames) or plain, told apart by the first bytes. Everything that flows is bounded:
 * what comes in by the length that skiffd gave, what comes out by a maximum, memory by the window that zstd may ask for
 * (128 MiB). Threads: one at a time. Source: RFC 1952, RFC 8878. */
#pragma once
#include "base/digest.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct inflate;

/* Where the bytes come from: as read(2). */
struct inflate_source {
        ssize_t (*read)(void *context, void *bytes, size_t size_bytes);
        void *context;
};

/* Finds out what the stream is (gzip, zstd, plain) by its first bytes. max_in_bytes and max_out_bytes: more than that is
 * RESOURCE_EXHAUSTED. source is borrowed and outlives it. */
MUST_CHECK struct error *inflate_open(const struct inflate_source *source, uint64_t max_in_bytes,
                                      uint64_t max_out_bytes, struct inflate **out);
void inflate_free(struct inflate *inflate);
DEFINE_FREEP(struct inflate, inflate_free)

/* The next bytes, borrowed until the next call; *len_bytes is 0 at the end. All but the last chunk are of one size, a
 * multiple of 512. Errors: DATA_LOSS for a broken stream (inflate_at_end tells one that just ended);
 * RESOURCE_EXHAUSTED past a limit. */
MUST_CHECK struct error *inflate_next(struct inflate *inflate, const void **bytes, size_t *len_bytes);

/* Whether the source has ended: whoever wrote to it may know why it was so little. */
bool inflate_at_end(const struct inflate *inflate);

struct inflate_result {
        struct digest in, out;
        uint64_t in_bytes, out_bytes;
};

/* Reads both to their ends and gives their digests; nothing may be read afterwards. Errors: as inflate_next. */
MUST_CHECK struct error *inflate_finish(struct inflate *inflate, struct inflate_result *result);

/* Reads the source to its end without inflating any of it, and gives its length and digest alone: for a stream that
 * turned out to be broken. Nothing may be read afterwards. Errors: the source's own, and DATA_LOSS when it is too long. */
MUST_CHECK struct error *inflate_drain(struct inflate *inflate, struct inflate_result *result);
