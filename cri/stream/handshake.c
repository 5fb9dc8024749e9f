#include "cri/stream/handshake.h"
#include "base/clock.h"
#include "cri/stream/forward.h"
#include "cri/stream/remote.h"
#include "cri/stream/server.h"
#include "cri/stream/spdy.h"
#include "cri/stream/upgrade.h"
#include "cri/stream/websocket.h"

static void refuse(struct connection *c, int status, const char *fields, const char *text)
{
        struct buf answer;
        buf_init(&answer, 4096);
        upgrade_refuse(&answer, status, fields, text);
        transport_queue(&c->transport, answer.bytes, answer.len_bytes);
        buf_done(&answer);
        connection_finish(c);
}

static void begin(struct connection *c, struct token *token, const struct upgrade *upgrade)
{
        struct server *server = c->server;
        size_t streams_max = token->kind == CONTROL_FORWARD ? FORWARD_STREAMS_MAX : REMOTE_STREAMS_MAX;
        if (upgrade->framing == UPGRADE_WEBSOCKET)
                c->mux = websocket_new(&c->transport, server->scratch, upgrade->is_base64, upgrade->version);
        else
                c->mux = spdy_new(&c->transport, server->scratch, streams_max,
                                  upgrade->framing == UPGRADE_TUNNEL);
        if (!c->mux) {
                token_free(token);
                connection_drop(c);
                return;
        }
        c->phase = CONNECTION_SESSION;
        server_promote(server, c);
        struct purpose common = {
                .connection = c, .mux = c->mux, .token = token, .version = upgrade->version
        };
        c->purpose = token->kind == CONTROL_FORWARD ? forward_new(&common) : remote_new(&common);
        c->mux->purpose = c->purpose;
        c->purpose->ops->begin(c->purpose);
}

/* What came right behind the head. */
static void feed_rest(struct connection *c, size_t head_bytes)
{
        struct buf head = c->head;
        buf_init(&c->head, head.limit_bytes);
        struct error *e = c->mux && head.len_bytes > head_bytes
                                  ? c->mux->ops->feed(c->mux, (uint8_t *) head.bytes + head_bytes,
                                                      head.len_bytes - head_bytes)
                                  : NULL;
        if (e) {
                c->mux->ops->finish(c->mux, false);
                connection_leave(c);
        }
        error_free(e); /* the client's fault, which it is told */
        buf_done(&head);
}

static void answer_request(struct connection *c, const struct request *request)
{
        enum control_kind kind = CONTROL_EXEC;
        const char *text = NULL;
        struct upgrade upgrade;
        struct buf answer;
        int status = upgrade_target(request, &kind, &text);
        if (status == 405) {
                refuse(c, 405, "Allow: GET, POST\r\n", "405: Method Not Allowed\n");
                return;
        }
        _cleanup_(token_freep) struct token *token = status ? NULL : server_take_token(c->server, text);
        if (!token || token->kind != kind) {
                refuse(c, 404, "", "404 page not found\n");
                return;
        }
        buf_init(&answer, REQUEST_HEAD_MAX * 4);
        status = upgrade_negotiate(request, kind, &upgrade, &answer);
        if (status == 101 && !server_has_room(c->server)) {
                buf_done(&answer);
                refuse(c, 503, "", "too many sessions\n");
                return;
        }
        transport_queue(&c->transport, answer.bytes, answer.len_bytes);
        buf_done(&answer);
        if (status == 101)
                begin(c, TAKE(token), &upgrade);
        else
                connection_finish(c);
}

void handshake(struct connection *c)
{
        struct request request;
        size_t head_bytes = request_head_end(c->head.bytes, c->head.len_bytes, c->head_seen_bytes);
        c->head_seen_bytes = c->head.len_bytes;
        if (head_bytes > REQUEST_HEAD_MAX || (!head_bytes && c->head.len_bytes > REQUEST_HEAD_MAX)) {
                refuse(c, 431, "", "the request is too long\n");
                return;
        }
        if (!head_bytes)
                return;
        struct error *e = request_parse(c->head.bytes, head_bytes, &request);
        if (e) {
                refuse(c, 400, "", "400 Bad Request\n");
                error_free(e);
                return;
        }
        answer_request(c, &request);
        feed_rest(c, head_bytes);
}
