/* mux.h - streams of a session over one connection, whichever framing carries them: SPDY, WebSocket, or one in the other.
 *
 * A framing (struct mux) reads what the client sends and hands it to the purpose of the connection (purpose.h); what is sent goes
 * through here, with the framing's header before it. Streams belong to the framing; a purpose knows them by pointer until it
 * forgets them.
 *
 * Threads: one. */
#pragma once
#include "base/error.h"
#include "cri/stream/transport.h"
#include <stdbool.h>
#include <stdint.h>

#define MUX_HEADER_MAX 24
#define MUX_COPY_BYTES                                                                                       \
        (128 << 10) /* of a frame that is copied: with 32 kB a port-forward is a quarter slower */
#define MUX_SPLICE_BYTES (1 << 20) /* of one that is spliced */

/* Shared by all connections: nothing stays in it between two events. */
struct scratch {
        uint8_t in[128 << 10];                  /* what was received */
        uint8_t out[MUX_COPY_BYTES];            /* what is to be sent */
        char coded[MUX_COPY_BYTES / 3 * 4 + 8]; /* the same in base64 */
};

struct stream {
        uint32_t id; /* WebSocket: the channel */
        unsigned role;
        void *owner; /* role and owner: the purpose's */
        bool fin_got, fin_sent;
        bool is_reset;        /* by either side: nothing goes any more */
        int64_t window_bytes; /* that the peer takes, if it keeps windows at all */
};

struct purpose;
struct mux;

struct mux_ops {
        /* Reads what has come, and may change it. Errors: INVALID_ARGUMENT: the session is over. */
        struct error *(*feed)(struct mux *mux, uint8_t *bytes, size_t len_bytes);
        /* How many of the client's next bytes go to this pipe as they are; 0 when they are to be fed. *feed_bytes: how many are worth
         * receiving at once in order to feed them. NULL: none ever. */
        size_t (*straight)(struct mux *mux, int *pipe_fd, size_t *feed_bytes);
        void (*went_straight)(struct mux *mux, size_t len_bytes); /* that many did */
        /* The header of a data frame on its way out; returns its length. */
        size_t (*header)(struct mux *mux, struct stream *stream, size_t payload_bytes,
                         uint8_t out[MUX_HEADER_MAX]);
        size_t (*room)(const struct mux *mux, const struct stream *stream); /* how much the peer takes now */
        void (*fin)(struct mux *mux, struct stream *stream);
        void (*reset)(struct mux *mux, struct stream *stream);
        void (*forget)(struct mux *mux, struct stream *stream); /* frees it */
        struct stream *(*channel)(struct mux *mux,
                                  uint32_t id);     /* WebSocket: the stream of this channel, new */
        void (*seal)(struct mux *mux);              /* no streams are to come */
        void (*probe)(struct mux *mux);             /* asks for a sign of life */
        void (*finish)(struct mux *mux, bool well); /* says that nothing follows */
        void (*free)(struct mux *mux);
};

struct mux {
        const struct mux_ops *ops;
        struct transport *transport;
        struct scratch *scratch;
        struct purpose *purpose;
        bool is_base64;
        bool is_framed_by_channel; /* WebSocket: streams are there from the beginning, and none can be closed alone */
};

/* Queues bytes as one frame. */
void mux_send(struct mux *mux, struct stream *stream, const void *bytes, size_t len_bytes);

/* Ends our side of the stream, or all of it. Fine when that has been done. */
void mux_fin(struct mux *mux, struct stream *stream);
void mux_reset(struct mux *mux, struct stream *stream);

/* Where a stream's output comes from. */
struct outlet {
        int fd; /* borrowed */
        bool is_pipe;
        size_t left_bytes; /* no more than this; SIZE_MAX at first */
};

enum pump {
        PUMP_SENT,   /* a frame; there may be more */
        PUMP_EMPTY,  /* nothing is there now */
        PUMP_HELD,   /* the client takes nothing now */
        PUMP_ENDED,  /* nothing will come */
        PUMP_BROKEN, /* the same, by an error: errno */
};

/* Sends a frame of what is there. */
enum pump mux_pump(struct mux *mux, struct stream *stream, struct outlet *outlet);

/* True when mux_pump would not be held. */
bool mux_takes(const struct mux *mux, const struct stream *stream);
