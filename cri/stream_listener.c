#include "cri/stream_listener.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

struct error *stream_listen(const char *address, uint16_t port, int *out_fd)
{
        const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_PASSIVE | AI_NUMERICSERV,
                                        .ai_socktype = SOCK_STREAM };
        struct addrinfo *found = NULL;
        char service[8];
        const int on = 1;
        (void) snprintf(service, sizeof(service), "%u", port);
        int failed = getaddrinfo(address, service, &hints, &found);
        if (failed)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is no numeric address: %s", address,
                                 gai_strerror(failed));
        _cleanup_(closep) int fd =
                socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
        bool listens = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                       bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0;
        int saved = errno;
        freeaddrinfo(found);
        if (!listens)
                return error_as(error_errno(saved, "listen at %s port %u", address, port), ERROR_UNAVAILABLE);
        *out_fd = TAKE_FD(fd);
        return NULL;
}

union address {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
};

struct error *stream_url(int listener_fd, bool tls, char **out)
{
        union address address = { .v6 = { 0 } };
        socklen_t len_bytes = sizeof(address);
        char text[INET6_ADDRSTRLEN] = "";
        if (getsockname(listener_fd, &address.any, &len_bytes) < 0)
                return error_errno(errno, "address of a socket");
        bool v6 = address.any.sa_family == AF_INET6;
        if (v6 && IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr))
                address.v6.sin6_addr = in6addr_loopback;
        if (!v6 && address.v4.sin_addr.s_addr == htonl(INADDR_ANY))
                address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const void *bytes = v6 ? (const void *) &address.v6.sin6_addr : (const void *) &address.v4.sin_addr;
        if (!inet_ntop(address.any.sa_family, bytes, text, sizeof(text)))
                return error_errno(errno, "address of a socket");
        *out = format_string(v6 ? "%s://[%s]:%u" : "%s://%s:%u", tls ? "https" : "http", text,
                             ntohs(v6 ? address.v6.sin6_port : address.v4.sin_port));
        return NULL;
}
