/* port-forward: local ports that lead into a pod. */
#include "cri/client/command.h"
#include "cri/client/forward.h"
#include "cri/client/signals.h"
#include <arpa/inet.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define LISTENERS_MAX 64
#define BACKLOG 128

struct listener {
        int fd;
        uint16_t local, remote;
};

struct listeners {
        struct listener all[LISTENERS_MAX];
        size_t n;
};

static void listeners_done(struct listeners *listeners)
{
        for (size_t i = 0; i < listeners->n; i++)
                closep(&listeners->all[i].fd);
}

/* --- listening --- */

static struct error *bind_one(const struct addrinfo *address, uint16_t port, int *out_fd)
{
        const int on = 1;
        struct sockaddr_storage to = { 0 };
        memcpy(&to, address->ai_addr, address->ai_addrlen);
        if (address->ai_family == AF_INET6)
                ((struct sockaddr_in6 *) &to)->sin6_port = htons(port);
        else
                ((struct sockaddr_in *) &to)->sin_port = htons(port);
        _cleanup_(closep) int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(errno, "socket");
        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (address->ai_family == AF_INET6)
                (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        if (bind(fd, (const struct sockaddr *) &to, address->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
                return errno == EADDRINUSE ? error_new(ERROR_ALREADY_EXISTS, "the port is taken")
                                           : error_errno(errno, "listen");
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static uint16_t port_of(int fd)
{
        union {
                struct sockaddr any;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
        } is = { .v6 = { 0 } };
        socklen_t size_bytes = sizeof(is);
        if (getsockname(fd, &is.any, &size_bytes) < 0)
                return 0;
        return ntohs(is.any.sa_family == AF_INET6 ? is.v6.sin6_port : is.v4.sin_port);
}

/* Listens at one literal address. *port: 0 becomes the one that was free. */
static struct error *listen_at(struct listeners *listeners, const char *host, uint16_t remote, uint16_t *port)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *address = NULL;
        struct listener *listener = &listeners->all[listeners->n];
        if (listeners->n == LISTENERS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %d ports", LISTENERS_MAX);
        if (getaddrinfo(host, NULL, &hints, &address) != 0)
                return USAGE_ERROR("--address \"%s\" is no address", host);
        listener->fd = -1;
        struct error *e = bind_one(address, *port, &listener->fd);
        freeaddrinfo(address);
        if (e)
                return error_wrap(e, "%s:%u", host, (unsigned) *port);
        listener->local = *port = port_of(listener->fd);
        listener->remote = remote;
        listeners->n++;
        bool is_v6 = strchr(host, ':') != NULL;
        (void) printf("Forwarding from %s%s%s:%u -> %u\n", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
                      (unsigned) *port, (unsigned) remote);
        return NULL;
}

/* "localhost" is ::1 as well, where a host has that. */
static struct error *listen_for(struct listeners *listeners, const char *addresses,
                                const struct forward_ports *ports)
{
        _cleanup_(freep) char *copy = dup_string(addresses);
        uint16_t port = ports->local;
        char *rest = NULL;
        for (char *host = strtok_r(copy, ",", &rest); host; host = strtok_r(NULL, ",", &rest)) {
                bool is_localhost = strcmp(host, "localhost") == 0;
                TRY(listen_at(listeners, is_localhost ? "127.0.0.1" : host, ports->remote, &port));
                if (is_localhost)
                        error_ignore(listen_at(listeners, "::1", ports->remote, &port));
        }
        return NULL;
}

/* --- carrying --- */

static struct error *accept_all(struct forward *forward, const struct listener *listener)
{
        const int on = 1;
        while (forward_has_room(forward)) {
                int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd < 0)
                        return NULL; /* none, or one that has gone again */
                (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
                (void) printf("Handling connection for %u\n", (unsigned) listener->local);
                TRY(forward_add(forward, fd, listener->remote));
        }
        return NULL;
}

static struct error *carry(struct forward *forward, const struct listeners *listeners)
{
        struct pollfd more[LISTENERS_MAX + 1];
        while (!signals_ending) {
                if (fflush(stdout) != 0)
                        return error_errno(errno, "write to stdout");
                bool has_room = forward_has_room(forward);
                for (size_t i = 0; i < listeners->n; i++)
                        more[i] = (struct pollfd){ .fd = has_room ? listeners->all[i].fd : -1,
                                                   .events = POLLIN };
                more[listeners->n] = (struct pollfd){ .fd = signals_fd(), .events = POLLIN };
                TRY(forward_step(forward, more, listeners->n + 1));
                for (size_t i = 0; i < listeners->n; i++)
                        if (more[i].revents)
                                TRY(accept_all(forward, &listeners->all[i]));
        }
        return NULL;
}

/* --- the command --- */

struct forward_spec {
        const char *addresses, *pod;
        struct forward_ports ports[LISTENERS_MAX];
        size_t n_ports;
};

static struct error *parse(int argc, char **argv, struct forward_spec *spec)
{
        static const struct option flags[] = { { "address", required_argument, NULL, 'a' }, { 0 } };
        spec->addresses = "localhost";
        for (int flag; (flag = getopt_long(argc, argv, "+", flags, NULL)) != -1;) {
                if (flag != 'a')
                        return USAGE_ERROR("unknown flag %s, or one without its value", argv[optind - 1]);
                spec->addresses = optarg;
        }
        if (optind + 2 > argc || argc - optind - 1 > LISTENERS_MAX)
                return USAGE_ERROR("a pod and one to %d ports are needed", LISTENERS_MAX);
        spec->pod = argv[optind++];
        while (optind < argc)
                TRY_WRAP(forward_parse(argv[optind++], &spec->ports[spec->n_ports++]), "usage");
        return NULL;
}

struct error *forward_command(struct context *context, int argc, char **argv)
{
        struct forward_spec spec = { 0 };
        _cleanup_(listeners_done) struct listeners listeners = { .n = 0 };
        _cleanup_(object_done) struct object object = { 0 };
        _cleanup_(forward_freep) struct forward *forward = NULL;
        _cleanup_(client_answer_freep) Cri__PortForwardResponse *answer = NULL;
        Cri__PortForwardRequest request = CRI__PORT_FORWARD_REQUEST__INIT;
        TRY(parse(argc, argv, &spec));
        TRY(object_find(context, OBJECT_POD, spec.pod, &object));
        request.pod_sandbox_id = object.id;
        TRY(runtime_call(context, "PortForward", &request, CALL_TIMEOUT_MS, &answer));
        TRY(forward_open(answer->url, &forward));
        TRY(signals_catch());
        for (size_t i = 0; i < spec.n_ports; i++)
                TRY(listen_for(&listeners, spec.addresses, &spec.ports[i]));
        return carry(forward, &listeners);
}
