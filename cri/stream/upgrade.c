/* SHA-1 as the one call that it is: EVP would read OpenSSL's tables of algorithms, half a megabyte, for 60 bytes. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "cri/stream/upgrade.h"
#include "base/clock.h"
#include "cri/stream/base64.h"
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#define DAY_NS (INT64_C(86400) * 1000 * 1000 * 1000)

struct protocol {
        const char *name;
        struct upgrade what;
};

static const struct protocol spdy_remote[] = {
        { "v5.channel.k8s.io", { UPGRADE_SPDY, 5, false } },
        { "v4.channel.k8s.io", { UPGRADE_SPDY, 4, false } },
        { "v3.channel.k8s.io", { UPGRADE_SPDY, 3, false } },
        { "v2.channel.k8s.io", { UPGRADE_SPDY, 2, false } },
        { "channel.k8s.io", { UPGRADE_SPDY, 1, false } },
        { NULL, { 0 } },
};

static const struct protocol spdy_forward[] = {
        { "portforward.k8s.io", { UPGRADE_SPDY, 0, false } },
        { NULL, { 0 } },
};

/* The first one is meant by a client that names none. */
static const struct protocol websocket_remote[] = {
        { "", { UPGRADE_WEBSOCKET, 1, false } },
        { "channel.k8s.io", { UPGRADE_WEBSOCKET, 1, false } },
        { "base64.channel.k8s.io", { UPGRADE_WEBSOCKET, 1, true } },
        { "v4.channel.k8s.io", { UPGRADE_WEBSOCKET, 4, false } },
        { "v4.base64.channel.k8s.io", { UPGRADE_WEBSOCKET, 4, true } },
        { "v5.channel.k8s.io", { UPGRADE_WEBSOCKET, 5, false } },
        { "v5.base64.channel.k8s.io", { UPGRADE_WEBSOCKET, 5, true } },
        { NULL, { 0 } },
};

static const struct protocol websocket_forward[] = {
        { "", { UPGRADE_WEBSOCKET, 4, false } },
        { "v4.channel.k8s.io", { UPGRADE_WEBSOCKET, 4, false } },
        { "v4.base64.channel.k8s.io", { UPGRADE_WEBSOCKET, 4, true } },
        { "SPDY/3.1+portforward.k8s.io", { UPGRADE_TUNNEL, 0, false } },
        { NULL, { 0 } },
};

static const struct {
        const char *path;
        enum control_kind kind;
} places[] = {
        { "/exec/", CONTROL_EXEC },
        { "/attach/", CONTROL_ATTACH },
        { "/portforward/", CONTROL_FORWARD },
};

int upgrade_target(const struct request *request, enum control_kind *kind, const char **token)
{
        for (size_t i = 0; i < LENGTH(places); i++) {
                size_t len_bytes = strlen(places[i].path);
                if (strncmp(request->path, places[i].path, len_bytes) != 0)
                        continue;
                *kind = places[i].kind;
                *token = request->path + len_bytes;
                return strcmp(request->method, "GET") == 0 || strcmp(request->method, "POST") == 0 ? 0 : 405;
        }
        return 404;
}

static const char *reason_of(int status)
{
        static const struct {
                int status;
                const char *reason;
        } reasons[] = {
                { 400, "Bad Request" },
                { 403, "Forbidden" },
                { 404, "Not Found" },
                { 405, "Method Not Allowed" },
                { 431, "Request Header Fields Too Large" },
                { 503, "Service Unavailable" },
        };
        for (size_t i = 0; i < LENGTH(reasons); i++)
                if (reasons[i].status == status)
                        return reasons[i].reason;
        return "Error";
}

/* Without strftime, which looks for /etc/localtime, where the process has no files and no call to open one. */
static void append_date(struct buf *answer)
{
        static const char days[] = "ThuFriSatSunMonTueWed", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        char text[CLOCK_TEXT_SIZE]; /* 2026-11-28T10:52:29... */
        int64_t now_ns = clock_wall_ns();
        clock_format(now_ns, text);
        const char *day = days + 3 * (now_ns / DAY_NS % 7); /* 1970 began with a Thursday */
        const char *month = months + 3 * ((text[5] - '0') * 10 + text[6] - '0' - 1);
        error_ignore(buf_append_format(answer, "Date: %.3s, %.2s %.3s %.4s %.8s GMT\r\n", day, text + 8,
                                       month, text, text + 11)); /* an answer without a date is as good */
}

void upgrade_refuse(struct buf *answer, int status, const char *fields, const char *text)
{
        /* An answer that finds no memory stays empty: the connection just ends. */
        error_ignore(buf_append_format(answer, "HTTP/1.1 %d %s\r\n%s", status, reason_of(status), fields));
        append_date(answer);
        error_ignore(buf_append_format(answer,
                                       "Content-Type: text/plain; charset=utf-8\r\n"
                                       "X-Content-Type-Options: nosniff\r\n"
                                       "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                                       strlen(text), text));
}

/* The first that the client lists and we know. *any: whether it lists one. */
static const struct protocol *choose(const struct request *request, const char *field,
                                     const struct protocol *known, bool *any)
{
        struct request_items items;
        size_t len_bytes;
        *any = false;
        request_items_begin(&items, request, field);
        for (const char *item; (item = request_items_next(&items, &len_bytes));) {
                *any = true;
                for (const struct protocol *p = known; p->name; p++)
                        if (strlen(p->name) == len_bytes && strncmp(p->name, item, len_bytes) == 0)
                                return p;
        }
        return NULL;
}

static int refuse_protocols(const struct request *request, const struct protocol *known, struct buf *answer)
{
        struct request_items items;
        struct buf fields, text;
        size_t len_bytes;
        buf_init(&fields, 4096);
        buf_init(&text, REQUEST_HEAD_MAX * 2);
        struct error *e =
                buf_append_text(&text, "unable to upgrade: unable to negotiate protocol: client supports [");
        request_items_begin(&items, request, "X-Stream-Protocol-Version");
        for (const char *item, *space = ""; !e && (item = request_items_next(&items, &len_bytes));
             space = " ")
                e = buf_append_format(&text, "%s%.*s", space, (int) len_bytes, item);
        for (const struct protocol *p = known; !e && p->name; p++) {
                e = buf_append_format(&text, "%s%s", p == known ? "], server accepts [" : " ", p->name);
                if (!e)
                        e = buf_append_format(&fields, "X-Accepted-Stream-Protocol-Versions: %s\r\n",
                                              p->name);
        }
        if (!e)
                e = buf_append_text(&text, "]\n");
        if (!e)
                upgrade_refuse(answer, 403, fields.bytes, text.bytes);
        error_ignore(e); /* no memory for words */
        buf_done(&fields);
        buf_done(&text);
        return 403;
}

static int negotiate_spdy(const struct request *request, enum control_kind kind, struct upgrade *out,
                          struct buf *answer)
{
        const struct protocol *known = kind == CONTROL_FORWARD ? spdy_forward : spdy_remote;
        bool any;
        const struct protocol *protocol = choose(request, "X-Stream-Protocol-Version", known, &any);
        if (!any) {
                upgrade_refuse(
                        answer, 400, "",
                        "unable to upgrade: header X-Stream-Protocol-Version does not exist in request\n");
                return 400;
        }
        if (!request_lists(request, "Connection", "upgrade") ||
            !request_lists(request, "Upgrade", "SPDY/3.1")) {
                upgrade_refuse(answer, 400, "", "unable to upgrade: missing upgrade headers in request\n");
                return 400;
        }
        if (!protocol)
                return refuse_protocols(request, known, answer);
        *out = protocol->what;
        error_ignore(buf_append_text(answer, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                                             "Upgrade: SPDY/3.1\r\n"));
        error_ignore(buf_append_format(answer, "X-Stream-Protocol-Version: %s\r\n", protocol->name));
        append_date(answer);
        error_ignore(buf_append_text(answer, "\r\n"));
        return 101;
}

/* What proves that the server has read the key: RFC 6455 4.2.2. */
static void accept_key(const char *key, char out[BASE64_SIZE(SHA_DIGEST_LENGTH)])
{
        static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        unsigned char digest[SHA_DIGEST_LENGTH];
        SHA_CTX sha;
        (void) SHA1_Init(&sha);
        (void) SHA1_Update(&sha, key, strlen(key));
        (void) SHA1_Update(&sha, magic, sizeof(magic) - 1);
        (void) SHA1_Final(digest, &sha);
        out[base64_encode(digest, sizeof(digest), out)] = '\0';
}

static int negotiate_websocket(const struct request *request, enum control_kind kind, struct upgrade *out,
                               struct buf *answer)
{
        const struct protocol *known = kind == CONTROL_FORWARD ? websocket_forward : websocket_remote;
        const char *version = request_field(request, "Sec-WebSocket-Version");
        const char *key = request_field(request, "Sec-WebSocket-Key");
        char accepted[BASE64_SIZE(SHA_DIGEST_LENGTH)];
        bool any;
        if (strcmp(request->method, "GET") != 0 || !version || strcmp(version, "13") != 0 || !key ||
            strlen(key) != 24) {
                upgrade_refuse(answer, 400, "Sec-WebSocket-Version: 13\r\n",
                               "unable to upgrade: not a WebSocket handshake\n");
                return 400;
        }
        const struct protocol *protocol = choose(request, "Sec-WebSocket-Protocol", known, &any);
        if (!any)
                protocol = known;
        if (!protocol) {
                upgrade_refuse(answer, 403, "", "");
                return 403;
        }
        *out = protocol->what;
        accept_key(key, accepted);
        error_ignore(buf_append_format(answer,
                                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n",
                                       accepted));
        /* Not an empty one: RFC 6455 has none where none was asked for, and strict clients refuse what they did not ask for. */
        if (any)
                error_ignore(buf_append_format(answer, "Sec-WebSocket-Protocol: %s\r\n", protocol->name));
        error_ignore(buf_append_text(answer, "\r\n"));
        return 101;
}

/* Every length that is told, and there may be several, is nought. */
static bool has_body(const struct request *request)
{
        struct request_items items;
        const char *length;
        size_t len_bytes = 0;
        request_items_begin(&items, request, "Content-Length");
        while ((length = request_items_next(&items, &len_bytes)))
                if (len_bytes != 1 || *length != '0')
                        return true;
        return request_field(request, "Transfer-Encoding") != NULL;
}

int upgrade_negotiate(const struct request *request, enum control_kind kind, struct upgrade *out,
                      struct buf *answer)
{
        if (has_body(request)) {
                upgrade_refuse(answer, 400, "", "unable to upgrade: the request has a body\n");
                return 400;
        }
        if (request_lists(request, "Upgrade", "websocket") && request_lists(request, "Connection", "upgrade"))
                return negotiate_websocket(request, kind, out, answer);
        return negotiate_spdy(request, kind, out, answer);
}
