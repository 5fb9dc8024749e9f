/* socket.h - unix sockets: SOCK_SEQPACKET messages with descriptors, peer credentials. Part of base_core.
 *
 * A message has at most 212,960 bytes and 253 descriptors (measured). Threads: any, at once, on different sockets.
 * Source: unix(7), cmsg(3). */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SOCKET_FDS_MAX 250

/* Binds and listens on name below dir_fd (by /proc/self/fd, since paths end at 107 bytes), mode 0600; what is there is
 * replaced. Flags: nonblocking, CLOEXEC. */
MUST_CHECK struct error *socket_listen(int dir_fd, const char *name, int type, int *out_fd);

/* Connects. *out_fd is -1, without an error, when nobody listens (ECONNREFUSED, ENOENT). Nonblocking, CLOEXEC. */
MUST_CHECK struct error *socket_connect(int dir_fd, const char *name, int type, const struct wait *wait,
                                        int *out_fd);

/* Sends one message whole. fds stay the caller's. An unprivileged process waits while more descriptors of its user, in all
 * its processes together, are on their way than RLIMIT_NOFILE says: unix(7), ETOOMANYREFS. */
MUST_CHECK struct error *socket_send(int fd, const void *bytes, size_t len_bytes, const int *fds,
                                     size_t n_fds, const struct wait *wait);

/* Receives one message; *len_bytes is 0 at the end of the connection. *n_fds holds the room in fds and then how many came
 * (CLOEXEC, the caller's). More than there is room for is an error, and they are closed. */
MUST_CHECK struct error *socket_receive(int fd, void *bytes, size_t size_bytes, size_t *len_bytes, int *fds,
                                        size_t *n_fds, const struct wait *wait);

struct socket_peer {
        pid_t pid;
        uid_t uid;
};
/* Who connected (SO_PEERCRED, unix(7)): as of its connect, or of its listen. */
MUST_CHECK struct error *socket_peer(int fd, struct socket_peer *out);
/* A pidfd of the process that listened, which must be connected to still; the caller's. */
MUST_CHECK struct error *socket_peer_pidfd(int fd, int *out_fd);
