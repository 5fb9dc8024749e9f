#include "cri/stream/connection.h"
#include "base/clock.h"
#include "cri/stream/handshake.h"
#include "cri/stream/request.h"
#include "cri/stream/server.h"
#include "cri/stream/tls.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define MS_NS INT64_C(1000000)
enum {
        HEAD_MS = 10 * 1000,
        IDLE_MS = 4 * 3600 * 1000,
        LINGER_MS = 2 * 1000,
        LINGER_BYTES = 16 << 20,
        KEEPALIVE_S = 30,
        PROBE_MS = 2 * 1000,
        RECEIVES_AT_ONCE = 16,
};

static void end_service(struct connection *c)
{
        if (c->purpose)
                c->purpose->ops->free(c->purpose);
        if (c->mux)
                c->mux->ops->free(c->mux);
        c->purpose = NULL;
        c->mux = NULL;
}

static void connection_free(struct connection *c)
{
        struct server *server = c->server;
        end_service(c);
        timer_stop(&server->loop, &c->timer);
        timer_stop(&server->loop, &c->probe);
        watch_stop(&server->loop, &c->watch);
        transport_done(&c->transport);
        buf_done(&c->head);
        server_forget(server, c);
        free(c);
}

void connection_touch(struct connection *c)
{
        c->active_ns = clock_monotonic_ns();
}

void connection_finish(struct connection *c)
{
        if (c->phase < CONNECTION_ENDING)
                c->phase = CONNECTION_ENDING;
}

void connection_leave(struct connection *c)
{
        if (c->transport.payload_bytes)
                connection_drop(c);
        else
                connection_finish(c);
}

void connection_drop(struct connection *c)
{
        c->phase = CONNECTION_GONE;
}

void connection_cut(struct connection *c)
{
        connection_drop(c);
        connection_settle(c);
}

/* The purpose ends with the last byte that is sent for it: what is spliced comes from its descriptors. */
static void linger(struct connection *c)
{
        end_service(c);
        buf_done(&c->head);
        transport_end(&c->transport);
        c->phase = CONNECTION_LINGERING;
        timer_arm(&c->server->loop, &c->timer, clock_monotonic_ns() + LINGER_MS * MS_NS);
}

/* Its input has no way to go, so nothing is read. The client's end may be behind bytes that we do not read, and never come: a
 * probe then brings a reset, for a socket that was closed takes nothing. */
static bool is_stuck(const struct connection *c)
{
        return c->phase == CONNECTION_SESSION && c->purpose && c->purpose->ops->is_stuck(c->purpose);
}

static void probe_fire(struct timer *timer)
{
        struct connection *c = CONTAINER_OF(timer, struct connection, probe);
        if (is_stuck(c) && transport_is_free(&c->transport)) /* what is on its way is a probe too */
                c->mux->ops->probe(c->mux);
        connection_settle(c);
}

static void probe_watch(struct connection *c)
{
        if (!is_stuck(c))
                timer_stop(&c->server->loop, &c->probe);
        else if (!c->probe.armed)
                timer_arm(&c->server->loop, &c->probe, clock_monotonic_ns() + PROBE_MS * MS_NS);
}

static uint32_t wanted_events(const struct connection *c)
{
        return transport_events(&c->transport) | (uint32_t) (is_stuck(c) ? EPOLLRDHUP : EPOLLIN);
}

void connection_settle(struct connection *c)
{
        struct loop *loop = &c->server->loop;
        bool was_free;
        transport_flush(&c->transport);
        do { /* what the purpose sends may go out at once: then it can go on */
                if (c->purpose)
                        c->purpose->ops->resume(c->purpose);
                was_free = transport_is_free(&c->transport);
                transport_flush(&c->transport);
        } while (c->purpose && !was_free && transport_is_free(&c->transport) && c->phase < CONNECTION_GONE);
        if (c->phase == CONNECTION_ENDING && transport_is_free(&c->transport))
                linger(c);
        probe_watch(c);
        if (c->transport.is_broken || c->phase == CONNECTION_GONE ||
            !watch_set(loop, &c->watch, wanted_events(c)))
                connection_free(c);
}

static void head_feed(struct connection *c, const void *bytes, size_t len_bytes)
{
        struct error *e = buf_append(&c->head, bytes, len_bytes);
        if (e)
                connection_drop(c);
        error_free(e);
        if (!e)
                handshake(c);
}

static void session_feed(struct connection *c, uint8_t *bytes, size_t len_bytes)
{
        struct error *e = c->mux->ops->feed(c->mux, bytes, len_bytes);
        if (!e)
                return;
        error_free(e); /* the client's fault, which it is told */
        c->mux->ops->finish(c->mux, false);
        connection_leave(c);
}

static void feed(struct connection *c, uint8_t *bytes, size_t len_bytes)
{
        switch (c->phase) {
        case CONNECTION_HEAD:
                head_feed(c, bytes, len_bytes);
                break;
        case CONNECTION_SESSION:
                session_feed(c, bytes, len_bytes);
                break;
        case CONNECTION_ENDING:
        case CONNECTION_LINGERING:
                c->drained_bytes += len_bytes;
                if (c->drained_bytes > LINGER_BYTES)
                        connection_drop(c);
                break;
        case CONNECTION_GONE:
                break;
        }
}

/* What goes to a pipe as it is goes there without being read, if the kernel can do it. */
static size_t pass_straight(struct connection *c, size_t *feed_bytes)
{
        int pipe_fd = -1;
        *feed_bytes = SIZE_MAX;
        if (c->phase != CONNECTION_SESSION || !c->mux->ops->straight || !transport_splices(&c->transport))
                return 0;
        size_t most_bytes = c->mux->ops->straight(c->mux, &pipe_fd, feed_bytes);
        size_t n = most_bytes ? transport_receive_into(&c->transport, pipe_fd, most_bytes) : 0;
        if (n)
                c->mux->ops->went_straight(c->mux, n);
        return n;
}

/* Reads some. False when there is no more now. */
static bool receive(struct connection *c)
{
        struct scratch *scratch = c->server->scratch;
        size_t feed_bytes;
        bool ended = false;
        if (pass_straight(c, &feed_bytes))
                return true;
        size_t most_bytes = feed_bytes < sizeof(scratch->in) ? feed_bytes : sizeof(scratch->in);
        size_t n = transport_receive(&c->transport, scratch->in, most_bytes, &ended);
        if (n)
                feed(c, scratch->in, n);
        if (ended)
                connection_drop(c);
        return n == feed_bytes && !ended;
}

static void socket_ready(struct source *source, uint32_t events)
{
        struct connection *c = CONTAINER_OF(source, struct connection, watch.source);
        connection_touch(c);
        if (events & EPOLLOUT)
                c->transport.is_blocked = false;
        if (events & EPOLLIN || c->transport.tls)
                for (unsigned i = 0; i < RECEIVES_AT_ONCE && receive(c); i++)
                        ;
        if (events & (EPOLLERR | EPOLLHUP) || (events & EPOLLRDHUP && !(events & EPOLLIN)))
                connection_drop(c);
        connection_settle(c);
}

static void timer_fire(struct timer *timer)
{
        struct connection *c = CONTAINER_OF(timer, struct connection, timer);
        int64_t idle_ns = c->active_ns + IDLE_MS * MS_NS;
        if ((c->phase == CONNECTION_SESSION || c->phase == CONNECTION_ENDING) &&
            clock_monotonic_ns() < idle_ns)
                timer_arm(&c->server->loop, timer, idle_ns);
        else
                connection_drop(c);
        connection_settle(c);
}

/* A client that was switched off sends no end: keepalive finds it, in two minutes. */
static void socket_set(int fd)
{
        static const struct {
                int level, name, value;
        } options[] = {
                { SOL_SOCKET, SO_KEEPALIVE, 1 },
                { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S },
                { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_S },
                { IPPROTO_TCP, TCP_KEEPCNT, 3 },
                { IPPROTO_TCP, TCP_NODELAY, 1 },
        };
        for (size_t i = 0; i < LENGTH(options); i++) /* without one it works all the same */
                (void) setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

void connection_new(struct server *server, int fd)
{
        struct connection *c = NEW(struct connection);
        struct tls *tls = server->tls ? tls_new(server->tls, fd) : NULL;
        *c = (struct connection){ .server = server,
                                  .active_ns = clock_monotonic_ns(),
                                  .timer = { .fire = timer_fire },
                                  .probe = { .fire = probe_fire } };
        transport_init(&c->transport, fd, tls);
        buf_init(&c->head, REQUEST_HEAD_MAX + sizeof(server->scratch->in));
        watch_init(&c->watch, fd, socket_ready);
        socket_set(fd);
        server_remember(server, c);
        timer_arm(&server->loop, &c->timer, c->active_ns + HEAD_MS * MS_NS);
        if (server->tls && !tls)
                connection_drop(c);
        connection_settle(c);
}
