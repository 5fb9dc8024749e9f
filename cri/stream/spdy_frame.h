/* spdy_frame.h - SPDY/3.1 frames, read from whatever pieces they come in, and written.
 *
 *     control  1 version(15) type(16) | flags(8) length(24) | body
 *     data     0 stream(31)           | flags(8) length(24) | bytes
 *
 * Data is handed on as it comes and is never kept, so a frame may have its full 16 MB; the body of a control frame is kept until
 * it is whole, and bounded. What a frame means for its stream is not known here. Threads: no state.
 * Source: SPDY Protocol Draft 3.1, 2.2 and 2.6. */
#pragma once
#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

#define SPDY_HEADER_BYTES 8
#define SPDY_BLOCK_MAX (64 << 10) /* of a header block, compressed */
#define SPDY_DATA_MAX ((1 << 24) - 1)

enum { SPDY_FLAG_FIN = 1 };

enum spdy_status {
        SPDY_PROTOCOL_ERROR = 1,
        SPDY_INVALID_STREAM = 2,
        SPDY_REFUSED_STREAM = 3,
        SPDY_CANCEL = 5,
        SPDY_FLOW_CONTROL_ERROR = 7,
};

enum spdy_type {
        SPDY_SYN_STREAM = 1,
        SPDY_SYN_REPLY = 2,
        SPDY_RST_STREAM = 3,
        SPDY_SETTINGS = 4,
        SPDY_PING = 6,
        SPDY_GOAWAY = 7,
        SPDY_HEADERS = 8,
        SPDY_WINDOW_UPDATE = 9,
        /* not the wire's: */
        SPDY_DATA = 0x10000,
        SPDY_NOTHING, /* all bytes are used, no event */
};

struct spdy_event {
        enum spdy_type type;
        uint32_t stream_id;
        uint8_t flags;
        uint32_t
                value; /* RST_STREAM: status. PING: id. WINDOW_UPDATE: how much more. SETTINGS: the initial window, or 0 */
        const uint8_t *
                bytes; /* DATA: the next of its bytes. SYN_STREAM, HEADERS: the header block. Until the next call */
        size_t len_bytes;
        bool is_last; /* DATA: these end the frame */
};

struct spdy_reader {
        uint8_t header[SPDY_HEADER_BYTES];
        size_t header_bytes; /* how much of the header is there */
        uint32_t left_bytes; /* of the frame's body or data */
        bool skips;          /* a kind of frame that we do not know */
        bool event_has_body; /* body is to be dropped at the next call */
        struct buf body;
};

void spdy_reader_init(struct spdy_reader *reader); /* at the beginning of a connection */
void spdy_reader_done(struct spdy_reader *reader); /* frees what is kept of a frame */

/* Reads on: uses some of the bytes, *used of them, until there is an event or nothing is left. Errors: INVALID_ARGUMENT for
 * what is no frame of this protocol, or none of a size that is borne; nothing can be read after that. */
MUST_CHECK struct error *spdy_read(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes,
                                   size_t *used, struct spdy_event *out);

/* Inside a DATA frame: how many of its bytes are still to come, and for which stream; else 0. */
size_t spdy_data_left(const struct spdy_reader *reader, uint32_t *stream_id);

/* As many of them went another way: the reader has not seen them. True when they ended the frame, and it the stream. */
bool spdy_pass(struct spdy_reader *reader, size_t len_bytes);

/* Writes a header of a DATA frame, and whole frames; each returns how many bytes. */
size_t spdy_write_data_header(uint8_t out[SPDY_HEADER_BYTES], uint32_t stream_id, uint8_t flags,
                              size_t len_bytes);
#define SPDY_SMALL_MAX 16
size_t spdy_write_reset(uint8_t out[SPDY_SMALL_MAX], uint32_t stream_id, enum spdy_status status);
size_t spdy_write_ping(uint8_t out[SPDY_SMALL_MAX], uint32_t id);
size_t spdy_write_goaway(uint8_t out[SPDY_SMALL_MAX], uint32_t last_id, uint32_t status);
size_t spdy_write_window(uint8_t out[SPDY_SMALL_MAX], uint32_t stream_id, uint32_t more_bytes);

/* A SYN_REPLY without header pairs. first: of the connection, whose block begins the zlib stream. */
#define SPDY_REPLY_MAX 40
size_t spdy_write_reply(uint8_t out[SPDY_REPLY_MAX], uint32_t stream_id, bool first);
