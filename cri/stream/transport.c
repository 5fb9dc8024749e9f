#include "cri/stream/transport.h"
#include "cri/stream/tls.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

void transport_init(struct transport *t, int fd, struct tls *tls)
{
        *t = (struct transport){ .fd = fd, .tls = tls, .payload_fd = -1 };
        buf_init(&t->queue, TRANSPORT_QUEUE_MAX);
}

void transport_done(struct transport *t)
{
        tls_free(t->tls);
        t->tls = NULL;
        closep(&t->fd);
        buf_done(&t->queue);
}

/* True when the call is to be made again later. */
static bool is_later(void)
{
        return errno == EAGAIN || errno == EINTR;
}

size_t transport_receive(struct transport *t, void *bytes, size_t size_bytes, bool *ended)
{
        if (t->tls)
                return tls_receive(t->tls, bytes, size_bytes, ended);
        ssize_t n = recv(t->fd, bytes, size_bytes, MSG_DONTWAIT);
        *ended = n == 0 || (n < 0 && !is_later());
        return n > 0 ? (size_t) n : 0;
}

size_t transport_receive_into(struct transport *t, int pipe_fd, size_t len_bytes)
{
        ssize_t n = splice(t->fd, NULL, pipe_fd, NULL, len_bytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        return n > 0 ? (size_t) n : 0;
}

bool transport_is_free(const struct transport *t)
{
        return t->queue.len_bytes == 0 && t->payload_bytes == 0;
}

bool transport_splices(const struct transport *t)
{
        return !t->tls;
}

/* A peer that does not read what it makes us say is cut off at the queue's limit. */
void transport_queue(struct transport *t, const void *bytes, size_t len_bytes)
{
        struct error *e = t->is_broken ? NULL : buf_append(&t->queue, bytes, len_bytes);
        if (e)
                t->is_broken = true;
        error_free(e);
}

static ssize_t send_some(struct transport *t, const void *bytes, size_t len_bytes, int flags)
{
        return t->tls ? tls_send(t->tls, bytes, len_bytes)
                      : send(t->fd, bytes, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
}

/* Whether a failed call is to be made again, and when: is_blocked. */
static void take_failure(struct transport *t)
{
        if (errno == EAGAIN)
                t->is_blocked = true;
        else if (errno != EINTR)
                t->is_broken = true;
}

static void flush_queue(struct transport *t, size_t len_bytes)
{
        ssize_t n = send_some(t, t->queue.bytes, len_bytes, t->payload_bytes ? MSG_MORE : 0);
        if (n < 0) {
                take_failure(t);
                return;
        }
        buf_consume(&t->queue, (size_t) n);
        if (t->payload_bytes)
                t->before_payload -= (size_t) n;
        if (t->queue.len_bytes == 0)
                buf_done(&t->queue);
}

/* EAGAIN means a full socket, or an empty pipe: somebody else has read what was counted (a program can open its own output). */
static void splice_failed(struct transport *t)
{
        int there_bytes = 0;
        if (errno == EAGAIN && ioctl(t->payload_fd, FIONREAD, &there_bytes) == 0 && there_bytes == 0)
                t->is_dry = true;
        else
                take_failure(t);
}

static void flush_payload(struct transport *t)
{
        ssize_t n =
                splice(t->payload_fd, NULL, t->fd, NULL, t->payload_bytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0)
                t->payload_bytes -= (size_t) n;
        else if (n == 0) /* the pipe has ended: the frame can never be whole */
                t->is_broken = true;
        else
                splice_failed(t);
        if (t->payload_bytes == 0)
                t->payload_fd = -1;
}

void transport_flush(struct transport *t)
{
        while (!t->is_broken && !t->is_blocked && !t->is_dry) {
                size_t now_bytes = t->payload_bytes ? t->before_payload : t->queue.len_bytes;
                if (now_bytes)
                        flush_queue(t, now_bytes);
                else if (t->payload_bytes)
                        flush_payload(t);
                else
                        return;
        }
}

void transport_send(struct transport *t, const void *header, size_t header_bytes, const void *payload,
                    size_t payload_bytes)
{
        size_t sent_bytes = 0;
        if (!t->tls && !t->is_blocked) {
                struct iovec parts[] = { { (void *) header, header_bytes },
                                         { (void *) payload, payload_bytes } };
                struct msghdr message = { .msg_iov = parts, .msg_iovlen = LENGTH(parts) };
                ssize_t n = sendmsg(t->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0)
                        take_failure(t);
                else
                        sent_bytes = (size_t) n;
        }
        if (sent_bytes < header_bytes)
                transport_queue(t, (const char *) header + sent_bytes, header_bytes - sent_bytes);
        size_t of_payload = sent_bytes > header_bytes ? sent_bytes - header_bytes : 0;
        if (of_payload < payload_bytes)
                transport_queue(t, (const char *) payload + of_payload, payload_bytes - of_payload);
        if (t->tls)
                transport_flush(t);
}

void transport_splice(struct transport *t, const void *header, size_t header_bytes, int pipe_fd,
                      size_t payload_bytes)
{
        transport_queue(t, header, header_bytes);
        t->before_payload = header_bytes;
        t->payload_bytes = payload_bytes;
        t->payload_fd = pipe_fd;
        transport_flush(t);
}

uint32_t transport_events(const struct transport *t)
{
        if (t->tls && tls_wants_write(t->tls))
                return EPOLLOUT;
        return t->is_blocked ? EPOLLOUT : 0;
}

void transport_end(struct transport *t)
{
        if (t->tls)
                tls_end(t->tls);
        (void) shutdown(t->fd, SHUT_WR); /* a peer that has gone needs no end */
}
