#include "cri/client/spdy.h"
#include <string.h>

#define VERSION_BITS 0x80030000U
#define HEAD_BYTES 8
#define FIN 1

enum { SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, PING = 6, GOAWAY = 7 };

/* --- writing --- */

static struct error *put_u32(struct buf *out, uint32_t value)
{
        uint8_t bytes[] = { (uint8_t) (value >> 24), (uint8_t) (value >> 16), (uint8_t) (value >> 8),
                            (uint8_t) value };
        return buf_append(out, bytes, sizeof(bytes));
}

static struct error *put_head(struct buf *out, uint32_t first, uint32_t flags, size_t len_bytes)
{
        TRY(put_u32(out, first));
        return put_u32(out, flags << 24 | (uint32_t) len_bytes);
}

static struct error *put_pairs(struct buf *out, const struct spdy_pair *pairs, size_t n_pairs)
{
        TRY(put_u32(out, (uint32_t) n_pairs));
        for (size_t i = 0; i < n_pairs; i++) {
                const char *const texts[] = { pairs[i].name, pairs[i].value };
                for (size_t j = 0; j < LENGTH(texts); j++) {
                        TRY(put_u32(out, (uint32_t) strlen(texts[j])));
                        TRY(buf_append_text(out, texts[j]));
                }
        }
        return NULL;
}

/* Two stored blocks: the bytes, and the empty one by which a reader knows that it may hand on all that came. */
static struct error *put_stored(struct buf *out, bool is_first, const struct buf *block)
{
        static const uint8_t zlib_head[] = { 0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2 }; /* SPDY/3's dictionary */
        static const uint8_t flush[] = { 0, 0, 0, 0xff, 0xff };
        if (block->len_bytes > UINT16_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "a stream's headers have %zu bytes",
                                 block->len_bytes);
        uint16_t len = (uint16_t) block->len_bytes, inverse = (uint16_t) ~len;
        uint8_t head[] = { 0, (uint8_t) len, (uint8_t) (len >> 8), (uint8_t) inverse,
                           (uint8_t) (inverse >> 8) };
        if (is_first)
                TRY(buf_append(out, zlib_head, sizeof(zlib_head)));
        TRY(buf_append(out, head, sizeof(head)));
        TRY(buf_append(out, block->bytes, block->len_bytes));
        return buf_append(out, flush, sizeof(flush));
}

struct error *spdy_put_open(struct buf *out, bool is_first, uint32_t stream, const struct spdy_pair *pairs,
                            size_t n_pairs)
{
        _cleanup_(buf_done) struct buf block, packed;
        buf_init(&block, 1 << 20);
        buf_init(&packed, 1 << 20);
        TRY(put_pairs(&block, pairs, n_pairs));
        TRY(put_stored(&packed, is_first, &block));
        TRY(put_head(out, VERSION_BITS | SYN_STREAM, 0, 10 + packed.len_bytes));
        TRY(put_u32(out, stream));
        TRY(buf_append(out, "\0\0\0\0\0",
                       6)); /* no stream that it belongs to, the highest priority, no slot */
        return buf_append(out, packed.bytes, packed.len_bytes);
}

struct error *spdy_put_data(struct buf *out, uint32_t stream, const void *bytes, size_t len_bytes,
                            bool is_last)
{
        const char *at = bytes;
        while (len_bytes || is_last) {
                size_t piece_bytes = len_bytes < SPDY_DATA_MAX ? len_bytes : SPDY_DATA_MAX;
                bool ends = is_last && piece_bytes == len_bytes;
                TRY(put_head(out, stream, ends ? FIN : 0, piece_bytes));
                if (piece_bytes)
                        TRY(buf_append(out, at, piece_bytes));
                at += piece_bytes;
                len_bytes -= piece_bytes;
                if (ends)
                        break;
        }
        return NULL;
}

struct error *spdy_put_reset(struct buf *out, uint32_t stream)
{
        TRY(put_head(out, VERSION_BITS | RST_STREAM, 0, 8));
        TRY(put_u32(out, stream));
        return put_u32(out, SPDY_CANCEL);
}

struct error *spdy_put_ping(struct buf *out, uint32_t id)
{
        TRY(put_head(out, VERSION_BITS | PING, 0, 4));
        return put_u32(out, id);
}

/* --- reading --- */

static uint32_t get_u32(const uint8_t *at)
{
        return (uint32_t) at[0] << 24 | (uint32_t) at[1] << 16 | (uint32_t) at[2] << 8 | at[3];
}

static bool is_control(const struct spdy_reader *reader)
{
        return reader->head[0] & 0x80;
}

static size_t payload_bytes(const struct spdy_reader *reader)
{
        return get_u32(reader->head + 4) & 0xffffff;
}

/* How much of head there must be before anything can be said: of a control frame what all kinds begin with. */
static size_t head_bytes(const struct spdy_reader *reader)
{
        size_t room = sizeof(reader->head) - HEAD_BYTES, payload = payload_bytes(reader);
        if (reader->have_bytes < HEAD_BYTES || !is_control(reader))
                return HEAD_BYTES;
        return HEAD_BYTES + (payload < room ? payload : room);
}

/* Fills head. False: more bytes are needed. */
static bool fill_head(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes, size_t *used_bytes)
{
        for (;;) {
                size_t want = head_bytes(reader) - reader->have_bytes, left = len_bytes - *used_bytes;
                if (want == 0)
                        return true;
                size_t n = want < left ? want : left;
                if (n == 0)
                        return false;
                memcpy(reader->head + reader->have_bytes, bytes + *used_bytes, n);
                reader->have_bytes += n;
                *used_bytes += n;
        }
}

static struct error *need_payload(const struct spdy_reader *reader, const char *kind, size_t least,
                                  size_t most)
{
        size_t payload = payload_bytes(reader);
        if (payload < least || payload > most)
                return error_new(ERROR_INVALID_ARGUMENT, "the server sent a %s of %zu bytes", kind, payload);
        return NULL;
}

static struct error *read_control(struct spdy_reader *reader, struct spdy_event *out)
{
        const uint8_t *payload = reader->head + HEAD_BYTES;
        if ((get_u32(reader->head) & 0xffff0000U) != VERSION_BITS)
                return error_new(ERROR_INVALID_ARGUMENT, "what the server sent is no SPDY/3");
        switch (get_u32(reader->head) & 0xffff) {
        case SYN_REPLY:
                TRY(need_payload(reader, "SYN_REPLY", 4, SIZE_MAX));
                *out = (struct spdy_event){ .kind = SPDY_REPLY, .stream = get_u32(payload) & INT32_MAX };
                if (reader->head[4] & FIN)
                        reader->end_of = out->stream;
                return NULL;
        case RST_STREAM:
                TRY(need_payload(reader, "RST_STREAM", 8, 8));
                *out = (struct spdy_event){ .kind = SPDY_RESET,
                                            .stream = get_u32(payload) & INT32_MAX,
                                            .value = get_u32(payload + 4) };
                return NULL;
        case PING:
                TRY(need_payload(reader, "PING", 4, 4));
                *out = (struct spdy_event){ .kind = SPDY_PING, .value = get_u32(payload) };
                return NULL;
        case GOAWAY:
                *out = (struct spdy_event){ .kind = SPDY_GOAWAY };
                return NULL;
        default:
                return NULL; /* SETTINGS, WINDOW_UPDATE, HEADERS: nothing here depends on them */
        }
}

/* Head is complete: what a control frame says, or the beginning of data. */
static struct error *begin(struct spdy_reader *reader, struct spdy_event *out)
{
        reader->in_payload = true;
        reader->left_bytes = (uint32_t) (payload_bytes(reader) - (reader->have_bytes - HEAD_BYTES));
        if (is_control(reader))
                return read_control(reader, out);
        uint32_t stream = get_u32(reader->head);
        if (stream == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "the server sent data of stream 0");
        if (reader->head[4] & FIN)
                reader->end_of = stream;
        return NULL;
}

static void take_payload(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes,
                         size_t *used_bytes, struct spdy_event *out)
{
        size_t left = len_bytes - *used_bytes, n = left < reader->left_bytes ? left : reader->left_bytes;
        if (n && !is_control(reader))
                *out = (struct spdy_event){ .kind = SPDY_DATA,
                                            .stream = get_u32(reader->head),
                                            .bytes = bytes + *used_bytes,
                                            .len_bytes = n };
        reader->left_bytes -= (uint32_t) n;
        *used_bytes += n;
}

struct error *spdy_read(struct spdy_reader *reader, const uint8_t *bytes, size_t len_bytes,
                        size_t *used_bytes, struct spdy_event *out)
{
        *used_bytes = 0;
        *out = (struct spdy_event){ .kind = SPDY_NONE };
        for (;;) {
                if (!reader->in_payload) {
                        if (!fill_head(reader, bytes, len_bytes, used_bytes))
                                return NULL;
                        TRY(begin(reader, out));
                        if (out->kind != SPDY_NONE)
                                return NULL;
                }
                if (reader->left_bytes) {
                        take_payload(reader, bytes, len_bytes, used_bytes, out);
                        if (out->kind != SPDY_NONE || reader->left_bytes)
                                return NULL;
                }
                uint32_t ended = reader->end_of;
                reader->in_payload = false;
                reader->have_bytes = 0;
                reader->end_of = 0;
                if (ended) {
                        *out = (struct spdy_event){ .kind = SPDY_END, .stream = ended };
                        return NULL;
                }
        }
}
