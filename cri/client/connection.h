/* connection.h - a connection of streams, over SPDY: what a session and a port-forward have in common.
 *
 * It never waits. What is to be sent is kept until the socket takes it, and connection_room says when that is enough; what has
 * come is handed out an event at a time, and nothing is received before all of it is taken: so whoever does not take
 * events holds the server back. Pings are answered here.
 *
 * Threads: one. */
#pragma once
#include "base/error.h"
#include "cri/client/spdy.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;

/* Connects to a URL that a CRI call gave: upgrade() of upgrade.h, with its errors. */
MUST_CHECK struct error *connection_open(const char *url, const char *const *protocols,
                                         struct connection **out);
void connection_free(struct connection *connection); /* goes away without a word */
DEFINE_FREEP(struct connection, connection_free)

/* Opens a stream. Nothing may be written to it before its SPDY_REPLY: Kubernetes' own server drops what comes earlier. */
MUST_CHECK struct error *connection_add(struct connection *connection, const struct spdy_pair *pairs,
                                        size_t n_pairs, uint32_t *out_stream);
/* Queues data; is_last: our half of the stream ends. */
MUST_CHECK struct error *connection_write(struct connection *connection, uint32_t stream, const void *bytes,
                                          size_t len_bytes, bool is_last);
/* Queues a RST_STREAM. */
MUST_CHECK struct error *connection_reset(struct connection *connection, uint32_t stream);

/* How many bytes may be queued now: 0 while the server does not take what there is. */
size_t connection_room(const struct connection *connection);

/* For poll(2): events that are waited for. takes_more: whether the caller can take events; -1 for fd is passed over. */
int connection_fd(const struct connection *connection);
short connection_events(const struct connection *connection, bool takes_more);

/* Sends and receives what can be, by poll's answer. A connection that breaks has ended. */
void connection_ready(struct connection *connection, short revents);

/* The next event of what was received; SPDY_NONE when there is none yet. */
MUST_CHECK struct error *connection_next(struct connection *connection, struct spdy_event *out);

/* Whether the server has closed and every event was taken. */
bool connection_ended(const struct connection *connection);
