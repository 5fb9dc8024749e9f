#include "cri/stream/connection.h"
#include "cri/stream/forward_internal.h"
#include "cri/stream/server.h"
#include <ctype.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { PUMPS_AT_ONCE = 4 };

static void pod_ready(struct source *source, uint32_t events);

static struct mux *mux_of(const struct pair *pair)
{
        return pair->forward->purpose.mux;
}

struct pair *pair_new(struct forward *f, const char *request)
{
        struct pair *pair = NEW(struct pair);
        pair->forward = f;
        pair->next = f->pairs;
        f->pairs = pair;
        (void) snprintf(pair->request, sizeof(pair->request), "%s", request);
        sink_init(&pair->to);
        watch_init(&pair->watch, -1, pod_ready);
        return pair;
}

static void close_socket(struct pair *pair)
{
        struct server *server = pair->forward->purpose.connection->server;
        if (pair->counts_fd)
                server_count_fds(server, -1);
        pair->counts_fd = false;
        watch_stop(&server->loop, &pair->watch);
        closep(&pair->to.fd);
}

/* What waits for the pod is for nobody, and nothing more is taken. */
static void close_all(struct pair *pair)
{
        close_socket(pair);
        sink_done(&pair->to);
        pair->to.is_broken = true;
}

void pair_free(struct pair *pair)
{
        struct mux *mux = mux_of(pair);
        close_all(pair);
        if (pair->data)
                mux->ops->forget(mux, pair->data);
        if (pair->error)
                mux->ops->forget(mux, pair->error);
        free(pair);
}

/* Both ways are through, or given up. */
static void pair_done(struct pair *pair)
{
        close_all(pair);
        if (pair->error)
                mux_fin(mux_of(pair), pair->error);
        pair->state = PAIR_DONE;
}

/* What was on its way is lost, to both sides. */
static void pair_break(struct pair *pair)
{
        if (pair->data)
                mux_reset(mux_of(pair), pair->data);
        pair_done(pair);
}

void pair_abort(struct pair *pair)
{
        const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
        if (pair->state == PAIR_DIALING)
                pair->forward->n_dialing--;
        if (pair->to.fd >= 0 &&
            !pair->pod_ended) /* the pod is told in the same way: its connection is reset */
                (void) setsockopt(pair->to.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        pair_break(pair);
}

/* The end of the data first: client-go closes all at a text, and then is not to wait for anything of this pair. */
void pair_fail(struct pair *pair, const char *why)
{
        struct forward *f = pair->forward;
        _cleanup_(freep) char *text = format_string("error forwarding port %u to pod %s, uid : %s",
                                                    pair->port, f->purpose.token->subject, why);
        if (pair->data)
                mux_fin(mux_of(pair), pair->data);
        if (pair->error)
                mux_send(mux_of(pair), pair->error, text, strlen(text));
        f->was_told = true;
        pair_break(pair);
}

void pair_dial(struct pair *pair)
{
        struct forward *f = pair->forward;
        const struct session_message message = { .kind = SESSION_DIAL,
                                                 .id = ++f->last_dial_id,
                                                 .first = pair->port,
                                                 .second = pair->is_second_try ? 6 : 4 };
        struct error *e = session_send(f->channel.source.fd, &message, -1);
        if (e) {
                pair_fail(pair, "the pod's supervisor does not answer");
        } else {
                server_count_fds(f->purpose.connection->server, 1); /* what comes is to find room */
                pair->counts_fd = true;
                pair->dial_id = message.id;
                pair->state = PAIR_DIALING;
                f->n_dialing++;
        }
        error_free(e);
}

/* Nobody listens on 127.0.0.1, perhaps on ::1; if not, the first reason is what people expect. */
static void dial_failed(struct pair *pair, int errnum)
{
        close_socket(pair);
        if (!pair->is_second_try) {
                pair->is_second_try = true;
                pair->first_errnum = errnum;
                pair->state = PAIR_READY;
                return;
        }
        _cleanup_(freep) char *reason = dup_string(strerror(pair->first_errnum));
        reason[0] = (char) tolower((unsigned char) reason[0]);
        _cleanup_(freep) char *why =
                format_string("connect to localhost:%u in the pod: %s", pair->port, reason);
        pair_fail(pair, why);
}

void pair_dialed(struct pair *pair, int *fd, int errnum)
{
        struct forward *f = pair->forward;
        f->n_dialing--;
        if (*fd < 0) {
                dial_failed(pair, errnum ? errnum : EIO);
                return;
        }
        pair->state = PAIR_CONNECTING;
        pair->to.fd = TAKE_FD(*fd);
        pair->from = (struct outlet){ .fd = pair->to.fd, .left_bytes = SIZE_MAX };
        watch_init(&pair->watch, pair->to.fd, pod_ready);
}

/* Also when it had connected before it came to us. */
static void connect_end(struct pair *pair)
{
        int errnum = 0;
        socklen_t len_bytes = sizeof(errnum);
        if (getsockopt(pair->to.fd, SOL_SOCKET, SO_ERROR, &errnum, &len_bytes) < 0)
                errnum = errno;
        if (errnum) {
                dial_failed(pair, errnum);
                return;
        }
        pair->state = PAIR_OPEN;
        sink_flush(&pair->to);
}

void pair_put(struct pair *pair, const uint8_t *bytes, size_t len_bytes)
{
        if (pair->state == PAIR_DONE)
                return;
        if (pair->state == PAIR_OPEN || pair->to.fd < 0) {
                sink_put(&pair->to, bytes, len_bytes);
                return;
        }
        /* A socket that still connects takes nothing. */
        struct error *e = buf_append(&pair->to.waiting, bytes, len_bytes);
        if (e)
                pair->to.is_broken = true;
        error_free(e);
}

void pair_end_input(struct pair *pair)
{
        pair->client_ended = true;
}

/* One frame a turn, at most so many: other pairs wait for the same socket. */
static void pump(struct pair *pair)
{
        for (unsigned i = 0; i < PUMPS_AT_ONCE; i++) {
                switch (mux_pump(mux_of(pair), pair->data, &pair->from)) {
                case PUMP_SENT:
                        break;
                case PUMP_ENDED:
                        pair->pod_ended = true;
                        mux_fin(mux_of(pair), pair->data);
                        return;
                case PUMP_BROKEN:
                        pair_break(pair);
                        return;
                case PUMP_EMPTY:
                case PUMP_HELD:
                        return;
                }
        }
}

static void pod_ready(struct source *source, uint32_t events)
{
        struct pair *pair = CONTAINER_OF(source, struct pair, watch.source);
        struct connection *c = pair->forward->purpose.connection;
        connection_touch(c);
        if (pair->state == PAIR_CONNECTING)
                connect_end(pair);
        if (pair->state == PAIR_OPEN && events & (EPOLLOUT | EPOLLERR))
                sink_flush(&pair->to);
        if (pair->state == PAIR_OPEN && events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !pair->pod_ended)
                pump(pair);
        connection_settle(c);
}

/* The client's end goes on to the pod behind its last byte. */
static void pass_end(struct pair *pair)
{
        if (!pair->client_ended || pair->client_end_told || pair->to.waiting.len_bytes)
                return;
        pair->client_end_told = true;
        (void) shutdown(pair->to.fd, SHUT_WR); /* a pod that has gone needs no end */
}

void pair_resume(struct pair *pair)
{
        struct forward *f = pair->forward;
        uint32_t events = 0;
        if (pair->state == PAIR_CONNECTING)
                events = EPOLLOUT;
        if (pair->state == PAIR_OPEN && pair->to.is_broken)
                pair_break(pair);
        if (pair->state == PAIR_OPEN) {
                pass_end(pair);
                /* In WebSocket's channels a client cannot end its side: the pod's end is the connection's. So it is when the
                 * whole pod has ended: nobody is there to hear the client's. */
                if (pair->pod_ended &&
                    (pair->client_end_told || mux_of(pair)->is_framed_by_channel || f->channel_ended))
                        pair_done(pair);
        }
        if (pair->state == PAIR_OPEN) {
                if (!pair->pod_ended && mux_takes(mux_of(pair), pair->data))
                        events |= EPOLLIN;
                if (pair->to.waiting.len_bytes)
                        events |= EPOLLOUT;
        }
        if (!watch_set(&f->purpose.connection->server->loop, &pair->watch, events))
                pair_break(pair);
}
