#include "cri/client/stream_session.h"
#include "cri/client/connection.h"
#include "cri/client/signals.h"
#include "cri/client/stream_status.h"
#include "cri/client/terminal.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_BYTES 16384
/* What waits for a slow reader of ours. A piece that was received is at most as much again. */
#define OUTPUT_BYTES ((size_t) 64 << 10)
#define OUTPUT_LIMIT_BYTES ((size_t) 256 << 10)
#define REGULAR_WRITE_BYTES 65536
#define OWN_FDS 5 /* of the pollfds of a step: see enum place */
#define MORE_MAX 4

enum place { PLACE_SERVER, PLACE_IN, PLACE_OUT, PLACE_ERR, PLACE_SIGNALS };

/* What the server writes on one stream, on its way to a descriptor. */
struct output {
        uint32_t stream; /* 0: was not asked for */
        bool ended;      /* nothing more comes */
        bool hold;
        int fd;
        const char *name;
        size_t write_bytes; /* at a time: a pipe that is ready takes PIPE_BUF and does not wait (pipe(7)) */
        struct buf waiting;
};

struct stream_session {
        struct connection *connection;
        struct output out, err, status;
        uint32_t in_stream, resize_stream;
        bool in_open, in_ended; /* stdin: the server has taken its stream; nothing more is read */
        bool resize_open, is_raw, detached;
        struct {
                bool in, out, err; /* streams that are still to be opened */
        } wanted;
        int in_fd, signal;
        struct detach_keys *keys;
};

/* --- opening --- */

static void output_init(struct output *output, int fd, const char *name, bool is_wanted)
{
        struct stat st;
        bool is_regular = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
        *output = (struct output){ .fd = fd,
                                   .name = name,
                                   .ended = !is_wanted,
                                   .write_bytes = is_regular ? REGULAR_WRITE_BYTES : PIPE_BUF };
        buf_init(&output->waiting, OUTPUT_LIMIT_BYTES);
}

static struct error *add(struct stream_session *session, const char *type, uint32_t *out_stream)
{
        struct spdy_pair pair = { "streamtype", type };
        return connection_add(session->connection, &pair, 1, out_stream);
}

static struct error *send_size(struct stream_session *session)
{
        uint16_t columns, rows;
        if (!session->resize_open || !terminal_size(session->in_fd, &columns, &rows))
                return NULL;
        _cleanup_(freep) char *text =
                format_string("{\"Width\":%u,\"Height\":%u}\n", (unsigned) columns, (unsigned) rows);
        return connection_write(session->connection, session->resize_stream, text, strlen(text), false);
}

/* With the last of these the program is started. */
static struct error *add_wanted(struct stream_session *session)
{
        if (session->wanted.in)
                TRY(add(session, "stdin", &session->in_stream));
        if (session->wanted.out)
                TRY(add(session, "stdout", &session->out.stream));
        if (session->wanted.err)
                TRY(add(session, "stderr", &session->err.stream));
        session->wanted.in = session->wanted.out = session->wanted.err = false;
        return NULL;
}

/* A terminal's size goes before all else, so that the program sees it when it starts: the other streams wait for it. */
static struct error *add_streams(struct stream_session *session, const struct stream_session_options *options)
{
        session->wanted.in = options->in;
        session->wanted.out = options->out;
        session->wanted.err = options->err;
        TRY(add(session, "error", &session->status.stream));
        return options->tty ? add(session, "resize", &session->resize_stream) : add_wanted(session);
}

static struct error *take_reply(struct stream_session *session, uint32_t stream)
{
        session->in_open |= stream == session->in_stream;
        if (stream != session->resize_stream)
                return NULL;
        session->resize_open = true;
        TRY(send_size(session));
        return add_wanted(session);
}

struct error *stream_session_open(const struct stream_session_options *options, struct stream_session **out)
{
        static const char *const protocols[] = { "v4.channel.k8s.io", NULL };
        _cleanup_(stream_session_freep) struct stream_session *session = NEW(struct stream_session);
        output_init(&session->out, options->out_fd, "stdout", options->out);
        output_init(&session->err, options->err_fd, "stderr", options->err);
        output_init(&session->status, -1, "status", true);
        session->out.hold = options->hold;
        session->in_fd = options->in_fd;
        session->in_ended = !options->in;
        session->keys = options->tty ? options->keys : NULL;
        TRY(connection_open(options->url, protocols, &session->connection));
        TRY(add_streams(session, options));
        if (options->tty && options->in && isatty(options->in_fd)) {
                TRY(terminal_raw(options->in_fd));
                session->is_raw = true;
        }
        *out = TAKE(session);
        return NULL;
}

void stream_session_free(struct stream_session *session)
{
        if (!session)
                return;
        if (session->is_raw)
                terminal_restore();
        connection_free(session->connection);
        buf_done(&session->out.waiting);
        buf_done(&session->err.waiting);
        buf_done(&session->status.waiting);
        free(session);
}

/* --- output --- */

static bool has_room(const struct output *output)
{
        return output->waiting.len_bytes < OUTPUT_BYTES;
}

static struct output *output_of(struct stream_session *session, uint32_t stream)
{
        struct output *outputs[] = { &session->out, &session->err, &session->status };
        for (size_t i = 0; i < LENGTH(outputs); i++)
                if (outputs[i]->stream == stream && stream)
                        return outputs[i];
        return NULL;
}

static struct error *take_event(struct stream_session *session, const struct spdy_event *event)
{
        struct output *output = output_of(session, event->stream);
        if (event->kind == SPDY_REPLY)
                return take_reply(session, event->stream);
        if (event->kind == SPDY_RESET && event->stream == session->in_stream)
                session->in_ended = true; /* nobody reads it any more */
        if (!output)
                return NULL;
        if (event->kind == SPDY_DATA)
                return buf_append(&output->waiting, event->bytes, event->len_bytes);
        if (event->kind == SPDY_END || event->kind == SPDY_RESET)
                output->ended = true;
        return NULL;
}

static struct error *take_events(struct stream_session *session)
{
        while (has_room(&session->out) && has_room(&session->err)) {
                struct spdy_event event;
                TRY_WRAP(connection_next(session->connection, &event), "streams");
                if (event.kind == SPDY_NONE)
                        break;
                TRY(take_event(session, &event));
        }
        if (connection_ended(session->connection))
                session->out.ended = session->err.ended = session->status.ended = true;
        return NULL;
}

static bool wants_write(const struct output *output)
{
        return output->waiting.len_bytes && !output->hold;
}

static struct error *write_some(struct output *output)
{
        size_t len_bytes = output->waiting.len_bytes;
        ssize_t n_bytes = write(output->fd, output->waiting.bytes,
                                len_bytes < output->write_bytes ? len_bytes : output->write_bytes);
        if (n_bytes < 0 && errno != EINTR && errno != EAGAIN)
                return error_errno(errno, "write to %s", output->name);
        buf_consume(&output->waiting, n_bytes > 0 ? (size_t) n_bytes : 0);
        return NULL;
}

/* --- input --- */

static bool wants_input(const struct stream_session *session)
{
        return session->in_open && !session->in_ended && connection_room(session->connection) >= INPUT_BYTES;
}

static struct error *read_input(struct stream_session *session)
{
        uint8_t bytes[INPUT_BYTES], passed[INPUT_BYTES + DETACH_KEYS_MAX];
        ssize_t n_bytes = read(session->in_fd, bytes, sizeof(bytes));
        if (n_bytes < 0 && (errno == EINTR || errno == EAGAIN))
                return NULL;
        if (n_bytes <= 0) { /* a terminal that is gone fails with EIO */
                session->in_ended = true;
                return connection_write(session->connection, session->in_stream, NULL, 0, true);
        }
        if (!session->keys)
                return connection_write(session->connection, session->in_stream, bytes, (size_t) n_bytes,
                                        false);
        size_t len_bytes;
        session->detached = detach_keys_filter(session->keys, bytes, (size_t) n_bytes, passed, &len_bytes);
        TRY(connection_write(session->connection, session->in_stream, passed, len_bytes, false));
        if (session->detached)
                connection_ready(session->connection, POLLOUT); /* nothing is polled for any more */
        return NULL;
}

/* --- the loop --- */

static struct error *take_signals(struct stream_session *session)
{
        for (int number; (number = signals_take());) {
                if (number == SIGTSTP)
                        terminal_suspend();
                else if (number == SIGCONT)
                        terminal_resume();
                else if (number != SIGWINCH)
                        session->signal = number;
                if (number != session->signal)
                        TRY(send_size(session));
        }
        return NULL;
}

static struct pollfd poll_of(int fd, short events)
{
        return (struct pollfd){ .fd = events ? fd : -1, .events = events }; /* no wake-ups by POLLHUP alone */
}

static struct error *act(struct stream_session *session, const struct pollfd *polled)
{
        if (polled[PLACE_SIGNALS].revents)
                TRY(take_signals(session));
        if (polled[PLACE_SERVER].revents)
                connection_ready(session->connection, polled[PLACE_SERVER].revents);
        if (polled[PLACE_OUT].revents)
                TRY(write_some(&session->out));
        if (polled[PLACE_ERR].revents)
                TRY(write_some(&session->err));
        TRY(take_events(session));
        return polled[PLACE_IN].revents && wants_input(session) ? read_input(session) : NULL;
}

struct error *stream_session_step(struct stream_session *session, struct pollfd *more, size_t n_more,
                                  int timeout_ms)
{
        bool takes_more = has_room(&session->out) && has_room(&session->err);
        struct pollfd polled[OWN_FDS + MORE_MAX] = {
                [PLACE_SERVER] = poll_of(connection_fd(session->connection),
                                         connection_events(session->connection, takes_more)),
                [PLACE_IN] = poll_of(session->in_fd, wants_input(session) ? POLLIN : 0),
                [PLACE_OUT] = poll_of(session->out.fd, wants_write(&session->out) ? POLLOUT : 0),
                [PLACE_ERR] = poll_of(session->err.fd, wants_write(&session->err) ? POLLOUT : 0),
                [PLACE_SIGNALS] = poll_of(signals_fd(), POLLIN),
        };
        size_t n = n_more < MORE_MAX ? n_more : MORE_MAX;
        for (size_t i = 0; i < n; i++)
                polled[OWN_FDS + i] = more[i];
        if (poll(polled, OWN_FDS + n, timeout_ms) < 0) {
                if (errno != EINTR)
                        return error_errno(errno, "poll");
                for (size_t i = 0; i < LENGTH(polled); i++)
                        polled[i].revents = 0;
        }
        for (size_t i = 0; i < n; i++)
                more[i].revents = polled[OWN_FDS + i].revents;
        return act(session, polled);
}

bool stream_session_ended(const struct stream_session *session)
{
        return session->out.ended && session->err.ended && session->status.ended &&
               session->out.waiting.len_bytes == 0 && session->err.waiting.len_bytes == 0;
}

bool stream_session_detached(const struct stream_session *session)
{
        return session->detached;
}

int stream_session_signal(const struct stream_session *session)
{
        return session->signal;
}

struct error *stream_session_status(const struct stream_session *session, int *exit_code)
{
        return stream_status_parse(session->status.waiting.bytes, session->status.waiting.len_bytes,
                                   exit_code);
}

struct error *stream_session_run(struct stream_session *session)
{
        while (!stream_session_ended(session) && !session->detached && !session->signal)
                TRY(stream_session_step(session, NULL, 0, -1));
        return NULL;
}

const struct buf *stream_session_held(const struct stream_session *session)
{
        return &session->out.waiting;
}

bool stream_session_held_full(const struct stream_session *session)
{
        return !has_room(&session->out);
}

void stream_session_release(struct stream_session *session)
{
        session->out.hold = false;
}
