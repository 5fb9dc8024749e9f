/* connection.h - one client, from its accept to its end.
 *
 *     HEAD -> SESSION -> ENDING -> LINGERING -> gone
 *          -> ENDING (an answer that refuses)
 *
 * HEAD: the request has not come whole. SESSION: upgraded, a framing and a purpose serve it. ENDING: all is said and waits for the
 * socket. LINGERING: our end is sent, and what the client still sends is read away, for a while: a close with unread bytes sends a
 * reset, which takes from the client what it has not read yet.
 *
 * Whatever happens to a connection ends with connection_settle, and only there is anything freed. Threads: one. */
#pragma once
#include "base/loop.h"
#include "cri/stream/mux.h"
#include "cri/stream/purpose.h"
#include "cri/stream/watch.h"

enum connection_phase {
        CONNECTION_HEAD,
        CONNECTION_SESSION,
        CONNECTION_ENDING,
        CONNECTION_LINGERING,
        CONNECTION_GONE,
};

struct server;

struct connection {
        struct server *server;
        struct connection *next, **link; /* in one of the server's lists */
        bool is_served;                  /* in which */
        enum connection_phase phase;
        struct transport transport;
        struct watch watch;
        struct timer timer; /* the head's, then idleness, then lingering */
        struct timer probe; /* while the purpose is stuck */
        struct buf head;
        size_t head_seen_bytes;
        struct mux *mux;
        struct purpose *purpose;
        int64_t active_ns; /* when a byte last went either way */
        uint64_t drained_bytes;
};

/* Takes the socket; the connection is in the server's list of those that wait. */
void connection_new(struct server *server, int fd);

/* Flushes, watches for what can go on, and frees the connection when it has gone. The last thing for each event. */
void connection_settle(struct connection *connection);

/* A byte has gone to the client or come from it: it is not idle. */
void connection_touch(struct connection *connection);

/* All is said; the end follows when it is sent. */
void connection_finish(struct connection *connection);

/* The same, but the client wants no more: what is half sent is cut. */
void connection_leave(struct connection *connection);

/* It is over at once. */
void connection_drop(struct connection *connection);

/* Settles after dropping. */
void connection_cut(struct connection *connection);
