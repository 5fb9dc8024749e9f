/* transport.h - bytes to and from a client: its TCP socket, plain or with TLS, and what is on its way out.
 *
 * What goes out is a queue of bytes with at most one payload in the middle, a count of bytes that are spliced from a pipe
 * without being read. While anything of it waits for the socket the transport is not free, and nobody begins another data frame:
 * so the pipe and the socket hold what waits, and the queue only small frames and at most one copied one.
 *
 * A failure is remembered, not returned: the connection is over, and is looked at once, where it settles. Threads: one.
 * Source: splice(2), tcp(7). */
#pragma once
#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TRANSPORT_QUEUE_MAX (224 << 10)

struct tls;

struct transport {
        int fd;
        struct tls *tls; /* NULL: plain */
        struct buf queue;
        size_t before_payload; /* how many bytes of the queue go before the payload */
        size_t payload_bytes;  /* what of it is still to come */
        int payload_fd;        /* the pipe it comes from, borrowed */
        bool is_blocked;       /* until the socket is writable */
        bool is_dry;           /* the payload's pipe has less than was announced: until it is readable */
        bool is_broken;        /* nothing goes out any more */
};

/* Takes the socket, and tls, which may be NULL. */
void transport_init(struct transport *t, int fd, struct tls *tls);
void transport_done(struct transport *t); /* closes it and drops what waits */

/* Reads what is there, at most size_bytes. *ended: the peer has ended, or the connection is broken. */
size_t transport_receive(struct transport *t, void *bytes, size_t size_bytes, bool *ended);

/* Moves bytes that have come into the pipe without reading them, at most len_bytes. 0 when none goes: there is none, the pipe is
 * full or has no reader; transport_receive tells more. */
size_t transport_receive_into(struct transport *t, int pipe_fd, size_t len_bytes);

/* True when nothing waits. */
bool transport_is_free(const struct transport *t);

/* True when a payload can be spliced. */
bool transport_splices(const struct transport *t);

/* Puts bytes at the end of what waits; sent by the next flush. */
void transport_queue(struct transport *t, const void *bytes, size_t len_bytes);

/* Sends header and payload, copying what the socket does not take. The transport is free. */
void transport_send(struct transport *t, const void *header, size_t header_bytes, const void *payload,
                    size_t payload_bytes);

/* Sends a header and then payload_bytes from the pipe, which holds them. The transport is free and splices. */
void transport_splice(struct transport *t, const void *header, size_t header_bytes, int pipe_fd,
                      size_t payload_bytes);

/* Sends on what waits, as far as the socket takes it. */
void transport_flush(struct transport *t);

/* The epoll(7) events that the transport waits for in order to go on; reading aside. */
uint32_t transport_events(const struct transport *t);

/* No more will be sent: the peer sees the end behind what was. The transport is free. */
void transport_end(struct transport *t);
