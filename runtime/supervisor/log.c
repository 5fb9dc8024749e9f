#include "runtime/supervisor/log.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* "TIME stream F ": what stands before the content. */
#define PREFIX_MAX (CLOCK_TEXT_SIZE + sizeof(" stdout F "))
#define BATCH_LINES 32

/* Lines that go out in one writev: prefix, content, newline each. */
struct batch {
        struct iovec parts[BATCH_LINES * 4];
        size_t n_parts, n_lines, len_bytes;
        char prefixes[2][PREFIX_MAX]; /* full, partial */
        size_t prefix_bytes[2];
};

static void batch_begin(struct batch *b, const struct log_stream *stream, int64_t wall_ns)
{
        char when[CLOCK_TEXT_SIZE];
        clock_format(wall_ns, when);
        b->n_parts = b->n_lines = b->len_bytes = 0;
        for (int partial = 0; partial < 2; partial++)
                b->prefix_bytes[partial] = (size_t) snprintf(b->prefixes[partial], PREFIX_MAX, "%s %s %c ",
                                                             when, stream->name, partial ? 'P' : 'F');
}

static void batch_put(struct batch *b, const char *bytes, size_t len_bytes)
{
        if (len_bytes == 0)
                return;
        b->parts[b->n_parts++] =
                (struct iovec){ .iov_base = (char *) (uintptr_t) bytes, .iov_len = len_bytes };
        b->len_bytes += len_bytes;
}

static int log_writev(struct log_file *file, const struct iovec *parts, size_t n_parts, size_t len_bytes)
{
        struct stat before;
        if (file->fd < 0)
                return 0;
        ssize_t n_bytes = writev(file->fd, parts, (int) n_parts);
        if (n_bytes == (ssize_t) len_bytes)
                return 0;
        /* All of the batch goes: no reader ever sees half a line. We are the only writer, so the end is ours. */
        if (n_bytes > 0 && fstat(file->fd, &before) == 0 && before.st_size >= n_bytes &&
            ftruncate(file->fd, before.st_size - n_bytes) < 0)
                return -1; /* a filesystem that cannot even shrink a file: the half line stays */
        return -1;
}

/* Says how many lines are missing, where there is room again. */
static int log_mark(struct log_file *file, int64_t wall_ns)
{
        char when[CLOCK_TEXT_SIZE], text[128];
        if (file->dropped == 0)
                return 0;
        clock_format(wall_ns, when);
        int n = snprintf(text, sizeof(text), "%s stderr F skiff: %llu lines of the log were lost here\n",
                         when, (unsigned long long) file->dropped);
        struct iovec part = { .iov_base = text, .iov_len = (size_t) n };
        if (log_writev(file, &part, 1, part.iov_len) < 0)
                return -1;
        file->dropped = 0;
        return 0;
}

static void batch_write(struct log_file *file, struct batch *b, int64_t wall_ns)
{
        if (b->n_parts &&
            (log_mark(file, wall_ns) < 0 || log_writev(file, b->parts, b->n_parts, b->len_bytes) < 0))
                file->dropped += b->n_lines;
        b->n_parts = b->n_lines = b->len_bytes = 0;
}

static void batch_line(struct log_file *file, struct batch *b, struct log_stream *stream, const char *bytes,
                       size_t len_bytes, int partial, int64_t wall_ns)
{
        batch_put(b, b->prefixes[partial], b->prefix_bytes[partial]);
        batch_put(b, stream->held, stream->held_bytes);
        batch_put(b, bytes, len_bytes);
        batch_put(b, "\n", 1);
        b->n_lines++;
        /* What is held lives until it was written. */
        if (stream->held_bytes || b->n_lines == BATCH_LINES)
                batch_write(file, b, wall_ns);
        stream->held_bytes = 0;
}

static void hold(struct log_file *file, struct batch *b, struct log_stream *stream, const char *bytes,
                 size_t len_bytes, int64_t wall_ns)
{
        if (len_bytes && !stream->held)
                stream->held = malloc(stream->line_max_bytes);
        if (!stream->held) { /* no memory: the line goes out in pieces */
                if (len_bytes)
                        batch_line(file, b, stream, bytes, len_bytes, 1, wall_ns);
                return;
        }
        if (len_bytes)
                memcpy(stream->held + stream->held_bytes, bytes, len_bytes);
        stream->held_bytes += len_bytes;
        if (stream->held_bytes == 0)
                freep(&stream->held);
}

void log_take(struct log_file *file, struct log_stream *stream, const char *bytes, size_t len_bytes,
              int64_t wall_ns)
{
        struct batch b;
        batch_begin(&b, stream, wall_ns);
        while (len_bytes) {
                size_t room_bytes = stream->line_max_bytes - stream->held_bytes;
                size_t seen_bytes = len_bytes < room_bytes + 1 ? len_bytes : room_bytes + 1;
                const char *newline = memchr(bytes, '\n', seen_bytes);
                size_t take_bytes = newline ? (size_t) (newline - bytes) : room_bytes;
                if (!newline && len_bytes <= room_bytes)
                        break;
                batch_line(file, &b, stream, bytes, take_bytes, !newline, wall_ns);
                take_bytes += newline ? 1 : 0;
                bytes += take_bytes;
                len_bytes -= take_bytes;
        }
        batch_write(file, &b, wall_ns);
        hold(file, &b, stream, bytes, len_bytes, wall_ns);
        batch_write(file, &b, wall_ns);
}

void log_flush(struct log_file *file, struct log_stream *stream, int64_t wall_ns)
{
        struct batch b;
        if (stream->held_bytes) {
                batch_begin(&b, stream, wall_ns);
                batch_line(file, &b, stream, NULL, 0, 1, wall_ns);
                batch_write(file, &b, wall_ns);
        }
        freep(&stream->held);
}
