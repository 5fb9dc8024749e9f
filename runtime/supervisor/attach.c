#include "runtime/supervisor/attach.h"
#include "runtime/supervisor/channel.h"
#include "runtime/supervisor/terminal.h"
#include <fcntl.h>
#include <sys/epoll.h>

#define ATTACHED_MAX 64 /* of one container */
#define KEYS_BYTES 512

struct outlet {
        int fd;              /* -1: not wanted, or the client has closed it */
        uint64_t lost_bytes; /* since the last that went through */
};

struct attached {
        struct attached *next;
        struct workload *container;
        struct source channel;
        struct outlet out, err;
        bool has_stdin;
        /* To a terminal: what the client writes, and the terminal while it does not take it. */
        struct source keys, room;
        char held[KEYS_BYTES];
        size_t held_at, held_bytes;
};

/* --- output --- */

static bool mark(struct outlet *outlet, bool tty)
{
        char text[96];
        const char *newline = tty ? "\r\n" : "\n";
        int n_bytes = snprintf(text, sizeof(text), "%sskiff: %llu bytes of output were lost here%s", newline,
                               (unsigned long long) outlet->lost_bytes, newline);
        if (write(outlet->fd, text, (size_t) n_bytes) != n_bytes) /* all of so little, or none: pipe(7) */
                return false;
        outlet->lost_bytes = 0;
        return true;
}

static void outlet_put(struct outlet *outlet, bool tty, const char *bytes, size_t len_bytes)
{
        ssize_t n_bytes = 0;
        if (outlet->fd < 0)
                return;
        if (outlet->lost_bytes == 0 || mark(outlet, tty))
                n_bytes = write(outlet->fd, bytes, len_bytes);
        if (n_bytes < 0 && errno == EPIPE)
                closep(&outlet->fd);
        outlet->lost_bytes += len_bytes - (n_bytes > 0 ? (size_t) n_bytes : 0);
}

void attach_output(struct workload *c, bool is_err, const char *bytes, size_t len_bytes)
{
        for (struct attached *a = c->attached; a; a = a->next)
                outlet_put(is_err ? &a->err : &a->out, c->tty, bytes, len_bytes);
}

/* --- input to a terminal --- */

static void keys_close(struct attached *a)
{
        struct loop *loop = &a->container->pod->loop;
        loop_remove(loop, &a->room);
        loop_remove(loop, &a->keys);
        closep(&a->room.fd);
        closep(&a->keys.fd);
}

/* False when the terminal has not taken all of it yet. What it never will is dropped. */
static bool keys_push(struct attached *a)
{
        while (a->held_at < a->held_bytes) {
                ssize_t n_bytes =
                        write(a->container->out.source.fd, a->held + a->held_at, a->held_bytes - a->held_at);
                if (n_bytes < 0 && errno == EAGAIN)
                        return false;
                if (n_bytes <= 0)
                        break;
                a->held_at += (size_t) n_bytes;
        }
        a->held_at = a->held_bytes = 0;
        return true;
}

/* The terminal is in the loop for its output already: for its room it is there by another number. */
static void keys_wait(struct attached *a)
{
        struct loop *loop = &a->container->pod->loop;
        a->room.fd = fcntl(a->container->out.source.fd, F_DUPFD_CLOEXEC, 3);
        struct error *e = a->room.fd < 0 ? error_errno(errno, "room") : loop_add(loop, &a->room, EPOLLOUT);
        if (e)
                keys_close(a);
        else
                loop_remove(loop, &a->keys);
        error_ignore(e); /* its client sees that its input has ended */
}

static void room_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct attached *a = CONTAINER_OF(source, struct attached, room);
        struct loop *loop = &a->container->pod->loop;
        if (!keys_push(a))
                return;
        loop_remove(loop, source);
        closep(&source->fd);
        struct error *e = loop_add(loop, &a->keys, EPOLLIN);
        if (e)
                keys_close(a);
        error_ignore(e); /* as above */
}

static void keys_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct attached *a = CONTAINER_OF(source, struct attached, keys);
        ssize_t n_bytes = read(source->fd, a->held, sizeof(a->held));
        if (n_bytes < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n_bytes <= 0) {
                keys_close(a);
                return;
        }
        a->held_bytes = (size_t) n_bytes;
        if (!keys_push(a))
                keys_wait(a);
}

/* --- a client --- */

/* What else writes to the container's stdin does so still: other clients have it too. */
static void stdin_ended(struct attached *a)
{
        struct workload *c = a->container;
        if (a->has_stdin && c->stdin_once && !c->tty)
                closep(&c->stdin_fd);
        a->has_stdin = false;
}

static void attached_free(struct attached *a)
{
        for (struct attached **at = &a->container->attached; *at; at = &(*at)->next) {
                if (*at == a) {
                        *at = a->next;
                        break;
                }
        }
        keys_close(a);
        closep(&a->out.fd);
        closep(&a->err.fd);
        channel_close(&a->container->pod->loop, &a->channel);
        free(a);
}

void attach_end(struct workload *c)
{
        while (c->attached) {
                struct attached *a = c->attached;
                struct outlet *outlets[] = { &a->out, &a->err };
                for (size_t i = 0; i < LENGTH(outlets); i++)
                        if (outlets[i]->fd >= 0 && outlets[i]->lost_bytes)
                                (void) mark(outlets[i], c->tty);
                attached_free(a);
        }
}

/* False when the client does not take it. */
static bool stdin_end_tell(struct attached *a)
{
        const struct session_message told = { .kind = SESSION_STDIN_ENDED };
        struct error *e = session_send(a->channel.fd, &told, -1);
        bool taken = !e;
        error_ignore(e); /* the peer sees its end */
        return taken;
}

static void channel_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct attached *a = CONTAINER_OF(source, struct attached, channel);
        struct session_message message;
        enum channel_state state = channel_read(source, &message);
        if (state == CHANNEL_MESSAGE && message.kind == SESSION_RESIZE)
                terminal_resize(a->container, message.first, message.second);
        if (state == CHANNEL_ENDED || (state == CHANNEL_MESSAGE && message.kind == SESSION_STDIN_END))
                stdin_ended(a);
        bool stays = state != CHANNEL_ENDED;
        /* It has had its only input: what it says from here on is to be waited for. */
        if (stays && state == CHANNEL_MESSAGE && message.kind == SESSION_STDIN_END &&
            a->container->stdin_once)
                stays = stdin_end_tell(a);
        if (!stays)
                attached_free(a);
}

/* --- the request --- */

static size_t count(const struct workload *c)
{
        size_t n = 0;
        for (const struct attached *a = c->attached; a; a = a->next)
                n++;
        return n;
}

static struct error *keys_open(struct attached *a, int *write_fd)
{
        int ends[2];
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_errno(errno, "pipe");
        a->keys.fd = ends[0];
        *write_fd = ends[1];
        return loop_add(&a->container->pod->loop, &a->keys, EPOLLIN);
}

/* *send_fd: what its client writes to; -1 where there is nothing to write to. *ours_fd is the same where it is to be closed
 * when it has been sent. */
static struct error *stdin_open(struct attached *a, int *send_fd, int *ours_fd)
{
        const struct workload *c = a->container;
        if (c->tty && c->out.source.fd >= 0)
                TRY(keys_open(a, ours_fd));
        *send_fd = c->tty ? *ours_fd : c->stdin_fd;
        a->has_stdin = *send_fd >= 0;
        return NULL;
}

static void ok_send(struct connection *c, int fd)
{
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_OK);
        connection_send(c, &w, &fd, fd >= 0);
        wire_done(&w);
}

static struct attached *attached_new(struct workload *c)
{
        struct attached *a = calloc(1, sizeof(*a));
        if (!a)
                return NULL;
        *a = (struct attached){ .container = c,
                                .channel = { .fd = -1, .ready = channel_ready },
                                .keys = { .fd = -1, .ready = keys_ready },
                                .room = { .fd = -1, .ready = room_ready },
                                .out.fd = -1,
                                .err.fd = -1,
                                .next = c->attached };
        c->attached = a;
        return a;
}

static void join(struct connection *c, struct workload *container, const struct session_streams *streams,
                 int *fds)
{
        _cleanup_(closep) int ours_fd = -1;
        size_t n = 0;
        int send_fd = -1;
        struct attached *a = attached_new(container);
        if (!a) {
                connection_fail_stage(c, STAGE_MEMORY, ENOMEM);
                return;
        }
        terminal_take(container); /* it may be waiting behind us */
        struct error *e = channel_open(&container->pod->loop, &a->channel, TAKE_FD(fds[n]));
        a->out.fd = streams->out ? TAKE_FD(fds[++n]) : -1;
        a->err.fd = streams->err ? TAKE_FD(fds[++n]) : -1;
        (void) fcntl(a->out.fd, F_SETFL, O_NONBLOCK);
        (void) fcntl(a->err.fd, F_SETFL, O_NONBLOCK);
        if (!e && streams->in)
                e = stdin_open(a, &send_fd, &ours_fd);
        if (e) {
                attached_free(a);
                connection_fail_stage(c, STAGE_PIPE, error_errnum_of(e));
                error_ignore(e); /* it was told */
                return;
        }
        terminal_resize(container, streams->rows, streams->columns);
        ok_send(c, send_fd);
}

bool attach_open_request(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        struct session_streams streams;
        struct workload *container = workload_find(c->pod, wire_get_text(r));
        streams_get(r, &streams);
        if (r->bad || n_fds != 1U + streams.out + streams.err)
                return false;
        c->kind = CONNECTION_SESSION;
        if (!container)
                connection_fail_stage(c, STAGE_NO_CONTAINER, 0);
        else if (count(container) == ATTACHED_MAX)
                connection_fail_stage(c, STAGE_TOO_MANY, 0);
        else
                join(c, container, &streams, fds);
        return true;
}
