#include "cri/stream/sink.h"
#include <unistd.h>

void sink_init(struct sink *sink)
{
        *sink = (struct sink){ .fd = -1 };
        buf_init(&sink->waiting, SINK_MAX);
}

void sink_done(struct sink *sink)
{
        closep(&sink->fd);
        buf_done(&sink->waiting);
}

/* How much was taken. */
static size_t put_some(struct sink *sink, const void *bytes, size_t len_bytes)
{
        ssize_t n = write(sink->fd, bytes, len_bytes);
        if (n >= 0)
                return (size_t) n;
        sink->is_broken = errno != EAGAIN && errno != EINTR;
        return 0;
}

void sink_put(struct sink *sink, const void *bytes, size_t len_bytes)
{
        size_t taken_bytes = 0;
        if (sink->is_broken)
                return;
        if (sink->fd >= 0 && sink->waiting.len_bytes == 0)
                taken_bytes = put_some(sink, bytes, len_bytes);
        if (taken_bytes == len_bytes || sink->is_broken)
                return;
        struct error *e =
                buf_append(&sink->waiting, (const char *) bytes + taken_bytes, len_bytes - taken_bytes);
        if (e) /* no memory: what is lost makes all that follows wrong */
                sink->is_broken = true;
        error_free(e);
}

void sink_flush(struct sink *sink)
{
        if (sink->fd >= 0 && sink->waiting.len_bytes && !sink->is_broken)
                buf_consume(&sink->waiting, put_some(sink, sink->waiting.bytes, sink->waiting.len_bytes));
        if (sink->waiting.len_bytes == 0 || sink->is_broken)
                buf_done(&sink->waiting);
}
