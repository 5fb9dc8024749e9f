#include "cri/client/connection.h"
#include "cri/client/upgrade.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define RECEIVE_BYTES 65536
#define QUEUE_BYTES ((size_t) 256 << 10)     /* what the caller may queue */
#define QUEUE_LIMIT_BYTES ((size_t) 4 << 20) /* with frames' heads, streams opened and pings */

struct connection {
        int fd;
        bool can_send, can_receive;
        uint32_t next_stream;
        struct buf queue; /* to be sent */
        struct spdy_reader reader;
        uint8_t received[RECEIVE_BYTES];
        size_t at_bytes, len_bytes; /* of received: taken, and there */
};

struct error *connection_open(const char *url, const char *const *protocols, struct connection **out)
{
        _cleanup_(connection_freep) struct connection *connection = NEW(struct connection);
        connection->fd = -1;
        connection->next_stream = 1;
        connection->can_send = connection->can_receive = true;
        buf_init(&connection->queue, QUEUE_LIMIT_BYTES);
        TRY(upgrade(url, protocols, &connection->fd));
        *out = TAKE(connection);
        return NULL;
}

void connection_free(struct connection *connection)
{
        if (!connection)
                return;
        closep(&connection->fd);
        buf_done(&connection->queue);
        free(connection);
}

struct error *connection_add(struct connection *connection, const struct spdy_pair *pairs, size_t n_pairs,
                             uint32_t *out_stream)
{
        TRY(spdy_put_open(&connection->queue, connection->next_stream == 1, connection->next_stream, pairs,
                          n_pairs));
        *out_stream = connection->next_stream;
        connection->next_stream += 2;
        return NULL;
}

struct error *connection_write(struct connection *connection, uint32_t stream, const void *bytes,
                               size_t len_bytes, bool is_last)
{
        return spdy_put_data(&connection->queue, stream, bytes, len_bytes, is_last);
}

struct error *connection_reset(struct connection *connection, uint32_t stream)
{
        return spdy_put_reset(&connection->queue, stream);
}

size_t connection_room(const struct connection *connection)
{
        size_t queued = connection->queue.len_bytes;
        return connection->can_send && queued < QUEUE_BYTES ? QUEUE_BYTES - queued : 0;
}

int connection_fd(const struct connection *connection)
{
        return connection->can_receive ? connection->fd : -1;
}

short connection_events(const struct connection *connection, bool takes_more)
{
        bool taken = connection->at_bytes == connection->len_bytes;
        return (short) ((takes_more && taken ? POLLIN : 0) | (connection->queue.len_bytes ? POLLOUT : 0));
}

/* After a failure what has come already is still read: the server's last words may be there. */
static void send_queue(struct connection *connection)
{
        while (connection->queue.len_bytes) {
                ssize_t n_bytes = send(connection->fd, connection->queue.bytes, connection->queue.len_bytes,
                                       MSG_NOSIGNAL);
                if (n_bytes < 0 && errno == EAGAIN)
                        return;
                if (n_bytes < 0) {
                        connection->can_send = false;
                        n_bytes = (ssize_t) connection->queue.len_bytes;
                }
                buf_consume(&connection->queue, (size_t) n_bytes);
        }
}

void connection_ready(struct connection *connection, short revents)
{
        if (connection->queue.len_bytes && (revents & (POLLOUT | POLLERR | POLLHUP)))
                send_queue(connection);
        if (!(revents & (POLLIN | POLLERR | POLLHUP)) || connection->at_bytes != connection->len_bytes)
                return;
        ssize_t n_bytes = recv(connection->fd, connection->received, RECEIVE_BYTES, 0);
        if (n_bytes < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        connection->at_bytes = 0;
        connection->len_bytes = n_bytes > 0 ? (size_t) n_bytes : 0;
        if (n_bytes <= 0)
                connection->can_receive = false;
}

static struct error *next(struct connection *connection, struct spdy_event *out)
{
        size_t used_bytes;
        TRY(spdy_read(&connection->reader, connection->received + connection->at_bytes,
                      connection->len_bytes - connection->at_bytes, &used_bytes, out));
        connection->at_bytes += used_bytes;
        return NULL;
}

struct error *connection_next(struct connection *connection, struct spdy_event *out)
{
        for (;;) {
                TRY(next(connection, out));
                if (out->kind != SPDY_PING)
                        return NULL;
                /* Even ids are the server's; odd ones would be the echo of ours, and we send none. */
                if (out->value % 2 == 0 && connection->queue.len_bytes < QUEUE_BYTES)
                        TRY(spdy_put_ping(&connection->queue, out->value));
        }
}

bool connection_ended(const struct connection *connection)
{
        return !connection->can_receive && connection->at_bytes == connection->len_bytes;
}
