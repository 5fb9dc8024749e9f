/* arena.h - memory of one call of the plugin, given back all at once.
 *
 * What is read from the configuration lives as long as the call, so nothing in it has an owner of its own. The input is
 * bounded, so when memory is out the process ends.
 *
 * Threads: one at a time. */
#pragma once
#include "base/cleanup.h"
#include <stddef.h>

struct arena {
        struct arena_block *blocks; /* NULL until something was taken */
};

/* Zeroed, aligned for any type; valid until arena_done. */
void *arena_take(struct arena *arena, size_t len_bytes) __attribute__((returns_nonnull));

/* A copy of len_bytes with a NUL behind it, and what printf(3) would write. */
char *arena_copy(struct arena *arena, const char *bytes, size_t len_bytes) __attribute__((returns_nonnull));
char *arena_format(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3)
        __attribute__((returns_nonnull));

/* Gives everything back; the arena is empty and may be used again. */
void arena_done(struct arena *arena);
