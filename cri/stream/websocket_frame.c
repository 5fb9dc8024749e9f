#include "cri/stream/websocket_frame.h"
#include <string.h>

enum {
        FIN = 0x80,
        RESERVED = 0x70,
        OPCODE = 0x0f,
        MASKED = 0x80,
        LENGTH_BITS = 0x7f,
        LENGTH_16 = 126,
        LENGTH_64 = 127,
        MASK_BYTES = 4
};

static struct error *error_frame(const char *what)
{
        return error_new(ERROR_INVALID_ARGUMENT, "WebSocket: %s", what);
}

static bool is_control(uint8_t opcode)
{
        return opcode >= WEBSOCKET_CLOSE;
}

static size_t length_bytes(uint8_t second)
{
        size_t length = second & LENGTH_BITS;
        return length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
}

/* What the first two bytes may say, given what came before. */
static struct error *start_check(const struct websocket_reader *reader)
{
        uint8_t opcode = reader->header[0] & OPCODE;
        if (reader->header[0] & RESERVED)
                return error_frame("an extension that was not agreed");
        if (!(reader->header[1] & MASKED))
                return error_frame("a frame without a mask");
        if (is_control(opcode)) {
                if (opcode > WEBSOCKET_PONG || !(reader->header[0] & FIN) ||
                    (reader->header[1] & LENGTH_BITS) > WEBSOCKET_CONTROL_MAX)
                        return error_frame("a control frame that is none");
                return NULL;
        }
        if (opcode > WEBSOCKET_BINARY)
                return error_frame("an unknown opcode");
        if ((opcode == WEBSOCKET_CONTINUATION) != (reader->message != 0))
                return error_frame("a fragment out of order");
        return NULL;
}

static struct error *header_end(struct websocket_reader *reader)
{
        uint8_t opcode = reader->header[0] & OPCODE;
        size_t n = length_bytes(reader->header[1]);
        uint64_t length = n ? 0 : reader->header[1] & LENGTH_BITS;
        for (size_t i = 0; i < n; i++)
                length = length << 8 | reader->header[2 + i];
        if (length > INT64_MAX)
                return error_frame("a length past 2^63");
        reader->left_bytes = length;
        reader->mask_at = 0;
        reader->control_bytes = 0;
        if (!is_control(opcode) && opcode != WEBSOCKET_CONTINUATION) {
                reader->message = opcode;
                reader->has_begun = false;
        }
        return NULL;
}

/* Takes the next byte of the header; *whole when it was the last. */
static struct error *header_read(struct websocket_reader *reader, uint8_t byte, bool *whole)
{
        reader->header[reader->header_bytes++] = byte;
        if (reader->header_bytes < 2)
                return NULL;
        if (reader->header_bytes == 2) {
                TRY(start_check(reader));
                reader->header_needed = (uint8_t) (2 + length_bytes(reader->header[1]) + MASK_BYTES);
        }
        *whole = reader->header_bytes == reader->header_needed;
        return *whole ? header_end(reader) : NULL;
}

/* Eight bytes anywhere. */
typedef uint64_t word __attribute__((may_alias, aligned(1)));

static void unmask(struct websocket_reader *reader, uint8_t *bytes, size_t len_bytes)
{
        const uint8_t *mask = reader->header + reader->header_needed - MASK_BYTES;
        uint8_t turned[sizeof(word)];
        size_t i = 0;
        for (size_t j = 0; j < sizeof(turned); j++)
                turned[j] = mask[(reader->mask_at + j) % MASK_BYTES];
        for (; len_bytes - i >= sizeof(word); i += sizeof(word))
                *(word *) (bytes + i) ^= *(const word *) turned;
        for (size_t j = 0; i + j < len_bytes; j++)
                bytes[i + j] ^= turned[j];
        reader->mask_at = (uint8_t) ((reader->mask_at + len_bytes) % MASK_BYTES);
}

static void control_read(struct websocket_reader *reader, struct websocket_event *out)
{
        reader->header_bytes = 0;
        *out = (struct websocket_event){ .opcode = reader->header[0] & OPCODE,
                                         .bytes = reader->control,
                                         .len_bytes = reader->control_bytes,
                                         .begins = true,
                                         .ends = true };
}

static void data_read(struct websocket_reader *reader, uint8_t *bytes, size_t len_bytes,
                      struct websocket_event *out)
{
        bool frame_ends = reader->left_bytes == 0;
        *out = (struct websocket_event){ .opcode = reader->message,
                                         .bytes = bytes,
                                         .len_bytes = len_bytes,
                                         .begins = !reader->has_begun,
                                         .ends = frame_ends && reader->header[0] & FIN };
        reader->has_begun = true;
        if (frame_ends)
                reader->header_bytes = 0;
        if (out->ends)
                reader->message = 0;
}

static void body_read(struct websocket_reader *reader, uint8_t *bytes, size_t len_bytes, size_t *used,
                      struct websocket_event *out)
{
        size_t n = len_bytes < reader->left_bytes ? len_bytes : (size_t) reader->left_bytes;
        unmask(reader, bytes, n);
        *used += n;
        reader->left_bytes -= n;
        if (!is_control(reader->header[0] & OPCODE)) {
                data_read(reader, bytes, n, out);
                return;
        }
        memcpy(reader->control + reader->control_bytes, bytes, n);
        reader->control_bytes = (uint8_t) (reader->control_bytes + n);
        if (reader->left_bytes == 0)
                control_read(reader, out);
}

struct error *websocket_read(struct websocket_reader *reader, uint8_t *bytes, size_t len_bytes, size_t *used,
                             struct websocket_event *out)
{
        *out = (struct websocket_event){ .opcode = WEBSOCKET_NOTHING };
        *used = 0;
        while (*used < len_bytes && out->opcode == WEBSOCKET_NOTHING) {
                bool whole = reader->header_bytes >= 2 && reader->header_bytes == reader->header_needed;
                if (!whole) {
                        TRY(header_read(reader, bytes[(*used)++], &whole));
                        if (!whole || (reader->left_bytes && *used == len_bytes))
                                continue;
                }
                body_read(reader, bytes + *used, len_bytes - *used, used, out);
        }
        return NULL;
}

size_t websocket_write_header(uint8_t out[WEBSOCKET_HEADER_MAX], enum websocket_opcode opcode,
                              size_t len_bytes)
{
        size_t n = len_bytes < LENGTH_16 ? 0 : len_bytes <= UINT16_MAX ? 2 : 8;
        out[0] = (uint8_t) (FIN | (uint8_t) opcode);
        out[1] = (uint8_t) (n == 0 ? len_bytes : n == 2 ? LENGTH_16 : LENGTH_64);
        for (size_t i = 0; i < n; i++)
                out[2 + i] = (uint8_t) ((uint64_t) len_bytes >> (8 * (n - 1 - i)));
        return 2 + n;
}
