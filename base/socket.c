#include "base/socket.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define BACKLOG 1024
#define CONNECT_RETRY_MS 1
#define IN_FLIGHT_RETRY_MS 1

static struct error *socket_make(int type, int *out_fd)
{
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(errno, "socket");
        *out_fd = fd;
        return NULL;
}

static struct error *address_of(int dir_fd, const char *name, struct sockaddr_un *out)
{
        *out = (struct sockaddr_un){ .sun_family = AF_UNIX };
        int n = snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
        if (n < 0 || (size_t) n >= sizeof(out->sun_path))
                return error_new(ERROR_INVALID_ARGUMENT, "socket name %s is too long", name);
        return NULL;
}

static struct error *bind_anew(int fd, int dir_fd, const char *name)
{
        struct sockaddr_un address;
        TRY(address_of(dir_fd, name, &address));
        if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
                return error_errno(errno, "remove %s", name);
        /* unix(7): the file gets the socket's own mode, so it is private from birth. */
        if (fchmod(fd, 0600) < 0)
                return error_errno(errno, "mode of %s", name);
        if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return error_errno(errno, "bind %s", name);
        return NULL;
}

struct error *socket_listen(int dir_fd, const char *name, int type, int *out_fd)
{
        _cleanup_(closep) int fd = -1;
        TRY(socket_make(type, &fd));
        TRY(bind_anew(fd, dir_fd, name));
        if (listen(fd, BACKLOG) < 0)
                return error_errno(errno, "listen on %s", name);
        *out_fd = TAKE_FD(fd);
        return NULL;
}

struct error *socket_connect(int dir_fd, const char *name, int type, const struct wait *wait, int *out_fd)
{
        _cleanup_(closep) int fd = -1;
        struct sockaddr_un address;
        *out_fd = -1;
        TRY(socket_make(type, &fd));
        TRY(address_of(dir_fd, name, &address));
        while (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0) {
                if (errno == ECONNREFUSED || errno == ENOENT)
                        return NULL;
                if (errno != EAGAIN && errno != EINTR)
                        return error_errno(errno, "connect to %s", name);
                /* A full backlog: the kernel offers nothing to poll for that on a unix socket. */
                TRY(wait_delay(wait, CONNECT_RETRY_MS, name));
        }
        *out_fd = TAKE_FD(fd);
        return NULL;
}

/* Room for the descriptors of one message, aligned as cmsg(3) wants. */
union control {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * SOCKET_FDS_MAX)];
};

static void control_fill(struct msghdr *message, union control *control, const int *fds, size_t n_fds)
{
        message->msg_control = control->bytes;
        message->msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        memset(control->bytes, 0, message->msg_controllen);
        struct cmsghdr *header = CMSG_FIRSTHDR(message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
}

struct error *socket_send(int fd, const void *bytes, size_t len_bytes, const int *fds, size_t n_fds,
                          const struct wait *wait)
{
        union control control;
        struct iovec part = { .iov_base = (void *) bytes, .iov_len = len_bytes };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        if (len_bytes == 0 || n_fds > SOCKET_FDS_MAX)
                return error_new(ERROR_INTERNAL, "a message of %zu bytes and %zu descriptors", len_bytes,
                                 n_fds);
        if (n_fds)
                control_fill(&message, &control, fds, n_fds);
        for (;;) {
                ssize_t sent_bytes = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent_bytes == (ssize_t) len_bytes)
                        return NULL;
                if (sent_bytes >= 0) { /* a stream took a part, and the descriptors with it */
                        len_bytes -= (size_t) sent_bytes;
                        part.iov_base = (char *) part.iov_base + sent_bytes;
                        part.iov_len = len_bytes;
                        message.msg_control = NULL;
                        message.msg_controllen = 0;
                } else if (errno == EAGAIN) {
                        TRY(wait_fd(wait, fd, POLLOUT, "send"));
                } else if (errno == ETOOMANYREFS) {
                        TRY(wait_delay(wait, IN_FLIGHT_RETRY_MS, "send descriptors"));
                } else if (errno != EINTR) {
                        return error_errno(errno, "send");
                }
        }
}

/* Moves the descriptors of one control message to fds, or closes what there is no room for. */
static void take_fds(const struct cmsghdr *header, int *fds, size_t room, size_t *n)
{
        size_t came = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < came; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
                if (*n < room)
                        fds[*n] = fd;
                else
                        (void) close(fd);
                (*n)++;
        }
}

static struct error *fds_receive(struct msghdr *message, int *fds, size_t room, size_t *n_fds)
{
        size_t n = 0;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header))
                if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
                        take_fds(header, fds, room, &n);
        if (n <= room && !(message->msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
                *n_fds = n;
                return NULL;
        }
        for (size_t i = 0; i < n && i < room; i++)
                (void) close(fds[i]);
        *n_fds = 0;
        return error_new(ERROR_INTERNAL, "a message larger than agreed, with %zu descriptors", n);
}

struct error *socket_receive(int fd, void *bytes, size_t size_bytes, size_t *len_bytes, int *fds,
                             size_t *n_fds, const struct wait *wait)
{
        union control control;
        struct iovec part = { .iov_base = bytes, .iov_len = size_bytes };
        size_t room = n_fds ? *n_fds : 0, none = 0;
        if (n_fds)
                *n_fds = 0;
        for (;;) {
                struct msghdr message = { .msg_iov = &part,
                                          .msg_iovlen = 1,
                                          .msg_control = control.bytes,
                                          .msg_controllen = sizeof(control.bytes) };
                ssize_t got_bytes = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
                if (got_bytes >= 0) {
                        *len_bytes = (size_t) got_bytes;
                        return fds_receive(&message, fds, room, n_fds ? n_fds : &none);
                }
                if (errno == ECONNRESET) { /* closed by a peer that had not read all: an end like any other */
                        *len_bytes = 0;
                        return NULL;
                }
                if (errno == EAGAIN)
                        TRY(wait_fd(wait, fd, POLLIN, "receive"));
                else if (errno != EINTR)
                        return error_errno(errno, "receive");
        }
}

struct error *socket_peer(int fd, struct socket_peer *out)
{
        struct ucred credentials;
        socklen_t len_bytes = sizeof(credentials);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len_bytes) < 0)
                return error_errno(errno, "peer credentials");
        *out = (struct socket_peer){ .pid = credentials.pid, .uid = credentials.uid };
        return NULL;
}

struct error *socket_peer_pidfd(int fd, int *out_fd)
{
        struct socket_peer peer;
        int pid_fd = -1;
        socklen_t size_bytes = sizeof(pid_fd);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pid_fd, &size_bytes) == 0) {
                *out_fd = pid_fd;
                return NULL;
        }
        /* Before 6.5 by its number. It is the peer's and no other's if the connection has not ended afterwards. */
        TRY(socket_peer(fd, &peer));
        _cleanup_(closep) int opened_fd = (int) syscall(SYS_pidfd_open, peer.pid, 0);
        if (opened_fd < 0)
                return error_errno(errno, "open process %d", peer.pid);
        struct pollfd ended = { .fd = fd, .events = POLLRDHUP };
        if (poll(&ended, 1, 0) > 0 && ended.revents & (POLLRDHUP | POLLHUP))
                return error_new(ERROR_FAILED_PRECONDITION, "the peer has ended");
        *out_fd = TAKE_FD(opened_fd);
        return NULL;
}
