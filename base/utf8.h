/* utf8.h - text that a protobuf string may carry: valid UTF-8 without NUL.
 *
 * One invalid string in an answer makes a Go client refuse all of it, so what comes from images, files or programs is
 * made valid before it goes out. Threads: no state. Source: RFC 3629. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Valid UTF-8 (no surrogates, no overlong forms) and no NUL in it. */
bool utf8_is_text(const void *bytes, size_t len_bytes);

/* A copy owned by the caller of at most limit_bytes of s: cut on a character, with "..." at the end where it was cut,
 * each byte that is not UTF-8 replaced by '?'. limit_bytes is at least 4. */
char *utf8_repair(const char *s, size_t limit_bytes);
