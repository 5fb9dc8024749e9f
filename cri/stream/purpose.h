/* purpose.h - what a connection is for, once it is upgraded: an exec or attach (remote.h), or a port-forward (forward.h).
 *
 * A purpose is called by its framing (mux.h) for what the client does, by the server for what skiffd answers, and by its connection
 * before each wait. It frees nothing that its callers hold: streams are forgotten in resume alone, and at its end it says
 * connection_finish and is freed when the connection settles.
 *
 * Threads: one. */
#pragma once
#include "base/session.h"
#include "cri/stream/header_block.h"
#include "cri/stream/mux.h"
#include "cri/stream/token.h"

struct connection;
struct purpose;

struct purpose_ops {
        void (*begin)(struct purpose *purpose); /* the answer is on its way: streams may come */
        /* The client opens a stream. Returns 0 to take it, else the enum spdy_status to refuse it with. */
        uint32_t (*open)(struct purpose *purpose, struct stream *stream, const struct headers *headers);
        void (*data)(struct purpose *purpose, struct stream *stream, const uint8_t *bytes, size_t len_bytes);
        /* The pipe that this stream's data goes to as it is, now; -1: it is to be fed. */
        int (*straight)(struct purpose *purpose, struct stream *stream);
        void (*fin)(struct purpose *purpose, struct stream *stream);   /* the client's side has ended */
        void (*reset)(struct purpose *purpose, struct stream *stream); /* the client wants no more of it */
        /* True while nothing more is to be read from the client. */
        bool (*is_stuck)(const struct purpose *purpose);
        /* Watches what can go on now, for all has changed. */
        void (*resume)(struct purpose *purpose);
        /* skiffd's answers; what is taken of fds becomes -1. */
        void (*opened)(struct purpose *purpose, struct session_fds *fds);
        void (*failed)(struct purpose *purpose, const char *why);
        void (*free)(struct purpose *purpose);
};

struct purpose {
        const struct purpose_ops *ops;
        struct connection *connection;
        struct mux *mux;
        struct token *token; /* owned */
        unsigned version;    /* of the remote command protocol */
        bool awaits_skiffd;  /* a CONTROL_OPEN is on its way */
};
