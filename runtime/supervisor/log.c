#include "runtime/supervisor/log.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* "TIME stream F ": what stands before the content. */
#define PREFIX_MAX (CLOCK_TEXT_SIZE + sizeof(" stdout F "))
#define DIRECT_BYTES (8 << 10) /* a line from here on is written from where it lies */

/* Lines that go out in one write, put together as they will stand in the file: for short ones the copy costs a tenth of what
 * the kernel takes for a vector of their parts. */
struct batch {
        struct log_file *file;
        int64_t wall_ns;
        char *bytes; /* borrowed */
        size_t len_bytes, room_bytes;
        char prefix[PREFIX_MAX];
        size_t prefix_bytes;
};

static void batch_begin(struct batch *b, struct log_file *file, const struct log_stream *stream,
                        const struct log_room *room, int64_t wall_ns)
{
        char when[CLOCK_TEXT_SIZE];
        clock_format(wall_ns, when);
        b->file = file;
        b->wall_ns = wall_ns;
        b->bytes = room ? room->bytes : NULL;
        b->room_bytes = room ? room->size_bytes : 0;
        b->len_bytes = 0;
        b->prefix_bytes = (size_t) snprintf(b->prefix, PREFIX_MAX, "%s %s F ", when, stream->name);
}

static size_t lines_in(const char *bytes, size_t len_bytes)
{
        size_t n = 0;
        for (const char *end = bytes + len_bytes; (bytes = memchr(bytes, '\n', (size_t) (end - bytes)));)
                n++, bytes++;
        return n;
}

void log_open(struct log_file *file, int fd)
{
        closep(&file->fd);
        file->fd = fd;
        file->size_bytes = UINT64_MAX; /* it may have been there before */
}

/* A write is as good as one to a full disk where the file is as long as it may be. */
static bool has_room(struct log_file *file)
{
        struct stat st;
        if (file->max_bytes == 0 || file->size_bytes < file->max_bytes)
                return true;
        if (fstat(file->fd, &st) == 0)
                file->size_bytes = (uint64_t) st.st_size;
        return file->size_bytes < file->max_bytes;
}

static void note_written(struct log_file *file, ssize_t n_bytes, size_t want_bytes)
{
        if (n_bytes != (ssize_t) want_bytes)
                file->size_bytes = UINT64_MAX; /* something is cut back: to be looked at */
        else if (file->size_bytes != UINT64_MAX)
                file->size_bytes += want_bytes;
}

static void drop(struct log_file *file, size_t n_lines, size_t len_bytes)
{
        file->dropped += n_lines;
        file->dropped_bytes += len_bytes;
}

/* Cuts what was written of len_bytes back to keep_bytes. We are the only writer, so the end is ours. */
static void cut_back(const struct log_file *file, ssize_t len_bytes, size_t keep_bytes)
{
        struct stat st;
        /* A filesystem that cannot even shrink a file: the half line stays. */
        if (len_bytes > 0 && fstat(file->fd, &st) == 0 && st.st_size >= len_bytes)
                (void) !ftruncate(file->fd, st.st_size - len_bytes + (off_t) keep_bytes);
}

/* Writes whole lines, or those of them for which there is room. */
static void lines_write(struct log_file *file, const char *bytes, size_t len_bytes)
{
        ssize_t n_bytes = write(file->fd, bytes, len_bytes);
        note_written(file, n_bytes, len_bytes);
        if (n_bytes == (ssize_t) len_bytes)
                return;
        const char *last = n_bytes > 0 ? memrchr(bytes, '\n', (size_t) n_bytes) : NULL;
        size_t keep_bytes = last ? (size_t) (last - bytes) + 1 : 0;
        cut_back(file, n_bytes, keep_bytes);
        drop(file, lines_in(bytes + keep_bytes, len_bytes - keep_bytes), len_bytes - keep_bytes);
}

/* Says how many lines are missing, where there is room again. -1: there is none, also for what was to follow. */
static int log_mark(struct log_file *file, int64_t wall_ns)
{
        char when[CLOCK_TEXT_SIZE], text[160];
        if (!has_room(file))
                return -1;
        if (file->dropped == 0)
                return 0;
        clock_format(wall_ns, when);
        int n_bytes = snprintf(text, sizeof(text),
                               "%s stderr F skiff: %llu lines of the log were lost here, %llu bytes\n", when,
                               (unsigned long long) file->dropped, (unsigned long long) file->dropped_bytes);
        ssize_t written_bytes = write(file->fd, text, (size_t) n_bytes);
        note_written(file, written_bytes, (size_t) n_bytes);
        if (written_bytes != n_bytes) {
                cut_back(file, written_bytes, 0);
                return -1;
        }
        file->dropped = file->dropped_bytes = 0;
        return 0;
}

static void batch_write(struct batch *b)
{
        if (b->len_bytes && b->file->fd >= 0) {
                if (log_mark(b->file, b->wall_ns) < 0)
                        drop(b->file, lines_in(b->bytes, b->len_bytes), b->len_bytes);
                else
                        lines_write(b->file, b->bytes, b->len_bytes);
        }
        b->len_bytes = 0;
}

/* A long one, in the order of things: behind what is in the batch. */
static void line_write(struct batch *b, const struct log_stream *stream, const char *bytes, size_t len_bytes)
{
        struct iovec parts[] = { { b->prefix, b->prefix_bytes },
                                 { stream->held, stream->held_bytes },
                                 { (char *) (uintptr_t) bytes, len_bytes },
                                 { (char *) (uintptr_t) "\n", 1 } };
        size_t want_bytes = b->prefix_bytes + stream->held_bytes + len_bytes + 1;
        batch_write(b);
        if (b->file->fd < 0)
                return;
        if (log_mark(b->file, b->wall_ns) < 0) {
                drop(b->file, 1, want_bytes);
                return;
        }
        ssize_t n_bytes = writev(b->file->fd, parts, LENGTH(parts));
        note_written(b->file, n_bytes, want_bytes);
        if (n_bytes == (ssize_t) want_bytes)
                return;
        cut_back(b->file, n_bytes, 0);
        drop(b->file, 1, want_bytes);
}

static char *put(char *to, const char *bytes, size_t len_bytes)
{
        if (bytes)
                memcpy(to, bytes, len_bytes);
        return to + len_bytes;
}

/* What is held, and bytes, as one line: whole ("F"), or a part of one ("P"). */
static void batch_line(struct batch *b, struct log_stream *stream, const char *bytes, size_t len_bytes,
                       char flag)
{
        size_t want_bytes = b->prefix_bytes + stream->held_bytes + len_bytes + 1;
        b->prefix[b->prefix_bytes - 2] = flag;
        if (want_bytes >= DIRECT_BYTES || want_bytes > b->room_bytes) {
                line_write(b, stream, bytes, len_bytes);
        } else {
                if (want_bytes > b->room_bytes - b->len_bytes)
                        batch_write(b);
                char *at = put(b->bytes + b->len_bytes, b->prefix, b->prefix_bytes);
                at = put(at, stream->held, stream->held_bytes);
                at = put(at, bytes, len_bytes);
                *at = '\n';
                b->len_bytes += want_bytes;
        }
        stream->held_bytes = 0;
}

static void hold(struct batch *b, struct log_stream *stream, const char *bytes, size_t len_bytes)
{
        if (len_bytes && !stream->held)
                stream->held = malloc(stream->line_max_bytes);
        if (!stream->held) { /* no memory: the line goes out in pieces */
                if (len_bytes)
                        batch_line(b, stream, bytes, len_bytes, 'P');
                return;
        }
        if (len_bytes)
                memcpy(stream->held + stream->held_bytes, bytes, len_bytes);
        stream->held_bytes += len_bytes;
        if (stream->held_bytes == 0)
                freep(&stream->held);
}

void log_take(struct log_file *file, struct log_stream *stream, const char *bytes, size_t len_bytes,
              const struct log_room *room, int64_t wall_ns)
{
        struct batch b;
        batch_begin(&b, file, stream, room, wall_ns);
        while (len_bytes) {
                size_t room_bytes = stream->line_max_bytes - stream->held_bytes;
                size_t seen_bytes = len_bytes < room_bytes + 1 ? len_bytes : room_bytes + 1;
                const char *newline = memchr(bytes, '\n', seen_bytes);
                size_t take_bytes = newline ? (size_t) (newline - bytes) : room_bytes;
                if (!newline && len_bytes <= room_bytes)
                        break;
                batch_line(&b, stream, bytes, take_bytes, newline ? 'F' : 'P');
                take_bytes += newline ? 1 : 0;
                bytes += take_bytes;
                len_bytes -= take_bytes;
        }
        hold(&b, stream, bytes, len_bytes);
        batch_write(&b);
}

void log_flush(struct log_file *file, struct log_stream *stream, int64_t wall_ns)
{
        struct batch b;
        if (stream->held_bytes) {
                batch_begin(&b, file, stream, NULL, wall_ns);
                batch_line(&b, stream, NULL, 0, 'P');
        }
        freep(&stream->held);
}
