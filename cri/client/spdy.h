/* spdy.h - SPDY/3.1 frames as Kubernetes' streams use them, from a client's side: written into a buffer, taken apart as they
 * come.
 *
 * Header blocks are zlib with a dictionary. Ours are stored, not deflated: a block is a few dozen bytes. The server's are passed
 * over, since no answer has a header that means anything. DATA may be 16 MB a frame, so it is handed on in the pieces that
 * arrived, and nothing is kept. There is no flow control: nobody in Kubernetes does it.
 *
 * Threads: one a reader. Source: draft-mbelshe-httpbis-spdy-00, RFC 1950, RFC 1951 3.2.4. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define SPDY_DATA_MAX 32768 /* what others put into a frame */
#define SPDY_CANCEL 5       /* a RST_STREAM's status */

struct spdy_pair {
        const char *name, *value;
};

/* Appends a SYN_STREAM. is_first: of its connection, whose blocks are one zlib stream. */
MUST_CHECK struct error *spdy_put_open(struct buf *out, bool is_first, uint32_t stream,
                                       const struct spdy_pair *pairs, size_t n_pairs);
/* Appends DATA frames of at most SPDY_DATA_MAX; is_last: nothing follows on this stream. */
MUST_CHECK struct error *spdy_put_data(struct buf *out, uint32_t stream, const void *bytes, size_t len_bytes,
                                       bool is_last);
/* Appends a RST_STREAM (CANCEL), or a PING. */
MUST_CHECK struct error *spdy_put_reset(struct buf *out, uint32_t stream);
MUST_CHECK struct error *spdy_put_ping(struct buf *out, uint32_t id);

enum spdy_event_kind {
        SPDY_NONE,  /* more bytes are needed */
        SPDY_REPLY, /* stream: the server has taken it */
        SPDY_DATA,  /* stream, bytes: a piece, borrowed from what was read */
        SPDY_END,   /* stream: the server writes no more on it */
        SPDY_RESET, /* stream, value: the status */
        SPDY_PING,  /* value: the id */
        SPDY_GOAWAY /* no more streams will be taken */
};

struct spdy_event {
        enum spdy_event_kind kind;
        uint32_t stream, value;
        const uint8_t *bytes;
        size_t len_bytes;
};

/* Where in a frame the bytes are; all zero at the start. */
struct spdy_reader {
        uint8_t head
                [16]; /* the frame's own eight bytes, and of a control frame the first eight of its payload */
        size_t have_bytes;   /* of head */
        uint32_t left_bytes; /* of the payload, when head is complete */
        uint32_t end_of;     /* a stream whose end is still to be told, 0: none */
        bool in_payload;
};

/* Takes bytes up to the next event and says how many. It is to be called until the event is SPDY_NONE, with what was not used
 * yet. Errors: INVALID_ARGUMENT for what is no SPDY/3; nothing can follow it. */
MUST_CHECK struct error *spdy_read(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes,
                                   size_t *used_bytes, struct spdy_event *out);
