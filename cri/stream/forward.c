#include "cri/stream/forward.h"
#include "base/clock.h"
#include "cri/stream/connection.h"
#include "cri/stream/forward_internal.h"
#include "cri/stream/server.h"
#include "cri/stream/spdy_frame.h"
#include <string.h>
#include <sys/epoll.h>

#define MS_NS INT64_C(1000000)
enum {
        HALF_MS = 30 * 1000,
        DIALS_AT_ONCE = 64, /* as many questions as a channel surely holds */
        WAITING_FULL_BYTES = 96 << 10,
};

static struct forward *forward_of(struct purpose *purpose)
{
        return CONTAINER_OF(purpose, struct forward, purpose);
}

static struct loop *loop_of(const struct forward *f)
{
        return &f->purpose.connection->server->loop;
}

static struct stream **place_in(struct pair *pair, bool is_error)
{
        return is_error ? &pair->error : &pair->data;
}

static struct pair *pair_by_request(const struct forward *f, const char *request)
{
        for (struct pair *pair = f->pairs; pair; pair = pair->next)
                if (pair->state != PAIR_DONE && strcmp(pair->request, request) == 0)
                        return pair;
        return NULL;
}

static bool port_of(const struct headers *headers, uint16_t *out)
{
        char text[8], *end;
        if (!headers_get(headers, "port", text, sizeof(text)) || text[0] < '0' || text[0] > '9')
                return false;
        unsigned long port = strtoul(text, &end, 10);
        *out = (uint16_t) port;
        return *end == '\0' && port > 0 && port <= UINT16_MAX;
}

/* Older clients send no requestid: the error stream comes first, and the data stream is the next one. */
static void request_of(const struct headers *headers, uint32_t id, bool is_error, char out[24])
{
        if (!headers_get(headers, "requestid", out, 24) || !*out)
                (void) snprintf(out, 24, "stream %u", is_error ? id : id - 2);
}

static void half_begins(struct forward *f, struct pair *pair)
{
        pair->half_by_ns = clock_monotonic_ns() + HALF_MS * MS_NS;
        if (!f->timer.armed)
                timer_arm(loop_of(f), &f->timer, pair->half_by_ns);
}

static uint32_t forward_open(struct purpose *purpose, struct stream *stream, const struct headers *headers)
{
        struct forward *f = forward_of(purpose);
        char type[8], request[24];
        uint16_t port;
        if (!headers_get(headers, "streamtype", type, sizeof(type)) || !port_of(headers, &port))
                return SPDY_PROTOCOL_ERROR;
        bool is_error = strcmp(type, "error") == 0;
        if (!is_error && strcmp(type, "data") != 0)
                return SPDY_PROTOCOL_ERROR;
        request_of(headers, stream->id, is_error, request);
        struct pair *pair = pair_by_request(f, request);
        if (pair && *place_in(pair, is_error))
                return SPDY_PROTOCOL_ERROR;
        if (!pair) {
                pair = pair_new(f, request);
                half_begins(f, pair);
        }
        *place_in(pair, is_error) = stream;
        stream->owner = pair;
        if (!is_error || !pair->port)
                pair->port = port;
        if (pair->data && pair->error)
                pair->state = PAIR_READY;
        return 0;
}

static void forward_data(struct purpose *purpose, struct stream *stream, const uint8_t *bytes,
                         size_t len_bytes)
{
        struct pair *pair = stream->owner;
        (void) purpose;
        if (stream == pair->data)
                pair_put(pair, bytes, len_bytes);
}

/* A pod's end is a socket: between two of them nothing goes without a copy. */
static int forward_straight(struct purpose *purpose, struct stream *stream)
{
        (void) purpose, (void) stream;
        return -1;
}

static void forward_fin(struct purpose *purpose, struct stream *stream)
{
        struct pair *pair = stream->owner;
        (void) purpose;
        if (stream == pair->data)
                pair_end_input(pair);
}

static void forward_reset(struct purpose *purpose, struct stream *stream)
{
        struct pair *pair = stream->owner;
        (void) purpose;
        if (pair->state == PAIR_DONE || (stream == pair->error && pair->state != PAIR_HALF))
                return; /* who does not want to hear of errors may go on */
        pair_abort(pair);
}

static bool forward_is_stuck(const struct purpose *purpose)
{
        const struct forward *f = CONTAINER_OF(purpose, const struct forward, purpose);
        size_t waiting_bytes = 0;
        for (const struct pair *pair = f->pairs; pair; pair = pair->next) {
                waiting_bytes += pair->to.waiting.len_bytes;
                if (pair->to.waiting.len_bytes >= SINK_FULL_BYTES)
                        return true;
        }
        return waiting_bytes >= WAITING_FULL_BYTES;
}

static void channel_end(struct forward *f)
{
        f->channel_ended = true;
        for (struct pair *pair = f->pairs; pair; pair = pair->next)
                if (pair->state == PAIR_DIALING)
                        pair_fail(pair, "the pod has ended");
}

static void take_dialed(struct forward *f, const struct session_message *message, int *fd)
{
        for (struct pair *pair = f->pairs; pair; pair = pair->next) {
                if (pair->state == PAIR_DIALING && pair->dial_id == message->id) {
                        pair_dialed(pair, fd, message->value);
                        return;
                }
        }
}

static void channel_ready(struct source *source, uint32_t events)
{
        struct forward *f = CONTAINER_OF(source, struct forward, channel.source);
        (void) events;
        while (!f->channel_ended) {
                struct session_message message;
                _cleanup_(closep) int fd = -1;
                bool got, ended;
                struct error *e = session_receive(source->fd, &message, &fd, &got, &ended);
                if (e || ended)
                        channel_end(f);
                else if (got && message.kind == SESSION_DIALED)
                        take_dialed(f, &message, &fd);
                error_free(e); /* what is no message comes from no supervisor */
                if (!got)
                        break;
        }
        connection_settle(f->purpose.connection);
}

static void timer_fire(struct timer *timer)
{
        struct forward *f = CONTAINER_OF(timer, struct forward, timer);
        int64_t now_ns = clock_monotonic_ns(), next_ns = INT64_MAX;
        if (f->channel_ended)
                f->was_told = true;
        for (struct pair *pair = f->pairs; pair; pair = pair->next) {
                if (pair->state == PAIR_HALF && pair->half_by_ns <= now_ns)
                        pair_fail(pair, "timed out waiting for streams");
                else if (pair->state == PAIR_HALF && pair->half_by_ns < next_ns)
                        next_ns = pair->half_by_ns;
        }
        if (next_ns != INT64_MAX)
                timer_arm(loop_of(f), timer, next_ns);
        connection_settle(f->purpose.connection);
}

static void forward_opened(struct purpose *purpose, struct session_fds *fds)
{
        struct forward *f = forward_of(purpose);
        watch_init(&f->channel, TAKE_FD(fds->channel_fd), channel_ready);
}

/* Each pair that comes is told why. The session has its time for one, then it ends. */
static void forward_failed(struct purpose *purpose, const char *why)
{
        struct forward *f = forward_of(purpose);
        f->why = dup_string(why);
        f->channel_ended = true;
        timer_arm(loop_of(f), &f->timer, clock_monotonic_ns() + HALF_MS * MS_NS);
}

/* In WebSocket's channels the ports are those of the CRI call, and their connections are made at once. */
static void begin_channels(struct forward *f)
{
        struct mux *mux = f->purpose.mux;
        const struct token *token = f->purpose.token;
        for (size_t i = token->n_ports; i-- > 0;) {
                const uint8_t port[] = { (uint8_t) token->ports[i], (uint8_t) (token->ports[i] >> 8) };
                struct pair *pair = pair_new(f, "");
                pair->port = token->ports[i];
                pair->data = mux->ops->channel(mux, (uint32_t) (2 * i));
                pair->error = mux->ops->channel(mux, (uint32_t) (2 * i + 1));
                pair->data->owner = pair->error->owner = pair;
                pair->state = PAIR_READY;
                mux_send(mux, pair->data, port, sizeof(port));
                mux_send(mux, pair->error, port, sizeof(port));
        }
}

static void forward_begin(struct purpose *purpose)
{
        struct forward *f = forward_of(purpose);
        if (purpose->mux->is_framed_by_channel)
                begin_channels(f);
        struct error *e = server_open_session(purpose->connection->server, purpose, 0, 0);
        if (e)
                forward_failed(purpose, error_message(e));
        error_free(e);
}

static void dial_or_fail(struct forward *f, struct pair *pair)
{
        if (pair->state != PAIR_READY)
                return;
        if (f->channel_ended)
                pair_fail(pair, f->why ? f->why : "the pod has ended");
        else if (f->channel.source.fd < 0 || f->n_dialing == DIALS_AT_ONCE)
                return;
        else if (!server_has_room(f->purpose.connection->server))
                pair_fail(pair, "too many connections");
        else
                pair_dial(pair);
}

static void forward_resume(struct purpose *purpose)
{
        struct forward *f = forward_of(purpose);
        for (struct pair **at = &f->pairs, *pair; (pair = *at);) {
                dial_or_fail(f, pair);
                pair_resume(pair);
                if (pair->state == PAIR_DONE) {
                        *at = pair->next;
                        pair_free(pair);
                } else {
                        at = &pair->next;
                }
        }
        if (!watch_set(loop_of(f), &f->channel, f->channel_ended ? 0 : EPOLLIN))
                connection_drop(purpose->connection);
        bool is_over = f->channel_ended && (f->was_told || !f->why);
        if (f->pairs || purpose->connection->phase != CONNECTION_SESSION)
                return;
        if (is_over || purpose->mux->is_framed_by_channel) {
                purpose->mux->ops->finish(purpose->mux, true);
                connection_finish(purpose->connection);
        }
}

static void forward_free(struct purpose *purpose)
{
        struct forward *f = forward_of(purpose);
        int channel_fd = f->channel.source.fd;
        for (struct pair *pair = f->pairs, *next; pair; pair = next) {
                next = pair->next;
                pair_free(pair);
        }
        timer_stop(loop_of(f), &f->timer);
        watch_stop(loop_of(f), &f->channel);
        server_count_fds(purpose->connection->server, -1);
        closep(&channel_fd);
        token_free(purpose->token);
        free(f->why);
        free(f);
}

static const struct purpose_ops forward_ops = {
        .begin = forward_begin,
        .open = forward_open,
        .data = forward_data,
        .straight = forward_straight,
        .fin = forward_fin,
        .reset = forward_reset,
        .is_stuck = forward_is_stuck,
        .resume = forward_resume,
        .opened = forward_opened,
        .failed = forward_failed,
        .free = forward_free,
};

struct purpose *forward_new(const struct purpose *common)
{
        struct forward *f = NEW(struct forward);
        f->purpose = *common;
        f->purpose.ops = &forward_ops;
        f->timer.fire = timer_fire;
        server_count_fds(common->connection->server, 1); /* the channel comes unasked, and finds room */
        watch_init(&f->channel, -1, channel_ready);
        return &f->purpose;
}
