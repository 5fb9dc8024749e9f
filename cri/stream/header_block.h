/* header_block.h - the compressed name/value blocks that open SPDY streams, bounded in all they take.
 *
 * All blocks of a connection are one zlib stream, so a block that is left out or cannot be read makes all that follow unreadable:
 * the connection is over. inflate's memory is its state and a window of 32 kB, most of which no client ever fills: the window
 * is its own mapping, of which only touched pages count.
 *
 * Threads: one a reader. Source: SPDY Protocol Draft 3.1, 2.6.10; zlib.h. */
#pragma once
#include "base/buf.h"
#include <stdbool.h>

#define HEADER_BLOCK_MAX (256 << 10) /* inflated */
#define HEADER_PAIRS_MAX 1000

struct header_reader; /* the inflater of a connection */

/* A reader at the beginning of a connection; NULL when there is no memory. */
struct header_reader *header_reader_new(void);
void header_reader_free(struct header_reader *reader); /* NULL is fine */
DEFINE_FREEP(struct header_reader, header_reader_free)

/* The pairs of one block: lengths of four bytes and texts, as they came, checked. */
struct headers {
        struct buf block;
};

/* Reads the next block. Errors: INVALID_ARGUMENT for one that cannot be read or is too large; RESOURCE_EXHAUSTED without memory. */
MUST_CHECK struct error *header_block_read(struct header_reader *reader, const void *bytes, size_t len_bytes,
                                           struct headers *out);
void headers_done(struct headers *headers); /* for _cleanup_; zeroed ones are fine */

/* Copies the value of this (lower-case) name into out as a string. False when there is none, or it has a NUL or no room. */
bool headers_get(const struct headers *headers, const char *name, char *out, size_t size_bytes);
