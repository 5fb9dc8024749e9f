/* websocket_frame.h - RFC 6455 frames of a client, read from whatever pieces they come in, and headers of a server's.
 *
 * Data is unmasked where it lies and handed on as it comes, so a message may have any length; control frames are kept until they
 * are whole (125 bytes at most). Threads: no state. Source: RFC 6455 5. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum websocket_opcode {
        WEBSOCKET_CONTINUATION = 0,
        WEBSOCKET_TEXT = 1,
        WEBSOCKET_BINARY = 2,
        WEBSOCKET_CLOSE = 8,
        WEBSOCKET_PING = 9,
        WEBSOCKET_PONG = 10,
        WEBSOCKET_NOTHING = 16, /* not the wire's: all bytes are used, no event */
};

enum websocket_code {
        WEBSOCKET_NORMAL = 1000,
        WEBSOCKET_PROTOCOL_ERROR = 1002,
};

#define WEBSOCKET_CONTROL_MAX 125

struct websocket_event {
        enum websocket_opcode opcode; /* TEXT and BINARY for all of a message's data, continued or not */
        const uint8_t *bytes;         /* until the next call */
        size_t len_bytes;
        bool begins, ends; /* the message */
};

struct websocket_reader {
        uint8_t header[14]; /* two bytes, the length, the mask */
        uint8_t header_bytes, header_needed;
        uint8_t control[WEBSOCKET_CONTROL_MAX];
        uint8_t control_bytes;
        uint8_t message; /* opcode of the message that is not whole; 0 between messages */
        bool has_begun;  /* it was told that the message begins */
        uint8_t mask_at;
        uint64_t left_bytes; /* of the frame */
};

/* Reads on: uses some of the bytes, *used of them (and changes them), until there is an event or nothing is left. A zeroed
 * reader is at the beginning. Errors: INVALID_ARGUMENT for what no client may send; nothing can be read after that. */
MUST_CHECK struct error *websocket_read(struct websocket_reader *reader, uint8_t *bytes, size_t len_bytes,
                                        size_t *used, struct websocket_event *out);

/* Writes the header of an unmasked frame that is a whole message, and returns its length. */
#define WEBSOCKET_HEADER_MAX 10
size_t websocket_write_header(uint8_t out[WEBSOCKET_HEADER_MAX], enum websocket_opcode opcode,
                              size_t len_bytes);
