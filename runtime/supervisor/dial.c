/* Port-forward: a connection in the pod's network namespace, which is ours, for each that is asked for. What it carries goes
 * past us, and nothing of it is kept. */
#include "runtime/supervisor/channel.h"
#include "runtime/supervisor/request.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct forward {
        struct source channel;
        struct pod *pod;
};

/* To the loopback address of a family: connected or connecting, nonblocking. -1 and errno. */
static int dial(uint16_t port, bool is_ipv6)
{
        const struct sockaddr_in v4 = { .sin_family = AF_INET,
                                        .sin_port = htons(port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
                                         .sin6_port = htons(port),
                                         .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        const struct sockaddr *address =
                is_ipv6 ? (const struct sockaddr *) &v6 : (const struct sockaddr *) &v4;
        int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, address, is_ipv6 ? sizeof(v6) : sizeof(v4)) < 0 && errno != EINPROGRESS)
                closep(&fd);
        return fd;
}

static void forward_free(struct forward *forward)
{
        channel_close(&forward->pod->loop, &forward->channel);
        free(forward);
}

/* One that does not take its answers loses its channel. */
static void dial_answer(struct forward *forward, const struct session_message *asked)
{
        struct session_message answer = { .kind = SESSION_DIALED, .id = asked->id, .value = EINVAL };
        _cleanup_(closep) int fd = -1;
        if (asked->first != 0 && (asked->second == 4 || asked->second == 6)) {
                fd = dial(asked->first, asked->second == 6);
                answer.value = fd < 0 ? errno : 0;
        }
        struct error *e = session_send(forward->channel.fd, &answer, fd);
        if (e)
                forward_free(forward);
        error_ignore(e); /* the peer sees its end */
}

static void channel_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct forward *forward = CONTAINER_OF(source, struct forward, channel);
        struct session_message message;
        enum channel_state state = channel_read(source, &message);
        if (state == CHANNEL_ENDED)
                forward_free(forward);
        else if (state == CHANNEL_MESSAGE && message.kind == SESSION_DIAL)
                dial_answer(forward, &message);
}

bool forward_open_request(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) r;
        if (n_fds != 1)
                return false;
        c->kind = CONNECTION_SESSION;
        struct forward *forward = calloc(1, sizeof(*forward));
        if (!forward) {
                connection_fail_stage(c, STAGE_MEMORY, ENOMEM);
                return true;
        }
        *forward = (struct forward){ .channel = { .fd = -1, .ready = channel_ready }, .pod = c->pod };
        struct error *e = channel_open(&c->pod->loop, &forward->channel, TAKE_FD(fds[0]));
        if (e)
                forward_free(forward);
        if (e)
                connection_fail_stage(c, STAGE_MEMORY, error_errnum_of(e));
        else
                connection_answer(c, MESSAGE_OK);
        error_ignore(e); /* it was told */
        return true;
}
