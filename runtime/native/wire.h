/* wire.h - flat bytes: numbers and counted strings, one after another, nothing padded, native byte order.
 *
 * Both ends are on one machine. A writer keeps its first error until wire_end; a reader that meets something wrong
 * (a length past the end, a string without its NUL or with one inside) is `bad` from then on and gives 0 and "". So
 * callers check once, at the end. Part of skiffd and of skiff-pod: never aborts. Threads: one at a time. */
#pragma once
#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct wire_writer {
        struct buf bytes;
        struct error *error; /* the first that happened */
};

/* --- writing: wire_begin, any number of puts, wire_end (or wire_done alone). Past limit_bytes: RESOURCE_EXHAUSTED. --- */
void wire_begin(struct wire_writer *w, size_t limit_bytes);
void wire_done(struct wire_writer *w); /* frees */
void wire_put_u32(struct wire_writer *w, uint32_t value);
void wire_put_u64(struct wire_writer *w, uint64_t value);
void wire_put_text(struct wire_writer *w, const char *text);    /* NULL is written as "" */
void wire_put_texts(struct wire_writer *w, char *const *texts); /* NULL-terminated; NULL: none */
void wire_put_bytes(struct wire_writer *w, const void *bytes, size_t len_bytes);
MUST_CHECK struct error *wire_end(struct wire_writer *w); /* the first error, which the caller owns */

/* A struct within a message, with its length before it: a reader that knows fewer fields finds its end. at: what begin
 * gave. */
size_t wire_struct_begin(struct wire_writer *w);
void wire_struct_end(struct wire_writer *w, size_t at);

struct wire_reader {
        const char *at;
        size_t left_bytes;
        bool bad;
};

/* --- reading: wire_open, any number of gets, wire_close. The bytes are borrowed. --- */
void wire_open(struct wire_reader *r, const void *bytes, size_t len_bytes);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
const char *wire_get_text(struct wire_reader *r);                     /* borrowed from the bytes */
const void *wire_get_bytes(struct wire_reader *r, size_t *len_bytes); /* likewise */

/* A count of things of at least least_bytes each: bad when they cannot all be there, so it bounds an allocation. */
size_t wire_get_count(struct wire_reader *r, size_t least_bytes);

/* Strings into an array of the caller's (free), NULL-terminated; the strings are borrowed. NULL when bad or out of
 * memory (bad then too). */
char **wire_get_texts(struct wire_reader *r);

/* A reader of the struct that comes next, whose gets find no more than that; r goes on behind it. What is left over in it
 * is of a newer version. wire_struct_leave hands its `bad` on to r. */
struct wire_reader wire_struct_enter(struct wire_reader *r);
void wire_struct_leave(struct wire_reader *r, const struct wire_reader *inner);

/* Whether a field that older versions do not have is there: it is the next one. Without it its default counts. */
bool wire_has_more(const struct wire_reader *r);

/* INVALID_ARGUMENT when something was bad. What is left over is of a newer version, and passed over. */
MUST_CHECK struct error *wire_close_newer(const struct wire_reader *r, const char *what);

/* INVALID_ARGUMENT when something was bad or bytes are left over. */
MUST_CHECK struct error *wire_close(const struct wire_reader *r, const char *what);
