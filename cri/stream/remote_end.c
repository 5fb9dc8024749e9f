#include "base/clock.h"
#include "cri/stream/connection.h"
#include "cri/stream/remote_internal.h"
#include "cri/stream/status.h"
#include <sys/ioctl.h>

#define MS_NS INT64_C(1000000)
enum {
        CODE_KILLED = 128 + 9,
        QUIET_MS = 1000,
        IDLE_LOOK_MS = 50,
        QUIET_MOST_MS = 10 * 1000,
        TERMINAL_DRAIN_BYTES =
                256
                << 10, /* a terminal's buffers hold less; what comes after is from others that have it open */
};

struct stream *remote_lowest_out(const struct remote *r)
{
        return r->streams[ROLE_OUT]   ? r->streams[ROLE_OUT]
               : r->streams[ROLE_ERR] ? r->streams[ROLE_ERR]
                                      : r->streams[ROLE_ERROR];
}

void remote_out_close(struct remote *r, struct remote_out *out)
{
        watch_stop(remote_loop(r), &out->watch);
        closep(&out->outlet.fd);
}

void remote_out_end(struct remote *r, struct remote_out *out)
{
        remote_out_close(r, out);
        mux_fin(r->purpose.mux, r->streams[out->role]);
}

/* Anew with each frame, but not for ever. */
static void wait_for_quiet(struct remote *r)
{
        int64_t left_ns = r->quiet_by_ns - clock_monotonic_ns();
        if (r->quiet_by_ns && r->state == REMOTE_RUNNING && !r->input_closed)
                remote_arm(r, left_ns < QUIET_MS * MS_NS ? left_ns / MS_NS : QUIET_MS);
}

/* A descriptor that a payload still comes from is kept until that is sent. */
void remote_out_pump(struct remote *r, struct remote_out *out, unsigned frames)
{
        struct stream *stream = r->streams[out->role];
        for (; out->outlet.fd >= 0 && frames; frames--) {
                switch (mux_pump(r->purpose.mux, stream, &out->outlet)) {
                case PUMP_SENT:
                        wait_for_quiet(r);
                        break;
                case PUMP_ENDED:
                        /* A program may close its terminal, go on, and open it again as /dev/tty. */
                        if (remote_has_terminal(r) && r->state == REMOTE_RUNNING && out->outlet.left_bytes) {
                                r->is_idle = true;
                                remote_arm(r, IDLE_LOOK_MS);
                                return;
                        }
                        /* fallthrough */
                case PUMP_BROKEN:
                        if (transport_is_free(r->purpose.mux->transport))
                                remote_out_end(r, out);
                        return;
                case PUMP_EMPTY:
                        if (r->state == REMOTE_ENDED)
                                out->outlet.left_bytes = 0; /* others had read it */
                        return;
                case PUMP_HELD:
                        return;
                }
        }
}

/* Exactly what is there now, and no more: a child in the background may hold the pipe for ever. */
static void bound_outs(struct remote *r)
{
        for (size_t i = 0; i < LENGTH(r->outs); i++) {
                struct outlet *outlet = &r->outs[i].outlet;
                int there_bytes = 0;
                if (outlet->fd < 0)
                        continue;
                if (!outlet->is_pipe)
                        outlet->left_bytes = TERMINAL_DRAIN_BYTES;
                else if (ioctl(outlet->fd, FIONREAD, &there_bytes) == 0)
                        outlet->left_bytes = (size_t) there_bytes;
                /* Of a frame that is half sent the rest is counted as there, but is spoken for. */
                const struct transport *t = r->purpose.mux->transport;
                if (t->payload_bytes && t->payload_fd == outlet->fd)
                        outlet->left_bytes -=
                                outlet->left_bytes < t->payload_bytes ? outlet->left_bytes : t->payload_bytes;
        }
}

static void end_now(struct remote *r, int exit_code)
{
        if (r->state == REMOTE_ENDED)
                return;
        r->state = REMOTE_ENDED;
        r->exit_code = exit_code;
        r->is_idle = false;
        timer_stop(remote_loop(r), &r->timer);
        bound_outs(r);
}

static void tell(struct remote *r, struct buf *status, struct error *e)
{
        struct mux *mux = r->purpose.mux;
        r->is_told = true;
        if (e) /* no memory for words: the end of the connection has to do */
                connection_drop(r->purpose.connection);
        else if (status->len_bytes)
                mux_send(mux, r->streams[ROLE_ERROR], status->bytes, status->len_bytes);
        error_free(e);
}

/* What has been FINed needs no reset; the error stream is never FINed: clients read it to the reset. */
static void close_streams(struct remote *r)
{
        struct mux *mux = r->purpose.mux;
        for (unsigned role = 0; role < ROLES; role++)
                if (r->streams[role] && !r->streams[role]->fin_sent)
                        mux_reset(mux, r->streams[role]);
        mux->ops->finish(mux, true);
        connection_finish(r->purpose.connection);
}

void remote_drain(struct remote *r)
{
        struct transport *t = r->purpose.mux->transport;
        if (r->is_told)
                return;
        for (size_t i = 0; i < LENGTH(r->outs); i++)
                while (r->outs[i].outlet.fd >= 0 && transport_is_free(t) && !t->is_broken) {
                        size_t before_bytes = r->outs[i].outlet.left_bytes;
                        remote_out_pump(r, &r->outs[i], 1);
                        if (r->outs[i].outlet.fd >= 0 && r->outs[i].outlet.left_bytes == before_bytes)
                                return; /* held by a window */
                }
        if (r->outs[0].outlet.fd >= 0 || r->outs[1].outlet.fd >= 0)
                return;
        _cleanup_(buf_done) struct buf status;
        buf_init(&status, STATUS_MAX);
        if (r->purpose.token->kind == CONTROL_ATTACH)
                tell(r, &status, status_success(&status, r->purpose.version));
        else
                tell(r, &status,
                     status_exit(&status, r->purpose.version, r->purpose.token->subject, r->exit_code));
        close_streams(r);
}

void remote_fail(struct remote *r, const char *why)
{
        _cleanup_(buf_done) struct buf status;
        const char *doing =
                r->purpose.token->kind == CONTROL_ATTACH ? "attaching to" : "executing command in";
        buf_init(&status, STATUS_MAX);
        r->state = REMOTE_ENDED;
        tell(r, &status, status_failure(&status, r->purpose.version, doing, why));
        close_streams(r);
}

/* The container has ended, or the supervisor with all that it had started. */
static void channel_end(struct remote *r)
{
        r->channel_ended = true;
        end_now(r, CODE_KILLED);
}

void remote_read_channel(struct remote *r)
{
        while (!r->channel_ended) {
                struct session_message message;
                int fd = -1;
                bool got, ended;
                struct error *e = session_receive(r->channel.source.fd, &message, &fd, &got, &ended);
                closep(&fd); /* none is for an exec */
                if (e || ended)
                        channel_end(r);
                else if (!got)
                        return;
                else if (message.kind == SESSION_EXIT)
                        end_now(r, message.value & 0xff);
                else if (message.kind == SESSION_STDIN_ENDED)
                        r->input_closed = true;
                error_free(e); /* what is no message comes from no supervisor */
        }
}

/* An attach whose input has ended goes on for what the process answers: until nothing has come for a while. */
void remote_in_end(struct remote *r)
{
        const struct session_message ended = { .kind = SESSION_STDIN_END };
        sink_done(&r->in);
        r->in.is_broken = true; /* what may still come is for nobody */
        if (r->purpose.token->kind != CONTROL_ATTACH || r->state != REMOTE_RUNNING || !r->in_ends)
                return;
        error_ignore(
                session_send(r->channel.source.fd, &ended, -1)); /* its end comes with the session's, too */
        r->quiet_by_ns = clock_monotonic_ns() + QUIET_MOST_MS * MS_NS;
        wait_for_quiet(r);
}

void remote_is_quiet(struct remote *r)
{
        if (!r->input_closed)
                end_now(r, 0);
}
