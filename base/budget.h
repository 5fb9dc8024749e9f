/* budget.h - bytes that many take from one pot, so that all of them together have a bound.
 *
 * Whoever takes has a share: some bytes of its own, which nobody can take from it, and what it gets of the pot. It takes as
 * much as there is, never waits, and gives all back at once.
 *
 * Threads: a budget any, at once; a share one at a time. */
#pragma once
#include <stdatomic.h>
#include <stddef.h>

struct budget {
        atomic_size_t left_bytes;
};
/* The pot. */
void budget_init(struct budget *budget, size_t bytes);

struct share {
        struct budget *budget; /* borrowed; outlives the share */
        size_t own_bytes;      /* left of its own */
        size_t taken_bytes;    /* of the pot */
};
void share_init(struct share *share, struct budget *budget, size_t own_bytes);

/* Takes at most want_bytes, its own first, and returns how many it got. */
size_t share_take(struct share *share, size_t want_bytes);

void share_done(struct share *share); /* gives back; harmless when zeroed */
