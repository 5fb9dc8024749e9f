/* operation.h - at most one thing at a time happens to an object.
 *
 * operation_begin waits for its turn; the same kind of call joins the one under way and gets its result. An operation
 * that builds (run, create, start) can be cancelled: by its caller, or by one that ends the object, which then waits for
 * the undoing. Operations that end an object cannot be cancelled and do not stop when their caller leaves.
 *
 * Threads: node->lock (given at begin) guards struct operation; it is not held when these are called. */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <pthread.h>
#include <stdbool.h>

enum operation_kind {
        OPERATION_NONE,
        OPERATION_MAKE,
        OPERATION_START,
        OPERATION_ASK, /* to end: a moment, before a stop's grace. Cancels what builds, and is not joined */
        OPERATION_STOP,
        OPERATION_REMOVE,
        OPERATION_OTHER
};

struct operation_turn; /* one waiter */

struct operation { /* zeroed: nothing happens */
        enum operation_kind kind;
        int cancel_fd; /* eventfd of a cancellable operation, or 0 */
        struct operation_turn *waiting;
};

/* Waits until the object is free and takes it for `kind`. For ASK, STOP and REMOVE: cancels a MAKE or START that is under way.
 * *joined: where the same kind (STOP, REMOVE) was under way it has ended, and *result is a copy of its error (or NULL);
 * the object is not taken then. Errors: CANCELLED, DEADLINE_EXCEEDED while waiting (wait NULL: for ever). */
MUST_CHECK struct error *operation_begin(struct operation *operation, pthread_mutex_t *lock,
                                         enum operation_kind kind, const struct wait *wait, bool *joined,
                                         struct error **result);

/* The wait of a cancellable operation: the caller's, and also ended by a cancel from another operation. The descriptor in
 * *out is closed by operation_wait_done. */
MUST_CHECK struct error *operation_wait(struct operation *operation, pthread_mutex_t *lock,
                                        const struct wait *caller, struct wait *out);
void operation_wait_done(struct wait *wait);

/* Frees the object for the next; joined waiters get a copy of result, which stays the caller's. */
void operation_end(struct operation *operation, pthread_mutex_t *lock, const struct error *result);
