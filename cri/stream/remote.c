#include "cri/stream/remote.h"
#include "base/clock.h"
#include "cri/stream/connection.h"
#include "cri/stream/remote_internal.h"
#include "cri/stream/server.h"
#include "cri/stream/spdy_frame.h"
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define MS_NS INT64_C(1000000)
/* Go clients send the first size right behind their last stream (5 ms were seen). Others leave Nagle's algorithm on, and wait for our
 * delayed acknowledgement, 40 ms. One that sends none waits in vain, so it is no more than what nobody notices. */
enum { STREAMS_MS = 30 * 1000, SIZE_MS = 100, PUMPS_AT_ONCE = 8 };

static const char *const role_names[] = {
        [ROLE_IN] = "stdin",    [ROLE_OUT] = "stdout",    [ROLE_ERR] = "stderr",
        [ROLE_ERROR] = "error", [ROLE_RESIZE] = "resize",
};

struct remote *remote_of(struct purpose *purpose)
{
        return CONTAINER_OF(purpose, struct remote, purpose);
}

struct loop *remote_loop(const struct remote *r)
{
        return &r->purpose.connection->server->loop;
}

void remote_arm(struct remote *r, int64_t in_ms)
{
        timer_arm(remote_loop(r), &r->timer, clock_monotonic_ns() + in_ms * MS_NS);
}

static bool is_expected(const struct remote *r, unsigned role)
{
        const struct session_streams *streams = &r->purpose.token->streams;
        switch (role) {
        case ROLE_IN:
                return streams->in;
        case ROLE_OUT:
                return streams->out;
        case ROLE_ERR:
                return streams->err && !streams->tty;
        case ROLE_RESIZE:
                return streams->tty && (r->purpose.version >= 3 || r->purpose.mux->is_framed_by_channel);
        default:
                return true;
        }
}

static bool is_complete(const struct remote *r)
{
        for (unsigned role = 0; role < ROLES; role++)
                if (is_expected(r, role) && !r->streams[role])
                        return false;
        return true;
}

static void ask(struct remote *r)
{
        r->state = REMOTE_OPENING;
        r->asked_rows = r->rows;
        r->asked_columns = r->columns;
        timer_stop(remote_loop(r), &r->timer);
        struct error *e =
                server_open_session(r->purpose.connection->server, &r->purpose, r->rows, r->columns);
        if (e)
                remote_fail(r, error_message(e));
        error_free(e);
}

static void all_are_there(struct remote *r)
{
        r->purpose.mux->ops->seal(r->purpose.mux);
        r->state = r->streams[ROLE_RESIZE] && !r->rows && !r->columns ? REMOTE_SIZE : REMOTE_READY;
        if (r->state == REMOTE_SIZE)
                remote_arm(r, SIZE_MS);
}

static uint32_t remote_open(struct purpose *purpose, struct stream *stream, const struct headers *headers)
{
        struct remote *r = remote_of(purpose);
        char type[16];
        if (!headers_get(headers, "streamtype", type, sizeof(type)))
                return SPDY_PROTOCOL_ERROR;
        for (unsigned role = 0; role < ROLES; role++) {
                if (strcmp(type, role_names[role]) != 0)
                        continue;
                if (!is_expected(r, role) || r->streams[role])
                        return SPDY_PROTOCOL_ERROR;
                stream->role = role;
                r->streams[role] = stream;
                if (r->state == REMOTE_STREAMS && is_complete(r))
                        all_are_there(r);
                return 0;
        }
        return SPDY_PROTOCOL_ERROR;
}

/* WebSocket: all streams are there. */
static void begin_channels(struct remote *r)
{
        struct mux *mux = r->purpose.mux;
        for (unsigned role = 0; role < ROLES; role++) {
                if (!is_expected(r, role))
                        continue;
                r->streams[role] = mux->ops->channel(mux, role);
                r->streams[role]->role = role;
        }
        mux_send(mux, remote_lowest_out(r), "", 0);
        all_are_there(r);
}

static void remote_begin(struct purpose *purpose)
{
        struct remote *r = remote_of(purpose);
        remote_arm(r, STREAMS_MS);
        if (purpose->mux->is_framed_by_channel)
                begin_channels(r);
}

static void apply_size(struct remote *r)
{
        const struct session_message message = { .kind = SESSION_RESIZE,
                                                 .first = r->rows,
                                                 .second = r->columns };
        const struct winsize size = { .ws_row = r->rows, .ws_col = r->columns };
        if (r->purpose.token->kind == CONTROL_ATTACH)
                /* A supervisor that reads nothing for so long has other troubles than a size. */
                error_ignore(session_send(r->channel.source.fd, &message, -1));
        else
                (void) ioctl(r->in.fd >= 0 ? r->in.fd : r->outs[0].outlet.fd, TIOCSWINSZ, &size);
}

static void take_size(struct remote *r, const uint8_t *bytes, size_t len_bytes)
{
        if (!resize_read(&r->resize, bytes, len_bytes, &r->rows, &r->columns))
                return;
        if (r->state == REMOTE_SIZE)
                r->state = REMOTE_READY;
        else if (r->state == REMOTE_RUNNING)
                apply_size(r);
}

static void remote_data(struct purpose *purpose, struct stream *stream, const uint8_t *bytes,
                        size_t len_bytes)
{
        struct remote *r = remote_of(purpose);
        if (stream->role == ROLE_RESIZE)
                take_size(r, bytes, len_bytes);
        else if (stream->role == ROLE_IN && r->state < REMOTE_ENDED)
                sink_put(&r->in, bytes, len_bytes);
}

static int remote_straight(struct purpose *purpose, struct stream *stream)
{
        const struct remote *r = remote_of(purpose);
        bool goes = stream->role == ROLE_IN && r->state == REMOTE_RUNNING && !r->purpose.token->streams.tty &&
                    r->in.waiting.len_bytes == 0 && !r->in.is_broken;
        return goes ? r->in.fd : -1;
}

static void remote_stream_fin(struct purpose *purpose, struct stream *stream)
{
        struct remote *r = remote_of(purpose);
        if (stream->role == ROLE_IN)
                r->in_ends = true;
}

/* As if the pipe's other end were closed: a program that writes to it is told by SIGPIPE. */
static void remote_reset(struct purpose *purpose, struct stream *stream)
{
        struct remote *r = remote_of(purpose);
        if (stream->role == ROLE_IN)
                r->in_ends = true;
        for (size_t i = 0; i < LENGTH(r->outs); i++)
                if (stream->role == r->outs[i].role)
                        r->outs[i].outlet.left_bytes = 0;
}

static bool remote_is_stuck(const struct purpose *purpose)
{
        const struct remote *r = CONTAINER_OF(purpose, const struct remote, purpose);
        return r->in.waiting.len_bytes >= SINK_FULL_BYTES && r->state < REMOTE_ENDED;
}

static void look_again(struct remote *r)
{
        r->is_idle = false;
        remote_out_pump(r, &r->outs[0], PUMPS_AT_ONCE);
}

static void timer_fire(struct timer *timer)
{
        struct remote *r = CONTAINER_OF(timer, struct remote, timer);
        struct connection *c = r->purpose.connection;
        if (r->state == REMOTE_SIZE)
                r->state = REMOTE_READY;
        else if (r->is_idle)
                look_again(r);
        else if (r->state == REMOTE_RUNNING)
                remote_is_quiet(r);
        else
                connection_drop(c); /* the streams have not come */
        connection_settle(c);
}

static void out_ready(struct source *source, uint32_t events)
{
        struct remote_out *out = CONTAINER_OF(source, struct remote_out, watch.source);
        struct remote *r = out->remote;
        struct connection *c = r->purpose.connection;
        (void) events;
        c->transport.is_dry = false;
        connection_touch(c);
        remote_out_pump(r, out, PUMPS_AT_ONCE);
        connection_settle(c);
}

static void in_ready(struct source *source, uint32_t events)
{
        struct remote *r = CONTAINER_OF(source, struct remote, in_watch.source);
        if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLOUT))
                r->in.is_broken = true;
        sink_flush(&r->in);
        connection_settle(r->purpose.connection);
}

static void channel_ready(struct source *source, uint32_t events)
{
        struct remote *r = CONTAINER_OF(source, struct remote, channel.source);
        (void) events;
        remote_read_channel(r);
        connection_settle(r->purpose.connection);
}

static void out_begin(struct remote *r, size_t i, int fd)
{
        struct remote_out *out = &r->outs[i];
        struct stat st;
        out->outlet = (struct outlet){ .fd = fd,
                                       .is_pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode),
                                       .left_bytes = SIZE_MAX };
        watch_init(&out->watch, fd, out_ready);
}

static void remote_opened(struct purpose *purpose, struct session_fds *fds)
{
        struct remote *r = remote_of(purpose);
        r->state = REMOTE_RUNNING;
        r->in.fd = TAKE_FD(fds->in_fd);
        watch_init(&r->in_watch, r->in.fd, in_ready);
        watch_init(&r->channel, TAKE_FD(fds->channel_fd), channel_ready);
        if (fds->out_fd >= 0)
                out_begin(r, 0, TAKE_FD(fds->out_fd));
        if (fds->err_fd >= 0)
                out_begin(r, 1, TAKE_FD(fds->err_fd));
        if (r->asked_rows != r->rows || r->asked_columns != r->columns)
                apply_size(r);
        sink_flush(&r->in);
}

static void remote_failed(struct purpose *purpose, const char *why)
{
        remote_fail(remote_of(purpose), why);
}

bool remote_has_terminal(const struct remote *r)
{
        return r->purpose.token->kind == CONTROL_EXEC && r->purpose.token->streams.tty;
}

/* Kept to the end, whatever becomes of the client's input. What nobody takes who has the terminal open is for nobody. */
static void resume_keys(struct remote *r)
{
        if (r->in.is_broken)
                buf_done(&r->in.waiting);
        r->in.is_broken = false;
        if (!watch_set(remote_loop(r), &r->in_watch, r->in.waiting.len_bytes ? EPOLLOUT : 0))
                connection_drop(r->purpose.connection);
}

static void resume_in(struct remote *r)
{
        if (r->in.fd < 0)
                return;
        if (remote_has_terminal(r) && r->state == REMOTE_RUNNING)
                resume_keys(r);
        else if ((r->in_ends && r->in.waiting.len_bytes == 0) || r->in.is_broken ||
                 r->state == REMOTE_ENDED) {
                watch_stop(remote_loop(r), &r->in_watch);
                remote_in_end(r);
        } else if (!watch_set(remote_loop(r), &r->in_watch, r->in.waiting.len_bytes ? EPOLLOUT : 0)) {
                connection_drop(r->purpose.connection);
        }
}

static void resume_out(struct remote *r, struct remote_out *out)
{
        const struct transport *t = &r->purpose.connection->transport;
        const struct stream *stream = r->streams[out->role];
        if (out->outlet.fd < 0)
                return;
        if (out->outlet.left_bytes == 0 && transport_is_free(t)) {
                remote_out_end(r, out);
                return;
        }
        bool takes = (!r->is_idle && mux_takes(r->purpose.mux, stream)) ||
                     (t->is_dry && t->payload_fd == out->outlet.fd);
        if (!watch_set(remote_loop(r), &out->watch, takes ? EPOLLIN : 0))
                connection_drop(r->purpose.connection);
}

static void remote_resume(struct purpose *purpose)
{
        struct remote *r = remote_of(purpose);
        if (r->state == REMOTE_READY)
                ask(r);
        resume_in(r);
        if (r->state == REMOTE_ENDED)
                remote_drain(r);
        for (size_t i = 0; i < LENGTH(r->outs); i++)
                resume_out(r, &r->outs[i]);
        if (r->channel.source.fd >= 0 &&
            !watch_set(remote_loop(r), &r->channel, r->channel_ended ? 0 : EPOLLIN))
                connection_drop(purpose->connection);
}

static void remote_free(struct purpose *purpose)
{
        struct remote *r = remote_of(purpose);
        int channel_fd = r->channel.source.fd;
        timer_stop(remote_loop(r), &r->timer);
        for (size_t i = 0; i < LENGTH(r->outs); i++)
                remote_out_close(r, &r->outs[i]);
        watch_stop(remote_loop(r), &r->in_watch);
        sink_done(&r->in);
        watch_stop(remote_loop(r), &r->channel);
        closep(&channel_fd);
        server_count_fds(purpose->connection->server, -SESSION_FDS);
        token_free(purpose->token);
        free(r);
}

static const struct purpose_ops remote_ops = {
        .begin = remote_begin,
        .open = remote_open,
        .data = remote_data,
        .straight = remote_straight,
        .fin = remote_stream_fin,
        .reset = remote_reset,
        .is_stuck = remote_is_stuck,
        .resume = remote_resume,
        .opened = remote_opened,
        .failed = remote_failed,
        .free = remote_free,
};

struct purpose *remote_new(const struct purpose *common)
{
        struct remote *r = NEW(struct remote);
        r->purpose = *common;
        r->purpose.ops = &remote_ops;
        r->timer.fire = timer_fire;
        r->outs[0] = (struct remote_out){ .remote = r, .role = ROLE_OUT, .outlet.fd = -1 };
        r->outs[1] = (struct remote_out){ .remote = r, .role = ROLE_ERR, .outlet.fd = -1 };
        for (size_t i = 0; i < LENGTH(r->outs); i++)
                watch_init(&r->outs[i].watch, -1, out_ready);
        watch_init(&r->in_watch, -1, in_ready);
        watch_init(&r->channel, -1, channel_ready);
        sink_init(&r->in);
        server_count_fds(common->connection->server, SESSION_FDS); /* they come unasked, and find room */
        return &r->purpose;
}
