/* The framings, fed whole and in pieces; header blocks, statuses, sizes. */
#include "base/json.h"
#include "cri/stream/header_block.h"
#include "cri/stream/resize.h"
#include "cri/stream/spdy_dictionary.h"
#include "cri/stream/spdy_frame.h"
#include "cri/stream/status.h"
#include "cri/stream/websocket_frame.h"
#include "tests/unit/unit.h"
#include <zlib.h>

/* A line a SPDY event, as text: data that comes in pieces is put together. */
static struct error *spdy_told(const uint8_t *bytes, size_t len_bytes, size_t piece_bytes, struct buf *told)
{
        struct spdy_reader reader;
        struct error *e = NULL;
        spdy_reader_init(&reader);
        for (size_t at = 0; at < len_bytes && !e;) {
                struct spdy_event event;
                size_t used, n = len_bytes - at < piece_bytes ? len_bytes - at : piece_bytes;
                e = spdy_read(&reader, bytes + at, n, &used, &event);
                at += used;
                if (!e && event.type == SPDY_DATA) {
                        e = buf_append(told, event.bytes, event.len_bytes);
                        if (!e && event.is_last)
                                e = buf_append_format(told, " data %u %x\n", event.stream_id, event.flags);
                } else if (!e && event.type != SPDY_NOTHING) {
                        e = buf_append_format(told, "%u %u %x %u %zu\n", event.type, event.stream_id,
                                              event.flags, event.value, event.len_bytes);
                }
        }
        spdy_reader_done(&reader);
        return e;
}

static void spdy_frames_are_read_in_any_pieces(void **state)
{
        static const uint8_t bytes[] = {
                0x80, 3, 0, 1,  1, 0, 0, 13, 0,   0,   0,   5,   0,   0, 0, 0, 0, 0, 'a', 'b',
                'c',                                                           /* SYN_STREAM, FIN */
                0,    0, 0, 5,  0, 0, 0, 5,  'h', 'e', 'l', 'l', 'o',          /* data */
                0,    0, 0, 5,  1, 0, 0, 0,                                    /* data, FIN */
                0x80, 3, 0, 77, 0, 0, 0, 2,  1,   2,                           /* unknown */
                0x80, 3, 0, 5,  0, 0, 0, 0,                                    /* unknown and empty */
                0x80, 3, 0, 6,  0, 0, 0, 4,  0,   0,   1,   1,                 /* PING */
                0x80, 3, 0, 3,  0, 0, 0, 8,  0,   0,   0,   7,   0,   0, 0, 5, /* RST_STREAM */
                0x80, 3, 0, 4,  0, 0, 0, 12, 0,   0,   0,   1,   0,   0, 0, 7, 0, 0, 2,   0, /* SETTINGS */
                0x80, 3, 0, 9,  0, 0, 0, 8,  0,   0,   0,   7,   0,   0, 1, 0, /* WINDOW_UPDATE */
                0x80, 3, 0, 7,  0, 0, 0, 8,  0,   0,   0,   7,   0,   0, 0, 0, /* GOAWAY */
                0x80, 3, 0, 8,  0, 0, 0, 5,  0,   0,   0,   7,   'x',          /* HEADERS */
        };
        static const char want[] =
                "1 5 1 0 3\nhello data 5 0\n data 5 1\n6 257 0 257 0\n3 7 0 5 0\n4 1 0 512 0\n"
                "9 7 0 256 0\n7 7 0 0 0\n8 7 0 0 1\n";
        (void) state;
        for (size_t piece = 1; piece <= sizeof(bytes); piece++) {
                _cleanup_(buf_done) struct buf told;
                buf_init(&told, 4096);
                assert_ok(spdy_told(bytes, sizeof(bytes), piece, &told));
                assert_string_equal(told.bytes, want);
        }
}

static void spdy_frames_that_are_none_are_refused(void **state)
{
        static const struct {
                uint8_t bytes[12];
                size_t len_bytes;
        } bad[] = {
                { { 0x80, 2, 0, 6, 0, 0, 0, 4 }, 8 },              /* SPDY/2 */
                { { 0x81, 3, 0, 6, 0, 0, 0, 4 }, 8 },              /* SPDY/259 */
                { { 0, 0, 0, 0, 0, 0, 0, 1 }, 8 },                 /* stream 0 */
                { { 0x80, 3, 0, 1, 0, 0, 0, 9 }, 8 },              /* SYN_STREAM, cut */
                { { 0x80, 3, 0, 1, 0, 1, 0, 11 }, 8 },             /* SYN_STREAM past the limit */
                { { 0x80, 3, 0, 6, 0, 0, 0, 5 }, 8 },              /* PING of 5 bytes */
                { { 0x80, 3, 0, 3, 0, 0, 0, 4 }, 8 },              /* RST_STREAM, cut */
                { { 0x80, 3, 0, 7, 0, 0, 0, 4 }, 8 },              /* GOAWAY of SPDY/2 */
                { { 0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1 }, 12 }, /* SETTINGS without the setting */
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(bad); i++) {
                _cleanup_(buf_done) struct buf told;
                buf_init(&told, 4096);
                struct error *e = spdy_told(bad[i].bytes, bad[i].len_bytes, 12, &told);
                assert_non_null(e);
                error_free(e);
        }
}

static void data_that_went_another_way_is_passed(void **state)
{
        static const uint8_t head[] = { 0, 0, 0, 3, 1, 0, 0, 100 };
        struct spdy_reader reader;
        struct spdy_event event;
        size_t used;
        uint32_t id = 0;
        (void) state;
        spdy_reader_init(&reader);
        assert_int_equal(spdy_data_left(&reader, &id), 0);
        assert_ok(spdy_read(&reader, head, sizeof(head), &used, &event));
        assert_int_equal(spdy_data_left(&reader, &id), 100);
        assert_int_equal(id, 3);
        assert_false(spdy_pass(&reader, 99));
        assert_int_equal(spdy_data_left(&reader, &id), 1);
        assert_true(spdy_pass(&reader, 1));
        assert_int_equal(spdy_data_left(&reader, &id), 0);
}

/* A client's compressor. */
static size_t deflated(z_stream *z, const void *bytes, size_t len_bytes, uint8_t *out, size_t size_bytes)
{
        z->next_in = (Bytef *) (void *) bytes;
        z->avail_in = (uInt) len_bytes;
        z->next_out = out;
        z->avail_out = (uInt) size_bytes;
        assert_int_equal(deflate(z, Z_SYNC_FLUSH), Z_OK);
        assert_int_equal(z->avail_in, 0);
        return size_bytes - z->avail_out;
}

static void deflate_begin(z_stream *z)
{
        *z = (z_stream){ 0 };
        assert_int_equal(deflateInit(z, 9), Z_OK);
        assert_int_equal(deflateSetDictionary(z, (const Bytef *) spdy_dictionary, SPDY_DICTIONARY_BYTES),
                         Z_OK);
}

static const char pairs[] = "\0\0\0\2"
                            "\0\0\0\4port"
                            "\0\0\0\2"
                            "80"
                            "\0\0\0\12streamtype"
                            "\0\0\0\5error";

static void header_blocks_are_one_stream(void **state)
{
        z_stream z;
        uint8_t block[256];
        char value[16];
        _cleanup_(header_reader_freep) struct header_reader *reader = header_reader_new();
        (void) state;
        deflate_begin(&z);
        for (unsigned i = 0; i < 1000; i++) {
                _cleanup_(headers_done) struct headers headers = { 0 };
                size_t n = deflated(&z, pairs, sizeof(pairs) - 1, block, sizeof(block));
                assert_ok(header_block_read(reader, block, n, &headers));
                assert_true(headers_get(&headers, "streamtype", value, sizeof(value)));
                assert_string_equal(value, "error");
                assert_true(headers_get(&headers, "port", value, 3));
                assert_string_equal(value, "80");
                assert_false(headers_get(&headers, "port", value, 2));
                assert_false(headers_get(&headers, "por", value, sizeof(value)));
        }
        (void) deflateEnd(&z);
}

static void bad_pairs_are_refused(void **state)
{
        static const struct {
                const char *bytes;
                size_t len_bytes;
        } bad[] = {
                { "\0\0\0", 3 },
                { "\0\0\0\1", 4 },
                { "\0\0\0\1\0\0\0\4por", 11 },
                { "\0\0\0\1\0\0\0\4port\xff\xff\xff\xff", 16 },
                { "\0\0\0\0x", 5 },
                { "\0\0\3\351", 4 },
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(bad); i++) {
                z_stream z;
                uint8_t block[256];
                struct headers headers;
                _cleanup_(header_reader_freep) struct header_reader *reader = header_reader_new();
                deflate_begin(&z);
                size_t n = deflated(&z, bad[i].bytes, bad[i].len_bytes, block, sizeof(block));
                assert_fails(ERROR_INVALID_ARGUMENT, "header block",
                             header_block_read(reader, block, n, &headers));
                (void) deflateEnd(&z);
        }
}

static void a_block_that_inflates_without_end_is_refused(void **state)
{
        static char zeros[HEADER_BLOCK_MAX + 1];
        z_stream z;
        uint8_t block[4096];
        struct headers headers;
        _cleanup_(header_reader_freep) struct header_reader *reader = header_reader_new();
        (void) state;
        deflate_begin(&z);
        size_t n = deflated(&z, zeros, sizeof(zeros), block, sizeof(block));
        assert_fails(ERROR_INVALID_ARGUMENT, "too large", header_block_read(reader, block, n, &headers));
        (void) deflateEnd(&z);
}

static void rubbish_and_other_dictionaries_are_refused(void **state)
{
        z_stream z = { 0 };
        uint8_t block[256];
        struct headers headers;
        (void) state;
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(header_reader_freep) struct header_reader *reader = header_reader_new();
                size_t n = 32;
                memset(block, 0xee, sizeof(block));
                if (i == 1) {
                        assert_int_equal(deflateInit(&z, 9), Z_OK);
                        assert_int_equal(deflateSetDictionary(&z, (const Bytef *) "other", 5), Z_OK);
                        n = deflated(&z, pairs, sizeof(pairs) - 1, block, sizeof(block));
                        (void) deflateEnd(&z);
                }
                assert_fails(ERROR_INVALID_ARGUMENT, "inflated",
                             header_block_read(reader, block, n, &headers));
        }
}

static void replies_are_read_by_zlib(void **state)
{
        z_stream z = { 0 };
        uint8_t frame[SPDY_REPLY_MAX], out[64];
        (void) state;
        assert_int_equal(inflateInit(&z), Z_OK);
        for (unsigned i = 0; i < 3; i++) {
                size_t n = spdy_write_reply(frame, 2 * i + 1, i == 0);
                assert_int_equal(frame[7] + 8, n);
                z.next_in = frame + 12;
                z.avail_in = (uInt) n - 12;
                z.next_out = out;
                z.avail_out = sizeof(out);
                int status = inflate(&z, Z_SYNC_FLUSH);
                if (i == 0) {
                        assert_int_equal(status, Z_NEED_DICT);
                        assert_int_equal(inflateSetDictionary(&z, (const Bytef *) spdy_dictionary,
                                                              SPDY_DICTIONARY_BYTES),
                                         Z_OK);
                        status = inflate(&z, Z_SYNC_FLUSH);
                }
                assert_int_equal(status, Z_OK);
                assert_int_equal(z.avail_in, 0);
                assert_int_equal(sizeof(out) - z.avail_out, 4);
                assert_memory_equal(out, "\0\0\0\0", 4);
        }
        (void) inflateEnd(&z);
}

/* A frame of a client. */
static size_t websocket_frame(uint8_t *out, uint8_t first, const char *bytes, size_t len_bytes)
{
        static const uint8_t mask[] = { 0x11, 0x22, 0x33, 0x44 };
        size_t n = websocket_write_header(out, WEBSOCKET_BINARY, len_bytes);
        out[0] = first;
        out[1] |= 0x80;
        memcpy(out + n, mask, sizeof(mask));
        n += sizeof(mask);
        for (size_t i = 0; i < len_bytes; i++)
                out[n + i] = (uint8_t) (bytes[i] ^ mask[i % 4]);
        return n + len_bytes;
}

static void websocket_told(uint8_t *bytes, size_t len_bytes, size_t piece_bytes, struct buf *told)
{
        struct websocket_reader reader = { 0 };
        for (size_t at = 0; at < len_bytes;) {
                struct websocket_event event;
                size_t used, n = len_bytes - at < piece_bytes ? len_bytes - at : piece_bytes;
                assert_ok(websocket_read(&reader, bytes + at, n, &used, &event));
                at += used;
                if (event.opcode == WEBSOCKET_NOTHING)
                        continue;
                if (event.begins)
                        assert_ok(buf_append_format(told, "[%u ", event.opcode));
                assert_ok(buf_append(told, event.bytes, event.len_bytes));
                if (event.ends)
                        assert_ok(buf_append_text(told, "]"));
        }
}

static void websocket_messages_are_read_in_any_pieces(void **state)
{
        static char large[70000];
        static uint8_t bytes[80000], copy[80000];
        size_t n = 0;
        (void) state;
        memset(large, 'L', sizeof(large));
        n += websocket_frame(bytes + n, 0x82, "hello", 5);
        n += websocket_frame(bytes + n, 0x01, "one ", 4);
        n += websocket_frame(bytes + n, 0x89, "ping", 4);
        n += websocket_frame(bytes + n, 0x00, "", 0);
        n += websocket_frame(bytes + n, 0x80, "two", 3);
        n += websocket_frame(bytes + n, 0x82, "", 0);
        n += websocket_frame(bytes + n, 0x82, large, 300);
        n += websocket_frame(bytes + n, 0x82, large, sizeof(large));
        n += websocket_frame(bytes + n, 0x88, "\3\350", 2);
        for (size_t piece = 1; piece <= n; piece = piece < 30 ? piece + 1 : piece * 3) {
                _cleanup_(buf_done) struct buf told;
                buf_init(&told, 100000);
                memcpy(copy, bytes, n);
                websocket_told(copy, n, piece, &told);
                /* The ping stands where it came, within the message that it interrupts. */
                assert_memory_equal(told.bytes, "[2 hello][1 one [9 ping]two][2 ][2 LLL", 38);
                assert_int_equal(told.len_bytes, 35 + 300 + 1 + 3 + sizeof(large) + 1 + 6);
                assert_string_equal(told.bytes + told.len_bytes - 6, "[8 \3\350]");
        }
}

static void websocket_headers_have_three_lengths(void **state)
{
        uint8_t out[WEBSOCKET_HEADER_MAX];
        (void) state;
        assert_int_equal(websocket_write_header(out, WEBSOCKET_BINARY, 125), 2);
        assert_memory_equal(out, "\x82\x7d", 2);
        assert_int_equal(websocket_write_header(out, WEBSOCKET_TEXT, 126), 4);
        assert_memory_equal(out, "\x81\x7e\0\x7e", 4);
        assert_int_equal(websocket_write_header(out, WEBSOCKET_BINARY, 65535), 4);
        assert_int_equal(websocket_write_header(out, WEBSOCKET_BINARY, 65536), 10);
        assert_memory_equal(out, "\x82\x7f\0\0\0\0\0\1\0\0", 10);
}

#define STATUS(call)                                                                                         \
        ({                                                                                                   \
                buf_done(&out);                                                                              \
                buf_init(&out, STATUS_MAX);                                                                  \
                assert_ok(call);                                                                             \
                out.bytes ? out.bytes : "";                                                                  \
        })

static void statuses_as_clients_read_them(void **state)
{
        _cleanup_(buf_done) struct buf out = { 0 };
        (void) state;
        assert_string_equal(STATUS(status_success(&out, 4)), "{\"metadata\":{},\"status\":\"Success\"}");
        assert_string_equal(STATUS(status_exit(&out, 5, "x", 0)), "{\"metadata\":{},\"status\":\"Success\"}");
        assert_string_equal(STATUS(status_exit(&out, 3, "x", 0)), "");
        assert_string_equal(
                STATUS(status_exit(&out, 4, "[sh -c exit 7]", 7)),
                "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit "
                "code: "
                "error executing command [sh -c exit 7], exit code 7\",\"reason\":\"NonZeroExitCode\","
                "\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"7\"}]}}");
        assert_string_equal(
                STATUS(status_exit(&out, 1, "[x]", 137)),
                "command terminated with non-zero exit code: error executing command [x], exit code 137");
        assert_string_equal(STATUS(status_failure(&out, 2, "attaching to", "gone")),
                            "Internal error occurred: error attaching to container: gone");
}

/* Every byte, and the longest text: JSON all the same, within its limit. */
static void any_text_makes_a_status(void **state)
{
        static char text[100000];
        _cleanup_(buf_done) struct buf out = { 0 };
        (void) state;
        for (size_t i = 0; i < sizeof(text) - 1; i++)
                text[i] = (char) (i % 2 ? i / 2 % 255 + 1 : 1);
        _cleanup_(json_freep) struct json *json = NULL;
        (void) STATUS(status_failure(&out, 5, "executing command in", text));
        assert_ok(json_parse(out.bytes, out.len_bytes, &json));
        assert_int_equal(json_type_of(json_get(json, "message")), JSON_STRING);
        assert_int_equal(json_type_of(json_get(json, "code")), JSON_NUMBER);
}

static void sizes_in_any_pieces(void **state)
{
        static const struct {
                const char *text;
                bool found;
                uint16_t rows, columns;
        } cases[] = {
                { "{\"Width\":101,\"Height\":33}\n", true, 33, 101 },
                { "{\"height\" : 5 , \"WIDTH\":\t6 , \"Other\":\"x\"}", true, 5, 6 },
                { "{\"Width\":1,\"Height\":2}{\"Width\":3,\"Height\":4}", true, 4, 3 },
                { "rubbish{\"Width\":1,\"Height\":2}", true, 2, 1 },
                { "{\"Width\":65536,\"Height\":2}", false, 0, 0 },
                { "{\"Width\":-1,\"Height\":2}", false, 0, 0 },
                { "{\"Width\":1}", false, 0, 0 },
                { "{\"Width\":\"1\",\"Height\":2}", false, 0, 0 },
                { "{\"Width\":1.5,\"Height\":2}", false, 0, 0 },
                { "", false, 0, 0 },
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(cases); i++) {
                size_t len_bytes = strlen(cases[i].text);
                for (size_t cut = 0; cut <= len_bytes; cut++) {
                        struct resize_reader reader = { 0 };
                        uint16_t rows = 0, columns = 0;
                        const uint8_t *text = (const uint8_t *) cases[i].text;
                        bool first = resize_read(&reader, text, cut, &rows, &columns);
                        bool second = resize_read(&reader, text + cut, len_bytes - cut, &rows, &columns);
                        assert_int_equal(first || second, cases[i].found);
                        assert_int_equal(rows, cases[i].rows);
                        assert_int_equal(columns, cases[i].columns);
                }
        }
}

UNIT_MAIN(TEST(spdy_frames_are_read_in_any_pieces), TEST(spdy_frames_that_are_none_are_refused),
          TEST(data_that_went_another_way_is_passed), TEST(header_blocks_are_one_stream),
          TEST(bad_pairs_are_refused), TEST(a_block_that_inflates_without_end_is_refused),
          TEST(rubbish_and_other_dictionaries_are_refused), TEST(replies_are_read_by_zlib),
          TEST(websocket_messages_are_read_in_any_pieces), TEST(websocket_headers_have_three_lengths),
          TEST(statuses_as_clients_read_them), TEST(any_text_makes_a_status), TEST(sizes_in_any_pieces))
