#include "cri/stream/spdy_frame.h"
#include "cri/stream/spdy_dictionary.h"
#include <string.h>

enum {
        VERSION = 3,
        CONTROL_BIT = 0x80,
        SETTINGS_INITIAL_WINDOW = 7,
        SYN_STREAM_FIXED_BYTES = 10,
        BODY_MAX = SPDY_BLOCK_MAX + SYN_STREAM_FIXED_BYTES
};

static uint32_t get_u32(const uint8_t *p)
{
        return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

static uint8_t *put_u32(uint8_t *p, uint32_t value)
{
        *p++ = (uint8_t) (value >> 24);
        *p++ = (uint8_t) (value >> 16);
        *p++ = (uint8_t) (value >> 8);
        *p++ = (uint8_t) value;
        return p;
}

void spdy_reader_init(struct spdy_reader *reader)
{
        *reader = (struct spdy_reader){ 0 };
        buf_init(&reader->body, BODY_MAX);
}

void spdy_reader_done(struct spdy_reader *reader)
{
        buf_done(&reader->body);
}

static bool is_control(const struct spdy_reader *reader)
{
        return reader->header[0] & CONTROL_BIT;
}

static unsigned type_of(const struct spdy_reader *reader)
{
        return (unsigned) reader->header[2] << 8 | reader->header[3];
}

/* How long the body of each kind must be at least, and may be at most. */
static const struct {
        uint32_t least_bytes, most_bytes;
} bounds[] = {
        [SPDY_SYN_STREAM] = { SYN_STREAM_FIXED_BYTES, BODY_MAX },
        [SPDY_SYN_REPLY] = { 4, BODY_MAX },
        [SPDY_RST_STREAM] = { 8, 8 },
        [SPDY_SETTINGS] = { 4, BODY_MAX },
        [SPDY_PING] = { 4, 4 },
        [SPDY_GOAWAY] = { 8, 8 },
        [SPDY_HEADERS] = { 4, BODY_MAX },
        [SPDY_WINDOW_UPDATE] = { 8, 8 },
};

static struct error *header_check(struct spdy_reader *reader)
{
        unsigned type = type_of(reader);
        reader->left_bytes = get_u32(reader->header + 4) & SPDY_DATA_MAX;
        reader->skips = false;
        if (!is_control(reader))
                return get_u32(reader->header) ? NULL
                                               : error_new(ERROR_INVALID_ARGUMENT, "data for stream 0");
        if ((reader->header[0] & 0x7f) != 0 || reader->header[1] != VERSION)
                return error_new(ERROR_INVALID_ARGUMENT, "a frame of another SPDY");
        reader->skips = type >= LENGTH(bounds) || bounds[type].most_bytes == 0;
        if (!reader->skips &&
            (reader->left_bytes < bounds[type].least_bytes || reader->left_bytes > bounds[type].most_bytes))
                return error_new(ERROR_INVALID_ARGUMENT, "a frame of type %u with %u bytes", type,
                                 reader->left_bytes);
        return NULL;
}

/* The initial window of the settings, 0 when they do not say. */
static struct error *settings_read(const uint8_t *body, size_t len_bytes, uint32_t *window)
{
        uint32_t n = get_u32(body);
        *window = 0;
        if (n > (len_bytes - 4) / 8)
                return error_new(ERROR_INVALID_ARGUMENT, "settings are cut");
        for (uint32_t i = 0; i < n; i++)
                if ((get_u32(body + 4 + 8 * i) & 0xffffff) == SETTINGS_INITIAL_WINDOW)
                        *window = get_u32(body + 8 + 8 * i);
        return NULL;
}

static struct error *control_read(const struct spdy_reader *reader, const uint8_t *body, size_t len_bytes,
                                  struct spdy_event *out)
{
        *out = (struct spdy_event){ .type = type_of(reader),
                                    .flags = reader->header[4],
                                    .stream_id = get_u32(body) & INT32_MAX };
        switch (out->type) {
        case SPDY_SYN_STREAM:
                out->bytes = body + SYN_STREAM_FIXED_BYTES;
                out->len_bytes = len_bytes - SYN_STREAM_FIXED_BYTES;
                break;
        case SPDY_HEADERS:
                out->bytes = body + 4;
                out->len_bytes = len_bytes - 4;
                break;
        case SPDY_SETTINGS:
                return settings_read(body, len_bytes, &out->value);
        case SPDY_PING:
                out->value = get_u32(body);
                break;
        case SPDY_RST_STREAM:
                out->value = get_u32(body + 4);
                break;
        case SPDY_WINDOW_UPDATE:
                out->value = get_u32(body + 4) & INT32_MAX;
                break;
        default:
                break;
        }
        return NULL;
}

/* Takes what it can of the body; an event when it is whole. */
static struct error *body_read(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes,
                               size_t *used, struct spdy_event *out)
{
        size_t n = len_bytes < reader->left_bytes ? len_bytes : reader->left_bytes;
        *used += n;
        reader->left_bytes -= (uint32_t) n;
        if (!reader->skips)
                TRY(buf_append(&reader->body, bytes, n));
        if (reader->left_bytes)
                return NULL;
        reader->header_bytes = 0;
        if (reader->skips)
                return NULL;
        reader->event_has_body = true;
        return control_read(reader, (const uint8_t *) reader->body.bytes, reader->body.len_bytes, out);
}

static void data_read(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes, size_t *used,
                      struct spdy_event *out)
{
        size_t n = len_bytes < reader->left_bytes ? len_bytes : reader->left_bytes;
        *used += n;
        reader->left_bytes -= (uint32_t) n;
        *out = (struct spdy_event){ .type = SPDY_DATA,
                                    .flags = reader->header[4],
                                    .stream_id = get_u32(reader->header),
                                    .bytes = bytes,
                                    .len_bytes = n,
                                    .is_last = reader->left_bytes == 0 };
        if (out->is_last)
                reader->header_bytes = 0;
}

struct error *spdy_read(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes, size_t *used,
                        struct spdy_event *out)
{
        *out = (struct spdy_event){ .type = SPDY_NOTHING };
        *used = 0;
        if (reader->event_has_body)
                buf_done(&reader->body);
        reader->event_has_body = false;
        while (*used < len_bytes && out->type == SPDY_NOTHING) {
                if (reader->header_bytes < SPDY_HEADER_BYTES) {
                        reader->header[reader->header_bytes++] = bytes[(*used)++];
                        if (reader->header_bytes < SPDY_HEADER_BYTES)
                                continue;
                        TRY(header_check(reader));
                        if (reader->left_bytes && *used == len_bytes)
                                return NULL;
                }
                if (is_control(reader))
                        TRY(body_read(reader, bytes + *used, len_bytes - *used, used, out));
                else
                        data_read(reader, bytes + *used, len_bytes - *used, used, out);
        }
        return NULL;
}

size_t spdy_data_left(const struct spdy_reader *reader, uint32_t *stream_id)
{
        if (reader->header_bytes < SPDY_HEADER_BYTES || is_control(reader))
                return 0;
        *stream_id = get_u32(reader->header);
        return reader->left_bytes;
}

bool spdy_pass(struct spdy_reader *reader, size_t len_bytes)
{
        reader->left_bytes -= (uint32_t) len_bytes;
        if (reader->left_bytes)
                return false;
        reader->header_bytes = 0;
        return reader->header[4] & SPDY_FLAG_FIN;
}

static uint8_t *put_control(uint8_t *out, enum spdy_type type, size_t len_bytes)
{
        out = put_u32(out, (uint32_t) CONTROL_BIT << 24 | VERSION << 16 | (uint32_t) type);
        return put_u32(out, (uint32_t) len_bytes);
}

size_t spdy_write_data_header(uint8_t out[SPDY_HEADER_BYTES], uint32_t stream_id, uint8_t flags,
                              size_t len_bytes)
{
        uint8_t *end = put_u32(put_u32(out, stream_id), (uint32_t) flags << 24 | (uint32_t) len_bytes);
        return (size_t) (end - out);
}

size_t spdy_write_reset(uint8_t out[SPDY_SMALL_MAX], uint32_t stream_id, enum spdy_status status)
{
        uint8_t *end = put_u32(put_u32(put_control(out, SPDY_RST_STREAM, 8), stream_id), status);
        return (size_t) (end - out);
}

size_t spdy_write_ping(uint8_t out[SPDY_SMALL_MAX], uint32_t id)
{
        uint8_t *end = put_u32(put_control(out, SPDY_PING, 4), id);
        return (size_t) (end - out);
}

size_t spdy_write_goaway(uint8_t out[SPDY_SMALL_MAX], uint32_t last_id, uint32_t status)
{
        uint8_t *end = put_u32(put_u32(put_control(out, SPDY_GOAWAY, 8), last_id), status);
        return (size_t) (end - out);
}

size_t spdy_write_window(uint8_t out[SPDY_SMALL_MAX], uint32_t stream_id, uint32_t more_bytes)
{
        uint8_t *end = put_u32(put_u32(put_control(out, SPDY_WINDOW_UPDATE, 8), stream_id), more_bytes);
        return (size_t) (end - out);
}

/* The block is four zero bytes (no pairs) in stored blocks of deflate, which need no compressor. The empty one at the end is
 * what a sync flush writes: Go's inflate gives out what came before it only then. */
size_t spdy_write_reply(uint8_t out[SPDY_REPLY_MAX], uint32_t stream_id, bool first)
{
        static const uint8_t begin[] = { 0x78, 0xbb }; /* deflate, 32 kB, with a dictionary */
        static const uint8_t block[] = { 0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
        size_t begin_bytes = first ? sizeof(begin) + 4 : 0;
        uint8_t *end = put_u32(put_control(out, SPDY_SYN_REPLY, 4 + begin_bytes + sizeof(block)), stream_id);
        if (first) {
                memcpy(end, begin, sizeof(begin));
                end = put_u32(end + sizeof(begin), SPDY_DICTIONARY_ADLER32);
        }
        memcpy(end, block, sizeof(block));
        return (size_t) (end - out) + sizeof(block);
}
