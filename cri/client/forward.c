#include "cri/client/forward.h"
#include "base/buf.h"
#include "cri/client/connection.h"
#include <ctype.h>
#include <string.h>
#include <sys/socket.h>

#define READ_BYTES 16384
/* What waits for a local program that does not read. What was received in one go is added at most. */
#define WAITING_BYTES ((size_t) 256 << 10)
#define WAITING_LIMIT_BYTES ((size_t) 512 << 10)
#define WORDS_LIMIT_BYTES 4096

/* One local connection. */
struct pair {
        int fd; /* -1: it is over, and only the server's words are awaited */
        uint16_t port;
        uint32_t data, error; /* its streams */
        bool is_open;         /* the server has taken the data stream */
        bool local_ended, remote_ended, shut,
                told_all; /* shut: the local program was told of the remote end */
        bool is_over;     /* to be dropped */
        struct buf waiting, words;
};

struct forward {
        struct connection *connection;
        struct pair **pairs;
        size_t n_pairs, next_request;
        struct pollfd *polled;
};

struct error *forward_open(const char *url, struct forward **out)
{
        static const char *const protocols[] = { "portforward.k8s.io", NULL };
        _cleanup_(forward_freep) struct forward *forward = NEW(struct forward);
        forward->pairs = NEW_ARRAY(struct pair *, FORWARD_PAIRS_MAX);
        TRY(connection_open(url, protocols, &forward->connection));
        *out = TAKE(forward);
        return NULL;
}

static void pair_free(struct pair *pair)
{
        closep(&pair->fd);
        buf_done(&pair->waiting);
        buf_done(&pair->words);
        free(pair);
}

void forward_free(struct forward *forward)
{
        if (!forward)
                return;
        for (size_t i = 0; i < forward->n_pairs; i++)
                pair_free(forward->pairs[i]);
        connection_free(forward->connection);
        free((void *) forward->pairs);
        free(forward->polled);
        free(forward);
}

bool forward_has_room(const struct forward *forward)
{
        return forward->n_pairs < FORWARD_PAIRS_MAX && connection_room(forward->connection) > 0;
}

static struct error *add_stream(struct forward *forward, const char *type, const struct pair *pair,
                                size_t request, uint32_t *out)
{
        char port[sizeof("65535")], id[sizeof("18446744073709551615")];
        (void) snprintf(port, sizeof(port), "%u", (unsigned) pair->port);
        (void) snprintf(id, sizeof(id), "%zu", request);
        const struct spdy_pair pairs[] = { { "streamtype", type }, { "port", port }, { "requestid", id } };
        return connection_add(forward->connection, pairs, LENGTH(pairs), out);
}

struct error *forward_add(struct forward *forward, int fd, uint16_t port)
{
        struct pair *pair = NEW(struct pair);
        size_t request = forward->next_request++;
        pair->fd = fd;
        pair->port = port;
        buf_init(&pair->waiting, WAITING_LIMIT_BYTES);
        buf_init(&pair->words, WORDS_LIMIT_BYTES);
        forward->pairs[forward->n_pairs++] = pair;
        TRY(add_stream(forward, "error", pair, request, &pair->error));
        return add_stream(forward, "data", pair, request, &pair->data);
}

/* --- what the server says --- */

static struct pair *pair_of(struct forward *forward, uint32_t stream)
{
        for (size_t i = 0; i < forward->n_pairs; i++)
                if (forward->pairs[i]->data == stream || forward->pairs[i]->error == stream)
                        return forward->pairs[i];
        return NULL;
}

/* The local program sees a reset, not an end that looks as if all had come. */
static void abort_local(struct pair *pair)
{
        const struct linger at_once = { .l_onoff = 1 };
        if (pair->fd >= 0)
                (void) setsockopt(pair->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        closep(&pair->fd);
}

static struct error *take_error_event(struct forward *forward, struct pair *pair,
                                      const struct spdy_event *event)
{
        if (event->kind == SPDY_REPLY) /* we never write there */
                return connection_write(forward->connection, pair->error, NULL, 0, true);
        if (event->kind == SPDY_DATA)
                error_ignore(buf_append(&pair->words, event->bytes,
                                        event->len_bytes)); /* the rest of many words */
        if (event->kind != SPDY_END && event->kind != SPDY_RESET)
                return NULL;
        pair->told_all = true;
        if (pair->words.len_bytes == 0)
                return NULL;
        (void) fprintf(stderr, "skiff port-forward: port %u: %s\n", (unsigned) pair->port, pair->words.bytes);
        abort_local(pair);
        return NULL;
}

static struct error *take_event(struct forward *forward, const struct spdy_event *event)
{
        struct pair *pair = event->stream ? pair_of(forward, event->stream) : NULL;
        if (!pair)
                return NULL; /* of one that is over */
        if (event->stream == pair->error)
                return take_error_event(forward, pair, event);
        pair->is_open |= event->kind == SPDY_REPLY;
        if (event->kind == SPDY_DATA && pair->fd >= 0)
                return buf_append(&pair->waiting, event->bytes, event->len_bytes);
        if (event->kind == SPDY_END)
                pair->remote_ended = true;
        if (event->kind == SPDY_RESET && !pair->remote_ended)
                abort_local(pair);
        return NULL;
}

static bool takes_more(const struct forward *forward)
{
        for (size_t i = 0; i < forward->n_pairs; i++)
                if (forward->pairs[i]->waiting.len_bytes >= WAITING_BYTES)
                        return false;
        return true;
}

static struct error *take_events(struct forward *forward)
{
        while (takes_more(forward)) {
                struct spdy_event event;
                TRY_WRAP(connection_next(forward->connection, &event), "streams");
                if (event.kind == SPDY_NONE)
                        break;
                TRY(take_event(forward, &event));
        }
        if (connection_ended(forward->connection))
                return error_new(ERROR_UNAVAILABLE, "the connection to the pod is lost");
        return NULL;
}

/* --- local sockets --- */

/* It went away: the pod's end is told so. */
static struct error *drop(struct forward *forward, struct pair *pair)
{
        closep(&pair->fd);
        pair->is_over = true;
        TRY(connection_reset(forward->connection, pair->data));
        return connection_reset(forward->connection, pair->error);
}

static struct error *read_local(struct forward *forward, struct pair *pair)
{
        char bytes[READ_BYTES];
        ssize_t n_bytes = recv(pair->fd, bytes, sizeof(bytes), 0);
        if (n_bytes < 0)
                return errno == EAGAIN || errno == EINTR ? NULL : drop(forward, pair);
        pair->local_ended = n_bytes == 0;
        return connection_write(forward->connection, pair->data, bytes, (size_t) n_bytes, n_bytes == 0);
}

static struct error *write_local(struct forward *forward, struct pair *pair)
{
        ssize_t n_bytes = send(pair->fd, pair->waiting.bytes, pair->waiting.len_bytes, MSG_NOSIGNAL);
        if (n_bytes < 0)
                return errno == EAGAIN || errno == EINTR ? NULL : drop(forward, pair);
        buf_consume(&pair->waiting, (size_t) n_bytes);
        return NULL;
}

static struct error *act(struct forward *forward, struct pair *pair, short revents)
{
        if (pair->fd >= 0 && pair->waiting.len_bytes && (revents & (POLLOUT | POLLERR | POLLHUP)))
                TRY(write_local(forward, pair));
        if (pair->fd >= 0 && pair->is_open && !pair->local_ended &&
            (revents & (POLLIN | POLLERR | POLLHUP)) && connection_room(forward->connection) >= READ_BYTES)
                TRY(read_local(forward, pair));
        if (pair->fd >= 0 && pair->remote_ended && pair->waiting.len_bytes == 0 && !pair->shut) {
                (void) shutdown(pair->fd, SHUT_WR); /* fails only where nobody is left to be told */
                pair->shut = true;
        }
        if (pair->fd >= 0 && !(pair->local_ended && pair->shut))
                return NULL;
        if (!pair->is_over && pair->fd >= 0) {
                TRY(connection_reset(forward->connection, pair->data)); /* both ends are through */
                closep(&pair->fd);
        }
        pair->is_over |= pair->told_all;
        return NULL;
}

static void drop_over(struct forward *forward)
{
        size_t kept = 0;
        for (size_t i = 0; i < forward->n_pairs; i++) {
                if (forward->pairs[i]->is_over)
                        pair_free(forward->pairs[i]);
                else
                        forward->pairs[kept++] = forward->pairs[i];
        }
        forward->n_pairs = kept;
}

/* --- the loop --- */

static struct pollfd poll_of(int fd, short events)
{
        return (struct pollfd){ .fd = events ? fd : -1, .events = events }; /* no wake-ups by POLLHUP alone */
}

static void fill(struct forward *forward, const struct pollfd *more, size_t n_more)
{
        bool may_read = connection_room(forward->connection) >= READ_BYTES;
        struct pollfd *at = forward->polled;
        *at++ = poll_of(connection_fd(forward->connection),
                        connection_events(forward->connection, takes_more(forward)));
        for (size_t i = 0; i < n_more; i++)
                *at++ = more[i];
        for (size_t i = 0; i < forward->n_pairs; i++) {
                const struct pair *pair = forward->pairs[i];
                *at++ = poll_of(pair->fd,
                                (short) ((may_read && pair->is_open && !pair->local_ended ? POLLIN : 0) |
                                         (pair->waiting.len_bytes ? POLLOUT : 0)));
        }
}

struct error *forward_step(struct forward *forward, struct pollfd *more, size_t n_more)
{
        if (!forward->polled)
                forward->polled = NEW_ARRAY(struct pollfd, 1 + n_more + FORWARD_PAIRS_MAX);
        fill(forward, more, n_more);
        size_t n_pairs = forward->n_pairs;
        if (poll(forward->polled, 1 + n_more + n_pairs, -1) < 0) {
                if (errno != EINTR)
                        return error_errno(errno, "poll");
                for (size_t i = 0; i < 1 + n_more + n_pairs; i++)
                        forward->polled[i].revents = 0;
        }
        for (size_t i = 0; i < n_more; i++)
                more[i].revents = forward->polled[1 + i].revents;
        if (forward->polled[0].revents)
                connection_ready(forward->connection, forward->polled[0].revents);
        TRY(take_events(forward));
        for (size_t i = 0; i < n_pairs; i++)
                TRY(act(forward, forward->pairs[i], forward->polled[1 + n_more + i].revents));
        drop_over(forward);
        return NULL;
}

/* --- ports --- */

static bool parse_port(const char *text, size_t len_bytes, uint16_t *out)
{
        unsigned long port = 0;
        for (size_t i = 0; i < len_bytes; i++) {
                if (!isdigit((unsigned char) text[i]) || len_bytes > 5)
                        return false;
                port = port * 10 + (unsigned long) (text[i] - '0');
        }
        *out = (uint16_t) port;
        return len_bytes && port <= UINT16_MAX;
}

struct error *forward_parse(const char *text, struct forward_ports *out)
{
        const char *colon = strchr(text, ':'), *remote = colon ? colon + 1 : text;
        size_t local_bytes = colon ? (size_t) (colon - text) : 0;
        out->local = 0;
        if (!parse_port(remote, strlen(remote), &out->remote) || out->remote == 0 ||
            (local_bytes && !parse_port(text, local_bytes, &out->local)))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "\"%s\" is not [LOCAL:]REMOTE, ports from 1 to 65535", text);
        if (!colon)
                out->local = out->remote;
        return NULL;
}
