#include "runtime/supervisor/stdio.h"
#include "base/clock.h"
#include "runtime/supervisor/attach.h"
#include "runtime/supervisor/sys.h"
#include <sys/epoll.h>

#define CHUNK_BYTES 16384
#define DRAIN_CHUNKS_MAX 256 /* a pipe holds at most 1 MiB; more is a writer that outlived the container */
#define LINE_MAX_LEAST 256

static void flush_fire(struct timer *timer)
{
        struct workload *c = CONTAINER_OF(timer, struct workload, flush);
        int64_t now_ns = clock_wall_ns();
        log_flush(&c->log, &c->out.log, now_ns);
        log_flush(&c->log, &c->err.log, now_ns);
}

/* 1: there may be more. 0: nothing for now. -1: the end, and the stream is closed. */
static int stream_read(struct stream *stream)
{
        static char chunk[CHUNK_BYTES];
        struct workload *c = stream->container;
        if (stream->source.fd < 0)
                return -1;
        ssize_t n_bytes = read(stream->source.fd, chunk, sizeof(chunk));
        if (n_bytes < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n_bytes > 0) {
                log_take(&c->log, &stream->log, chunk, (size_t) n_bytes, clock_wall_ns());
                attach_output(c, stream == &c->err, chunk, (size_t) n_bytes);
                if (stream->log.held_bytes && !c->flush.armed)
                        timer_arm(&c->pod->loop, &c->flush, clock_monotonic_ns() + PARTIAL_FLUSH_NS);
                return 1;
        }
        log_flush(&c->log, &stream->log, clock_wall_ns());
        loop_remove(&c->pod->loop, &stream->source);
        closep(&stream->source.fd);
        return -1;
}

static void stream_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct stream *stream = CONTAINER_OF(source, struct stream, source);
        if (stream_read(stream) < 0)
                workload_stream_ended(stream->container);
}

void stdio_init(struct workload *c, uint64_t line_max_bytes)
{
        struct stream *streams[] = { &c->out, &c->err };
        for (int i = 0; i < 2; i++) {
                streams[i]->source = (struct source){ .fd = -1, .ready = stream_ready };
                streams[i]->container = c;
                streams[i]->log.name = i ? "stderr" : "stdout";
                streams[i]->log.line_max_bytes =
                        line_max_bytes < LINE_MAX_LEAST ? LINE_MAX_LEAST : (size_t) line_max_bytes;
        }
        c->flush.fire = flush_fire;
}

static int pipe_make(int *ours, int *theirs, int our_end)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -1;
        *ours = fds[our_end];
        *theirs = fds[1 - our_end];
        return fcntl(*ours, F_SETFL, O_NONBLOCK);
}

int stdio_pipes(struct workload *c, bool stdin_open, int *in_fd, int *out_fd, int *err_fd)
{
        /* Without a writer yet, what reads stdin waits; with the null device it sees the end. */
        if (stdin_open && pipe_make(&c->stdin_fd, in_fd, 1) < 0)
                return -1;
        if (pipe_make(&c->out.source.fd, out_fd, 0) < 0 || pipe_make(&c->err.source.fd, err_fd, 0) < 0)
                return -1;
        return 0;
}

void stdio_watch(struct workload *c)
{
        struct stream *streams[] = { &c->out, &c->err };
        for (int i = 0; i < 2; i++)
                if (streams[i]->source.fd >= 0)
                        error_ignore(loop_add(&c->pod->loop, &streams[i]->source,
                                              EPOLLIN)); /* drained at its end */
}

void stdio_drain(struct workload *c)
{
        for (int i = 0; i < DRAIN_CHUNKS_MAX && stream_read(&c->out) > 0; i++)
                continue;
        for (int i = 0; i < DRAIN_CHUNKS_MAX && stream_read(&c->err) > 0; i++)
                continue;
}

void stdio_finish(struct workload *c)
{
        int64_t now_ns = clock_wall_ns();
        stdio_drain(c);
        log_flush(&c->log, &c->out.log, now_ns);
        log_flush(&c->log, &c->err.log, now_ns);
        stdio_close(c);
}

void stdio_close(struct workload *c)
{
        struct stream *streams[] = { &c->out, &c->err };
        timer_stop(&c->pod->loop, &c->flush);
        for (int i = 0; i < 2; i++) {
                loop_remove(&c->pod->loop, &streams[i]->source);
                closep(&streams[i]->source.fd);
                freep(&streams[i]->log.held);
                streams[i]->log.held_bytes = 0;
        }
}
