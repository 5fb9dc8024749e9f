/* Requests, their answers, tokens. */
#include "cri/stream/base64.h"
#include "cri/stream/request.h"
#include "cri/stream/token.h"
#include "cri/stream/upgrade.h"
#include "tests/unit/unit.h"

#define MINUTE_NS (INT64_C(60) * 1000 * 1000 * 1000)

static struct error *parsed(const char *text, char head[REQUEST_HEAD_MAX], struct request *out)
{
        size_t len_bytes = strlen(text);
        memcpy(head, text, len_bytes + 1);
        size_t head_bytes = request_head_end(head, len_bytes, 0);
        assert_int_not_equal(head_bytes, 0);
        return request_parse(head, head_bytes, out);
}

static void a_head_ends_with_an_empty_line_however_it_comes(void **state)
{
        static const char head[] = "GET / HTTP/1.1\r\nA: b\r\n\r\nmore";
        (void) state;
        for (size_t n = 1; n <= 24; n++) /* a byte at a time */
                assert_int_equal(request_head_end(head, n, n - 1), n == 24 ? 24 : 0);
        assert_int_equal(request_head_end(head, sizeof(head) - 1, 0), 24);
        assert_int_equal(request_head_end("GET / HTTP/1.1\nA: b\n\n", 21, 0), 21);
        assert_int_equal(request_head_end("a\r\n\rb", 5, 0), 0);
}

static void a_request_is_parsed(void **state)
{
        char head[REQUEST_HEAD_MAX];
        struct request r;
        (void) state;
        assert_ok(parsed("POST http://[::1]:80/exec/abc?x=y#z HTTP/1.1\r\nHost: a\r\nUpgrade:SPDY/3.1 "
                         "\r\nEmpty:\r\n\r\n",
                         head, &r));
        assert_string_equal(r.method, "POST");
        assert_string_equal(r.path, "/exec/abc");
        assert_string_equal(request_field(&r, "upgrade"), "SPDY/3.1");
        assert_string_equal(request_field(&r, "empty"), "");
        assert_null(request_field(&r, "none"));
}

static void what_is_no_request_is_refused(void **state)
{
        static const char *const bad[] = {
                "GET /\r\n\r\n",
                "GET\r\n\r\n",
                "GET / HTTP/2.0\r\n\r\n",
                "GET / HTTP/1.12\r\n\r\n",
                "G(T / HTTP/1.1\r\n\r\n",
                " / HTTP/1.1\r\n\r\n",
                "GET exec HTTP/1.1\r\n\r\n",
                "GET http://host HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\r\nno colon\r\n\r\n",
                "GET / HTTP/1.1\r\nname : x\r\n\r\n",
                "GET / HTTP/1.1\r\n: x\r\n\r\n",
                "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        };
        char head[REQUEST_HEAD_MAX];
        struct request r;
        (void) state;
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "malformed", parsed(bad[i], head, &r));
        char with_nul[] = "GET / HTTP/1.1\r\nA: \0\r\n\r\n";
        assert_fails(ERROR_INVALID_ARGUMENT, "NUL", request_parse(with_nul, sizeof(with_nul) - 1, &r));
}

static void more_fields_than_a_hundred_are_refused(void **state)
{
        char text[4096] = "GET / HTTP/1.1\r\n", head[REQUEST_HEAD_MAX];
        struct request r;
        size_t n = strlen(text);
        (void) state;
        for (unsigned i = 0; i < 100; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "a: %u\r\n", i);
        (void) snprintf(text + n, sizeof(text) - n, "\r\n");
        assert_ok(parsed(text, head, &r));
        (void) snprintf(text + n, sizeof(text) - n, "a: b\r\n\r\n");
        assert_fails(ERROR_INVALID_ARGUMENT, "too many", parsed(text, head, &r));
}

static void lists_are_of_several_lines_and_commas(void **state)
{
        char head[REQUEST_HEAD_MAX];
        struct request r;
        struct request_items items;
        size_t len_bytes;
        (void) state;
        assert_ok(parsed("GET / HTTP/1.1\r\nP: a, b\t,,c\r\nQ: x\r\np:\r\nP: d\r\n\r\n", head, &r));
        request_items_begin(&items, &r, "P");
        for (const char *want = "abcd"; *want; want++) {
                const char *item = request_items_next(&items, &len_bytes);
                assert_non_null(item);
                assert_int_equal(len_bytes, 1);
                assert_int_equal(*item, *want);
        }
        assert_null(request_items_next(&items, &len_bytes));
        assert_true(request_lists(&r, "p", "C"));
        assert_false(request_lists(&r, "p", "x"));
}

/* The answer to a request, and its status. */
static int answer(const char *text, enum control_kind kind, struct upgrade *out, struct buf *bytes)
{
        char head[REQUEST_HEAD_MAX];
        struct request r;
        buf_init(bytes, 65536);
        assert_ok(parsed(text, head, &r));
        return upgrade_negotiate(&r, kind, out, bytes);
}

#define SPDY                                                                                                 \
        "POST /exec/x HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: "  \
        "0\r\n"
#define WEBSOCKET                                                                                            \
        "GET /exec/x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define PROTOCOL "X-Stream-Protocol-Version: "

static void the_first_protocol_of_the_client_that_is_known_is_taken(void **state)
{
        static const struct {
                const char *text;
                enum control_kind kind;
                struct upgrade want;
        } cases[] = {
                { SPDY PROTOCOL "v5.channel.k8s.io\r\n" PROTOCOL "v4.channel.k8s.io\r\n\r\n",
                  CONTROL_EXEC,
                  { UPGRADE_SPDY, 5, false } },
                { SPDY PROTOCOL "channel.k8s.io, v4.channel.k8s.io\r\n\r\n",
                  CONTROL_EXEC,
                  { UPGRADE_SPDY, 1, false } },
                { SPDY PROTOCOL "v9, v2.channel.k8s.io\r\n\r\n", CONTROL_ATTACH, { UPGRADE_SPDY, 2, false } },
                { SPDY PROTOCOL "portforward.k8s.io\r\n\r\n", CONTROL_FORWARD, { UPGRADE_SPDY, 0, false } },
                { WEBSOCKET "\r\n", CONTROL_EXEC, { UPGRADE_WEBSOCKET, 1, false } },
                { WEBSOCKET "Sec-WebSocket-Protocol: v4.base64.channel.k8s.io\r\n\r\n",
                  CONTROL_EXEC,
                  { UPGRADE_WEBSOCKET, 4, true } },
                { WEBSOCKET "Sec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io\r\n\r\n",
                  CONTROL_EXEC,
                  { UPGRADE_WEBSOCKET, 5, false } },
                { WEBSOCKET "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n\r\n",
                  CONTROL_FORWARD,
                  { UPGRADE_TUNNEL, 0, false } },
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(cases); i++) {
                _cleanup_(buf_done) struct buf bytes;
                struct upgrade got = { 0 };
                assert_int_equal(answer(cases[i].text, cases[i].kind, &got, &bytes), 101);
                assert_int_equal(got.framing, cases[i].want.framing);
                assert_int_equal(got.version, cases[i].want.version);
                assert_int_equal(got.is_base64, cases[i].want.is_base64);
                assert_non_null(strstr(bytes.bytes, "HTTP/1.1 101 Switching Protocols\r\n"));
                assert_string_equal(bytes.bytes + bytes.len_bytes - 4, "\r\n\r\n");
        }
}

static void what_cannot_be_agreed_is_refused_as_clients_expect(void **state)
{
        static const struct {
                const char *text;
                enum control_kind kind;
                int status;
                const char *has;
        } cases[] = {
                { SPDY "\r\n", CONTROL_EXEC, 400,
                  "header X-Stream-Protocol-Version does not exist in request" },
                { "POST /exec/x HTTP/1.1\r\n\r\n", CONTROL_EXEC, 400,
                  "header X-Stream-Protocol-Version does not exist" },
                { "POST /exec/x HTTP/1.1\r\n" PROTOCOL "v4.channel.k8s.io\r\n\r\n", CONTROL_EXEC, 400,
                  "missing upgrade headers" },
                { SPDY PROTOCOL "v9, v8\r\n\r\n", CONTROL_EXEC, 403,
                  "client supports [v9 v8], server accepts [v5.channel.k8s.io v4" },
                { SPDY PROTOCOL "v9\r\n\r\n", CONTROL_FORWARD, 403,
                  "X-Accepted-Stream-Protocol-Versions: portforward.k8s.io\r\n" },
                { WEBSOCKET "Sec-WebSocket-Protocol: v9\r\n\r\n", CONTROL_EXEC, 403,
                  "Content-Length: 0\r\n" },
                { "GET /exec/x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: "
                  "websocket\r\nSec-WebSocket-Version: 8\r\n\r\n",
                  CONTROL_EXEC, 400, "Sec-WebSocket-Version: 13" },
                { "POST /exec/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", CONTROL_EXEC, 400,
                  "has a body" },
                { "POST /exec/x HTTP/1.1\r\nContent-Length: 5\r\n\r\n", CONTROL_EXEC, 400, "has a body" },
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(cases); i++) {
                _cleanup_(buf_done) struct buf bytes;
                struct upgrade got;
                assert_int_equal(answer(cases[i].text, cases[i].kind, &got, &bytes), cases[i].status);
                assert_non_null(strstr(bytes.bytes, cases[i].has));
                assert_non_null(strstr(bytes.bytes, "Connection: close\r\n"));
        }
}

static void targets(void **state)
{
        static const struct {
                const char *text;
                int status;
                const char *token;
        } cases[] = {
                { "GET /exec/abc HTTP/1.1\r\n\r\n", 0, "abc" },
                { "POST /exec/abc? HTTP/1.1\r\n\r\n", 0, "abc" },
                { "PUT /attach/abc HTTP/1.1\r\n\r\n", 405, "abc" },
                { "GET /portforward/ HTTP/1.1\r\n\r\n", 0, "" },
                { "GET /execute HTTP/1.1\r\n\r\n", 404, NULL },
                { "PUT / HTTP/1.1\r\n\r\n", 404, NULL },
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(cases); i++) {
                char head[REQUEST_HEAD_MAX];
                struct request r;
                enum control_kind kind;
                const char *token = NULL;
                assert_ok(parsed(cases[i].text, head, &r));
                assert_int_equal(upgrade_target(&r, &kind, &token), cases[i].status);
                if (cases[i].token)
                        assert_string_equal(token, cases[i].token);
        }
}

static void give(struct token_table *table, unsigned n, int64_t now_ns)
{
        struct control_message m = {
                .type = CONTROL_TOKEN, .kind = CONTROL_EXEC, .n_ports = 2, .ports = { 80, 81 }
        };
        (void) snprintf(m.token, sizeof(m.token), "%032x", n);
        token_put(table, &m, "[sh]", now_ns);
}

static struct token *take(struct token_table *table, unsigned n, int64_t now_ns)
{
        char text[CONTROL_TOKEN_CHARS + 1];
        (void) snprintf(text, sizeof(text), "%032x", n);
        return token_take(table, text, now_ns);
}

static void a_token_is_good_once_and_for_a_minute(void **state)
{
        static struct token_table table;
        (void) state;
        give(&table, 1, 0);
        give(&table, 2, 5);
        assert_null(take(&table, 3, 6));
        assert_null(token_take(&table, "", 6));
        _cleanup_(token_freep) struct token *token = take(&table, 1, 6);
        assert_non_null(token);
        assert_string_equal(token->subject, "[sh]");
        assert_int_equal(token->ports[1], 81);
        assert_null(take(&table, 1, 6));
        assert_int_equal(token_expire(&table, 6), MINUTE_NS + 5);
        assert_null(take(&table, 2, MINUTE_NS + 5));
        assert_int_equal(table.n, 0);
}

static void the_oldest_token_makes_room(void **state)
{
        static struct token_table table;
        (void) state;
        for (unsigned i = 0; i <= CONTROL_TOKENS_MAX; i++)
                give(&table, i, i);
        assert_int_equal(table.n, CONTROL_TOKENS_MAX);
        assert_null(take(&table, 0, 2000));
        _cleanup_(token_freep) struct token *second = take(&table, 1, 2000),
                                            *last = take(&table, CONTROL_TOKENS_MAX, 2000);
        assert_non_null(second);
        assert_non_null(last);
        assert_int_equal(token_expire(&table, INT64_MAX), 0);
}

static void base64_in_pieces(void **state)
{
        uint8_t bytes[100], back[200];
        char text[BASE64_SIZE(100)];
        (void) state;
        for (size_t n = 0; n < sizeof(bytes); n++) {
                for (size_t i = 0; i < n; i++)
                        bytes[i] = (uint8_t) (i * 37 + n);
                size_t chars = base64_encode(bytes, n, text);
                for (size_t cut = 0; cut <= chars; cut++) {
                        struct base64_reader reader = { 0 };
                        size_t first = 0, second = 0;
                        assert_true(base64_decode(&reader, (uint8_t *) text, cut, back, &first));
                        assert_true(base64_decode(&reader, (uint8_t *) text + cut, chars - cut, back + first,
                                                  &second));
                        assert_int_equal(first + second, n);
                        assert_memory_equal(back, bytes, n);
                }
        }
        static const char *const bad[] = { "=", "A=", "AA=A", "AA===", "A A=", "AAA==", "A-_=" };
        for (size_t i = 0; i < LENGTH(bad); i++) {
                struct base64_reader reader = { 0 };
                size_t n;
                assert_false(base64_decode(&reader, (const uint8_t *) bad[i], strlen(bad[i]), back, &n));
        }
}

UNIT_MAIN(TEST(a_head_ends_with_an_empty_line_however_it_comes), TEST(a_request_is_parsed),
          TEST(what_is_no_request_is_refused), TEST(more_fields_than_a_hundred_are_refused),
          TEST(lists_are_of_several_lines_and_commas),
          TEST(the_first_protocol_of_the_client_that_is_known_is_taken),
          TEST(what_cannot_be_agreed_is_refused_as_clients_expect), TEST(targets),
          TEST(a_token_is_good_once_and_for_a_minute), TEST(the_oldest_token_makes_room),
          TEST(base64_in_pieces))
