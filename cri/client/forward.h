/* forward.h - local connections carried into a pod, all over one connection of streams.
 *
 * Each has a data stream, and an error stream on which the server says in words what went wrong: a port that refuses is told on
 * stderr and ends that connection alone. Ends are half-closes both ways. There is no flow control, so a local
 * program that does not read holds back all others once its buffer is full; nothing grows without a bound.
 *
 * Threads: one. */
#pragma once
#include "base/error.h"
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#define FORWARD_PAIRS_MAX 512 /* at once; more wait to be accepted */

struct forward;

/* Connects to the URL that PortForward gave. Errors: upgrade.h's. */
MUST_CHECK struct error *forward_open(const char *url, struct forward **out);
void forward_free(struct forward *forward); /* ends all connections */
DEFINE_FREEP(struct forward, forward_free)

/* Carries an accepted nonblocking socket to the pod's port; the socket is the forward's, even after an error. */
MUST_CHECK struct error *forward_add(struct forward *forward, int fd, uint16_t port);
bool forward_has_room(const struct forward *forward);

/* Polls once for all of them and for the caller's `more`, and does what can be done. Errors: UNAVAILABLE when the server is gone;
 * INVALID_ARGUMENT when it breaks the protocol. */
MUST_CHECK struct error *forward_step(struct forward *forward, struct pollfd *more, size_t n_more);

struct forward_ports {
        uint16_t local, remote; /* local 0: any that is free */
};

/* "8080:80", "80" for "80:80", ":80" for any local one. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *forward_parse(const char *text, struct forward_ports *out);
