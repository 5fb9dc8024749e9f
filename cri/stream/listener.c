#include "cri/stream/listener.h"
#include "base/clock.h"
#include <sys/epoll.h>
#include <sys/socket.h>

enum { ACCEPTS_AT_ONCE = 16, PAUSE_NS = 100 * 1000 * 1000 };

/* The kernel has no descriptor or no memory for one more. Those that have no session make room; without them it is tried again a
 * little later: the listener stays readable, and the loop would turn for nothing. */
static void make_room(struct server *server)
{
        if (server->waiting.first) {
                connection_cut(server->waiting.first);
                return;
        }
        loop_remove(&server->loop, &server->listener);
        timer_arm(&server->loop, &server->pause, clock_monotonic_ns() + PAUSE_NS);
}

static void listener_ready(struct source *source, uint32_t events)
{
        struct server *server = CONTAINER_OF(source, struct server, listener);
        (void) events;
        for (size_t i = 0; i < ACCEPTS_AT_ONCE; i++) {
                int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd >= 0)
                        connection_new(server, fd);
                else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                        make_room(server);
                if (fd < 0) /* else: EAGAIN, or a client that has gone again */
                        return;
        }
}

static void pause_fire(struct timer *timer)
{
        struct server *server = CONTAINER_OF(timer, struct server, pause);
        struct error *e = loop_add(&server->loop, &server->listener, EPOLLIN);
        if (e) /* no memory yet */
                timer_arm(&server->loop, timer, clock_monotonic_ns() + PAUSE_NS);
        error_free(e);
}

struct error *listener_start(struct server *server)
{
        server->listener = (struct source){ CONTROL_FD_LISTENER, listener_ready };
        server->pause.fire = pause_fire;
        return loop_add(&server->loop, &server->listener, EPOLLIN);
}

void listener_stop(struct server *server)
{
        timer_stop(&server->loop, &server->pause);
        loop_remove(&server->loop, &server->listener);
        closep(&server->listener.fd);
}
