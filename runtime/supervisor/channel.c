#include "runtime/supervisor/channel.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

struct error *channel_open(struct loop *loop, struct source *source, int fd)
{
        const int none = 0;
        source->fd = fd;
        (void) setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof(none));
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                return error_errno(errno, "channel");
        return loop_add(loop, source, EPOLLIN);
}

void channel_close(struct loop *loop, struct source *source)
{
        struct session_message unread;
        if (source->fd < 0)
                return;
        loop_remove(loop, source);
        (void) shutdown(source->fd, SHUT_RDWR);
        /* No more can come. With some left the peer would have ECONNRESET before what we sent it last. */
        while (recv(source->fd, &unread, sizeof(unread), MSG_DONTWAIT) > 0)
                continue;
        closep(&source->fd);
}

enum channel_state channel_read(const struct source *source, struct session_message *out)
{
        ssize_t n_bytes = recv(source->fd, out, sizeof(*out), MSG_DONTWAIT | MSG_TRUNC);
        if (n_bytes < 0 && (errno == EAGAIN || errno == EINTR))
                return CHANNEL_NOTHING;
        return n_bytes == (ssize_t) sizeof(*out) ? CHANNEL_MESSAGE : CHANNEL_ENDED;
}
