/* buf.h - growable bytes with a limit.
 *
 * Every buffer that holds bytes from outside has a limit set when it is made, and an append past it fails with
 * RESOURCE_EXHAUSTED, the buffer unchanged. One NUL is always kept behind the bytes (not counted in len_bytes),
 * so text can be used as a string. Part of base_core: out of memory is an error, never an abort.
 *
 * Threads: one at a time. */
#pragma once
#include "base/error.h"
#include <stddef.h>

struct buf {
        char *bytes; /* NULL until something was appended */
        size_t len_bytes, size_bytes, limit_bytes;
};

/* Empty; nothing is taken before the first append. */
void buf_init(struct buf *b, size_t limit_bytes);
void buf_done(struct buf *b); /* frees the bytes; b may be used again after buf_init */

/* Appends bytes, a text without its NUL, or what printf(3) would write. Errors: RESOURCE_EXHAUSTED past the limit or
 * without memory. */
MUST_CHECK struct error *buf_append(struct buf *b, const void *bytes, size_t len_bytes);
MUST_CHECK struct error *buf_append_text(struct buf *b, const char *text);
MUST_CHECK struct error *buf_append_format(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Makes room for len_bytes more and returns where they go; the caller writes there and calls buf_added with
 * what it wrote. */
MUST_CHECK struct error *buf_reserve(struct buf *b, size_t len_bytes, char **out);
void buf_added(struct buf *b, size_t len_bytes);

/* Drops the first len_bytes (at most all). */
void buf_consume(struct buf *b, size_t len_bytes);

/* The text as a string owned by the caller (never NULL); the buffer is empty afterwards. NULL only when memory
 * is out. */
char *buf_take_text(struct buf *b);

/* Reads fd to its end. Errors: RESOURCE_EXHAUSTED past the limit; INTERNAL when a read fails. */
MUST_CHECK struct error *buf_read_all(struct buf *b, int fd);
