/* wait.h - how long an operation may take, and what can end it early.
 *
 * Every wait in skiff is a poll of what it waits for together with its operation's cancel descriptor, bounded by
 * a deadline. A struct wait carries both down through the folders; it borrows the descriptor.
 *
 * Threads: a struct wait is read only. Part of base_core. Source: poll(2), clock_gettime(2). */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define WAIT_FOREVER INT64_MAX

struct wait {
        int64_t deadline_ns; /* on CLOCK_MONOTONIC, as clock_monotonic_ns gives it; WAIT_FOREVER for none */
        int cancel_fd;       /* readable (for ever) once the operation is cancelled; -1 for none */
};

/* A wait that ends timeout_ms from now and cannot be cancelled: for undo and end steps. */
struct wait wait_of_ms(int64_t timeout_ms);

/* The same operation with at most timeout_ms from now. */
struct wait wait_within(const struct wait *w, int64_t timeout_ms);

/* Milliseconds left for poll(2): 0 when the deadline has passed, -1 for no deadline. */
int wait_left_ms(const struct wait *w);

/* Returns NULL when fd is ready for events (POLLIN, ...; an error or hangup on it counts as ready), else
 * CANCELLED or DEADLINE_EXCEEDED, whose message starts with `what`. */
MUST_CHECK struct error *wait_fd(const struct wait *w, int fd, short events, const char *what);

/* Sleeps for at most delay_ms, less when the deadline is nearer. Errors as wait_fd. For the few places where the
 * kernel offers nothing to poll; each says why. */
MUST_CHECK struct error *wait_delay(const struct wait *w, int64_t delay_ms, const char *what);

/* CANCELLED or DEADLINE_EXCEEDED if that has happened already. */
MUST_CHECK struct error *wait_check(const struct wait *w, const char *what);
