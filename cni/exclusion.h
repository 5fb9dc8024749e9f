/* exclusion.h - many at once, or one alone: ADDs and DELs beside each other, and a GC beside none of them.
 *
 * Who wants to be alone waits until nobody is in, and keeps nobody out meanwhile: one that hangs would stop the node's pods.
 * Who comes while one is alone waits for it, and can be cancelled. Threads: any. */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct exclusion {
        pthread_mutex_t lock; /* for moments */
        pthread_cond_t left;  /* n_in has become 0 */
        size_t n_in;
        bool alone, wanted; /* wanted: somebody waits to be alone */
        int open_fd;        /* eventfd, readable while nobody is alone */
};

/* Errors: INTERNAL when there is no eventfd. exclusion_done is to be called in any case. */
MUST_CHECK struct error *exclusion_init(struct exclusion *exclusion);
void exclusion_done(struct exclusion *exclusion);

/* One of many. Errors: CANCELLED, DEADLINE_EXCEEDED, of wait. */
MUST_CHECK struct error *exclusion_enter(struct exclusion *exclusion, const struct wait *wait);
void exclusion_leave(struct exclusion *exclusion);

/* The one alone. Errors: UNAVAILABLE when somebody was in for patience_ms, or another is alone or waits to be. */
MUST_CHECK struct error *exclusion_begin(struct exclusion *exclusion, int64_t patience_ms);
void exclusion_end(struct exclusion *exclusion);
