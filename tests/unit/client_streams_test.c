/* The parts of the skiff command's streams that need no server: SPDY frames, URLs and answers, statuses, detach keys, ports,
 * where an attach begins in a log. What they do together is in tests/integration/test_cli_streams.py. */
#include "cri/client/detach_keys.h"
#include "cri/client/forward.h"
#include "cri/client/run_streams.h"
#include "cri/client/spdy.h"
#include "cri/client/stream_status.h"
#include "cri/client/upgrade.h"
#include "tests/unit/unit.h"
#include <string.h>

/* --- frames --- */

static void assert_bytes(const struct buf *buf, const void *expected, size_t len_bytes)
{
        assert_int_equal(buf->len_bytes, len_bytes);
        assert_memory_equal(buf->bytes, expected, len_bytes);
}

#define ASSERT_BYTES(buf, expected) assert_bytes(buf, expected, sizeof(expected) - 1)

static void a_stream_is_opened_by_stored_blocks(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf out;
        const struct spdy_pair pair = { "streamtype", "error" };
        buf_init(&out, 65536);
        assert_ok(spdy_put_open(&out, true, 1, &pair, 1));
        ASSERT_BYTES(&out,
                     "\x80\x03\x00\x01\x00\x00\x00\x35\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                     "\x78\xbb\xe3\xc6\xa7\xc2\x00\x1b\x00\xe4\xff\x00\x00\x00\x01\x00\x00\x00\x0astreamtype"
                     "\x00\x00\x00\x05"
                     "error\x00\x00\x00\xff\xff");
        buf_consume(&out, out.len_bytes);
        assert_ok(spdy_put_open(&out, false, 3, NULL, 0)); /* zlib's head stands once */
        ASSERT_BYTES(&out, "\x80\x03\x00\x01\x00\x00\x00\x18\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00"
                           "\x00\x04\x00\xfb\xff\x00\x00\x00\x00\x00\x00\x00\xff\xff");
}

static void data_is_cut_and_its_last_frame_ends_the_stream(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf out;
        static char big[SPDY_DATA_MAX + 1];
        buf_init(&out, 1 << 20);
        assert_ok(spdy_put_data(&out, 5, "hi", 2, false));
        assert_ok(spdy_put_data(&out, 5, NULL, 0, true));
        assert_ok(spdy_put_data(&out, 5, NULL, 0, false)); /* nothing */
        ASSERT_BYTES(&out, "\x00\x00\x00\x05\x00\x00\x00\x02hi\x00\x00\x00\x05\x01\x00\x00\x00");
        buf_consume(&out, out.len_bytes);
        assert_ok(spdy_put_data(&out, 5, big, sizeof(big), true));
        assert_int_equal(out.len_bytes, 16 + sizeof(big));
        assert_memory_equal(out.bytes, "\x00\x00\x00\x05\x00\x00\x80\x00", 8);
        assert_memory_equal(out.bytes + 8 + SPDY_DATA_MAX, "\x00\x00\x00\x05\x01\x00\x00\x01", 8);
}

/* A letter an event: R reply, D data, E end, X reset, P ping, G going away, ! error; data follows its D. */
static void read_as_text(const char *bytes, size_t len_bytes, size_t piece_bytes, char *out, size_t out_bytes)
{
        static const char letters[] = { 0, 'R', 'D', 'E', 'X', 'P', 'G' };
        struct spdy_reader reader = { 0 };
        size_t at = 0, len = 0;
        for (;;) {
                struct spdy_event event;
                size_t left = len_bytes - at, n = left < piece_bytes ? left : piece_bytes, used;
                struct error *e = spdy_read(&reader, (const uint8_t *) bytes + at, n, &used, &event);
                at += used;
                if (e || len + 80 > out_bytes) {
                        error_free(e);
                        (void) snprintf(out + len, out_bytes - len, "!");
                        return;
                }
                if (event.kind == SPDY_NONE && at == len_bytes)
                        return;
                if (event.kind != SPDY_NONE)
                        len += (size_t) snprintf(out + len, out_bytes - len, "%c%u%.*s ", letters[event.kind],
                                                 event.stream ? event.stream : event.value,
                                                 (int) event.len_bytes,
                                                 event.bytes ? (const char *) event.bytes : "");
        }
}

#define ASSERT_EVENTS(bytes, expected)                                                                       \
        do {                                                                                                 \
                char text_[1024] = "";                                                                       \
                read_as_text(bytes, sizeof(bytes) - 1, SIZE_MAX, text_, sizeof(text_));                      \
                assert_string_equal(text_, expected);                                                        \
        } while (0)

static void frames_are_taken_apart(void **state)
{
        (void) state;
        ASSERT_EVENTS("\x80\x03\x00\x02\x00\x00\x00\x09\x00\x00\x00\x01zzzzz"
                      "\x00\x00\x00\x01\x00\x00\x00\x03"
                      "abc\x00\x00\x00\x01\x01\x00\x00\x02yz",
                      "R1 D1abc D1yz E1 ");
        ASSERT_EVENTS("\x80\x03\x00\x02\x01\x00\x00\x04\x00\x00\x00\x07", "R7 E7 ");
        ASSERT_EVENTS("\x80\x03\x00\x03\x00\x00\x00\x08\x00\x00\x00\x05\x00\x00\x00\x05", "X5 ");
        ASSERT_EVENTS("\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x02", "P2 ");
        ASSERT_EVENTS("\x80\x03\x00\x07\x00\x00\x00\x08\x00\x00\x00\x05\x00\x00\x00\x00", "G0 ");
        /* SETTINGS and what nobody knows are passed over. */
        ASSERT_EVENTS("\x80\x03\x00\x04\x00\x00\x00\x0c\x00\x00\x00\x01\x01\x00\x00\x04\x00\x00\x10\x00"
                      "\x80\x03\x00\x63\x00\x00\x00\x00\x00\x00\x00\x03\x01\x00\x00\x00",
                      "E3 ");
}

static void frames_may_come_byte_by_byte(void **state)
{
        (void) state;
        static const char bytes[] = "\x80\x03\x00\x02\x00\x00\x00\x09\x00\x00\x00\x01zzzzz"
                                    "\x00\x00\x00\x01\x01\x00\x00\x02"
                                    "hi\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x04";
        char text[256] = "";
        read_as_text(bytes, sizeof(bytes) - 1, 1, text, sizeof(text));
        assert_string_equal(text, "R1 D1h D1i E1 P4 ");
}

static void what_is_no_spdy_is_an_error(void **state)
{
        (void) state;
        ASSERT_EVENTS("\x80\x02\x00\x02\x00\x00\x00\x04\x00\x00\x00\x01", "!");
        ASSERT_EVENTS("\x00\x00\x00\x00\x00\x00\x00\x01x", "!");                /* stream 0 */
        ASSERT_EVENTS("\x80\x03\x00\x03\x00\x00\x00\x04\x00\x00\x00\x01", "!"); /* RST_STREAM too short */
        ASSERT_EVENTS("\x80\x03\x00\x02\x00\x00\x00\x00", "!");                 /* SYN_REPLY of nothing */
}

/* --- the upgrade --- */

static void assert_url(const char *text, const char *host, const char *port, const char *path)
{
        _cleanup_(stream_url_done) struct stream_url url = { 0 };
        assert_ok(stream_url_parse(text, &url));
        assert_string_equal(url.host, host);
        assert_string_equal(url.port, port);
        assert_string_equal(url.path, path);
}

static void urls_are_taken_apart(void **state)
{
        (void) state;
        assert_url("http://127.0.0.1:4711/exec/abc", "127.0.0.1", "4711", "/exec/abc");
        assert_url("http://[::1]:80/exec/a?b=c", "::1", "80", "/exec/a?b=c");
        assert_url("http://[::1]/x", "::1", "80", "/x");
        assert_url("HTTP://node", "node", "80", "/");
        assert_url("http://node?x", "node", "80", "/?x");
        static const char *const bad[] = { "",
                                           "127.0.0.1:80/x",
                                           "http://",
                                           "http://:80/x",
                                           "http://a:/x",
                                           "http://a:b/x",
                                           "http://a:123456/",
                                           "http://[::1/x",
                                           "http://[::1]x/",
                                           "http://a/b\r\nX: y" };
        for (size_t i = 0; i < LENGTH(bad); i++) {
                _cleanup_(stream_url_done) struct stream_url url = { 0 };
                assert_fails(ERROR_INVALID_ARGUMENT, "is no http://", stream_url_parse(bad[i], &url));
        }
        struct stream_url url = { 0 };
        assert_fails(ERROR_UNIMPLEMENTED, "TLS", stream_url_parse("https://a/b", &url));
}

static struct error *check(const char *answer)
{
        return upgrade_check(answer, strlen(answer));
}

static void answers_say_what_was_refused(void **state)
{
        (void) state;
        assert_ok(check(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\n"));
        assert_fails(ERROR_NOT_FOUND, "404", check("HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n"));
        assert_fails(ERROR_UNAVAILABLE, "403: no such protocol",
                     check("HTTP/1.1 403 Forbidden\r\nA: b\r\n\r\nno such\tprotocol\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "other than SPDY",
                     check("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "no HTTP", check("SSH-2.0-OpenSSH\r\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "no HTTP", check("HTTP/1.1"));
        assert_fails(ERROR_INVALID_ARGUMENT, "no HTTP", check(""));
}

/* --- statuses --- */

static struct error *status(const char *text, int *code)
{
        return stream_status_parse(text, strlen(text), code);
}

#define WITH_CODE(code)                                                                                      \
        "{\"status\":\"Failure\",\"reason\":\"NonZeroExitCode\",\"message\":\"m\",\"details\":{\"causes\":[" \
        "{\"reason\":\"Other\",\"message\":\"9\"},{\"reason\":\"ExitCode\",\"message\":\"" code "\"}]}}"

static void a_status_is_an_exit_code_or_an_error(void **state)
{
        (void) state;
        int code = -1;
        assert_ok(status("{\"metadata\":{},\"status\":\"Success\"}", &code));
        assert_int_equal(code, 0);
        assert_ok(status(WITH_CODE("137"), &code));
        assert_int_equal(code, 137);
        assert_fails(ERROR_INVALID_ARGUMENT, "as an exit code", status(WITH_CODE("256"), &code));
        assert_fails(ERROR_INVALID_ARGUMENT, "as an exit code", status(WITH_CODE("-1"), &code));
        assert_fails(ERROR_INVALID_ARGUMENT, "as an exit code", status(WITH_CODE(""), &code));
        assert_fails(ERROR_INTERNAL, "no room",
                     status("{\"status\":\"Failure\",\"message\":\"no room\",\"code\":500}", &code));
        assert_fails(ERROR_INVALID_ARGUMENT, "status is", status("{\"status\":7}", &code));
        assert_fails(ERROR_INVALID_ARGUMENT, "the server's status", status("plain words", &code));
        assert_fails(ERROR_UNAVAILABLE, "lost", status("", &code));
}

static void what_cannot_be_run_is_126_or_127(void **state)
{
        (void) state;
        assert_int_equal(stream_status_not_run("start: exec: \"x\": executable file not found in $PATH"),
                         127);
        assert_int_equal(stream_status_not_run("exec: \"/x\": stat /x: no such file or directory: unknown"),
                         127);
        assert_int_equal(stream_status_not_run("exec: \"/etc\": permission denied"), 126);
        assert_int_equal(stream_status_not_run("no such file or directory"), 0);
}

/* --- detach keys --- */

static void assert_filtered(const char *keys_text, const char *typed, const char *passed, bool detached)
{
        struct detach_keys keys;
        char out[256] = "";
        size_t len = 0;
        bool left = false;
        assert_ok(detach_keys_parse(keys_text, &keys));
        for (; *typed && !left; typed++) { /* as a person types */
                size_t n;
                left = detach_keys_filter(&keys, (const uint8_t *) typed, 1, (uint8_t *) out + len, &n);
                len += n;
        }
        out[len] = '\0';
        assert_string_equal(out, passed);
        assert_int_equal(left, detached);
}

static void keys_detach_and_all_else_goes_on(void **state)
{
        (void) state;
        assert_filtered(DETACH_KEYS_DEFAULT, "ls\r\x10\x11", "ls\r", true);
        assert_filtered(DETACH_KEYS_DEFAULT, "\x10x\x11", "\x10x\x11", false);
        assert_filtered(DETACH_KEYS_DEFAULT, "a\x10", "a", false); /* kept back */
        assert_filtered(DETACH_KEYS_DEFAULT, "\x10\x10\x11", "\x10", true);
        assert_filtered("a,a,b", "aaab", "a", true);
        assert_filtered("a,b,a,c", "ababac", "ab", true);
        assert_filtered("ctrl-@", "x", "x", false);
        assert_filtered("", "\x10\x11", "\x10\x11", false);
        struct detach_keys keys;
        static const char *const bad[] = {
                "ctrl-",   "ctrl-1", "ctrl-p,", "ab",
                "ctrl-pp", ",",      "a,,b",    "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a"
        };
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "are no keys", detach_keys_parse(bad[i], &keys));
}

/* --- ports --- */

static void ports_are_local_and_remote(void **state)
{
        (void) state;
        static const struct {
                const char *text;
                uint16_t local, remote;
        } good[] = { { "80", 80, 80 },
                     { "8080:80", 8080, 80 },
                     { ":80", 0, 80 },
                     { "0:80", 0, 80 },
                     { "65535", 65535, 65535 } };
        static const char *const bad[] = { "",   "0",        ":",        "80:", "65536", "a",
                                           "-1", "80:80:80", "99999:80", "8 0", "+80" };
        struct forward_ports ports;
        for (size_t i = 0; i < LENGTH(good); i++) {
                assert_ok(forward_parse(good[i].text, &ports));
                assert_int_equal(ports.local, good[i].local);
                assert_int_equal(ports.remote, good[i].remote);
        }
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "is not [LOCAL:]REMOTE", forward_parse(bad[i], &ports));
}

/* --- run -t --- */

static void the_log_is_shown_up_to_where_the_attach_begins(void **state)
{
        (void) state;
        static const struct {
                const char *log, *attached;
                size_t before;
        } cases[] = {
                { "banner\r\n/ # ", "", 12 },
                { "", "/ # ", 0 },
                { "banner\r\n/ # ls\r\n", "ls\r\n", 12 },
                { "one\r\ntwo\r\n", "two\r\nthree\r\n", 5 },
                { "all of it", "all of it and more", 0 },
                { "nothing", "in common", 7 },
        };
        for (size_t i = 0; i < LENGTH(cases); i++)
                assert_int_equal(run_streams_before(cases[i].log, strlen(cases[i].log), cases[i].attached,
                                                    strlen(cases[i].attached)),
                                 cases[i].before);
}

UNIT_MAIN(TEST(a_stream_is_opened_by_stored_blocks), TEST(data_is_cut_and_its_last_frame_ends_the_stream),
          TEST(frames_are_taken_apart), TEST(frames_may_come_byte_by_byte), TEST(what_is_no_spdy_is_an_error),
          TEST(urls_are_taken_apart), TEST(answers_say_what_was_refused),
          TEST(a_status_is_an_exit_code_or_an_error), TEST(what_cannot_be_run_is_126_or_127),
          TEST(keys_detach_and_all_else_goes_on), TEST(ports_are_local_and_remote),
          TEST(the_log_is_shown_up_to_where_the_attach_begins))
