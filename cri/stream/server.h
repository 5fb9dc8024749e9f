/* server.h - all that skiff-stream holds: its clients, the tokens that skiffd announced, the way to skiffd.
 *
 * Descriptors are counted, since a receive that finds none free loses what came: clients that have no session go first, then new
 * sessions are refused. Threads: one. */
#pragma once
#include "base/loop.h"
#include "cri/stream/connection.h"
#include "cri/stream/token.h"

/* Of an exec or attach: channel, input, output, errors. A port-forward has one, and one a connection. */
#define SESSION_FDS 4

struct tls_config;

struct connection_list {
        struct connection *first, **last; /* the oldest first */
        size_t n;
};

struct server {
        struct loop loop;
        struct source control; /* to skiffd */
        struct source listener;
        struct timer pause; /* of the listener, when accept(2) finds no memory */
        struct token_table tokens;
        struct timer expiry;            /* of tokens */
        struct timer rest;              /* after the last client has gone */
        struct tls_config *tls;         /* NULL: plain */
        struct connection_list waiting; /* for their sessions */
        struct connection_list serving;
        size_t fds_used, fds_max;
        bool is_stopping; /* skiffd has gone */
        struct scratch *scratch;
        struct control_received *received;
};

/* Serves until skiffd has gone and the last session has ended. The descriptors are those of CONTROL_FD_...; fds_max is what the
 * process may open. Errors: INTERNAL when the loop cannot be. */
MUST_CHECK struct error *server_run(struct tls_config *tls, size_t fds_max);

/* A connection begins: it waits. When there are too many that wait the oldest is cut. */
void server_remember(struct server *server, struct connection *connection);
void server_promote(struct server *server, struct connection *connection); /* it waits no more */
void server_forget(struct server *server, struct connection *connection);  /* it is gone */

/* The token of this text, for the caller to free; NULL when there is none. */
struct token *server_take_token(struct server *server, const char *text);

bool server_has_room(const struct server *server); /* for one more session's descriptors */

/* Descriptors that a session holds more (or less) than before. */
void server_count_fds(struct server *server, int more);

/* Asks skiffd for the session of the purpose's token; opened or failed answers. Errors: UNAVAILABLE when skiffd cannot be asked. */
MUST_CHECK struct error *server_open_session(struct server *server, struct purpose *purpose, uint16_t rows,
                                             uint16_t columns);
