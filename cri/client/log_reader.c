#include "cri/client/log_reader.h"
#include "base/buf.h"
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define LINE_MAX_BYTES ((size_t) 4 << 20)

struct log_reader {
        char *path;
        int fd, notify_fd;
        ino_t inode;
        bool with_times, in_line; /* in_line: the last thing shown was a partial line */
        struct buf pending;       /* bytes behind the last newline */
        FILE *out, *err;
        bool is_terminals; /* the log is, and what it shows goes to one */
        char last;         /* what was shown of its line */
};

struct error *log_reader_open(const char *path, bool with_times, struct log_reader **out)
{
        _cleanup_(log_reader_freep) struct log_reader *reader = NEW(struct log_reader);
        reader->path = dup_string(path);
        reader->fd = reader->notify_fd = -1;
        reader->with_times = with_times;
        reader->out = stdout;
        reader->err = stderr;
        buf_init(&reader->pending, LINE_MAX_BYTES);
        reader->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (reader->notify_fd < 0)
                return error_errno(errno, "inotify");
        _cleanup_(freep) char *copy = dup_string(path);
        const char *dir = dirname(copy);
        if (inotify_add_watch(reader->notify_fd, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
                return error_errno(errno, "watch %s", dir);
        *out = TAKE(reader);
        return NULL;
}

void log_reader_free(struct log_reader *reader)
{
        if (!reader)
                return;
        free(reader->path);
        closep(&reader->fd);
        closep(&reader->notify_fd);
        buf_done(&reader->pending);
        free(reader);
}

void log_reader_of_terminal(struct log_reader *reader, FILE *to)
{
        reader->out = reader->err = to;
        reader->is_terminals = true;
}

int log_reader_fd(const struct log_reader *reader)
{
        return reader->notify_fd;
}

/* "2026-11-24T08:00:00.000000000Z stdout F text". What does not look so is shown as it is. */
static void show_line(struct log_reader *reader, char *line, size_t len)
{
        char *stream = memchr(line, ' ', len), *tag = stream ? strchr(stream + 1, ' ') : NULL;
        char *text = tag ? strchr(tag + 1, ' ') : NULL;
        bool is_ours = text && (strncmp(stream, " stdout ", 8) == 0 || strncmp(stream, " stderr ", 8) == 0);
        if (!is_ours) {
                (void) fprintf(reader->out, "%s\n", line);
                return;
        }
        FILE *to = strncmp(stream, " stderr ", 8) == 0 ? reader->err : reader->out;
        if (reader->with_times && !reader->in_line)
                (void) fprintf(to, "%.*s ", (int) (stream - line), line);
        text++;
        size_t text_bytes = len - (size_t) (text - line);
        (void) fwrite(text, 1, text_bytes, to);
        reader->last = text_bytes ? text[text_bytes - 1] : reader->last;
        reader->in_line = tag[1] == 'P';
        if (reader->in_line)
                return;
        /* containerd's log has lost the first half of a terminal's newline. */
        (void) fputs(reader->is_terminals && reader->last != '\r' ? "\r\n" : "\n", to);
        reader->last = '\0';
}

static void show_lines(struct log_reader *reader)
{
        char *at = reader->pending.bytes, *end = at + reader->pending.len_bytes;
        for (char *newline; at < end && (newline = memchr(at, '\n', (size_t) (end - at))); at = newline + 1) {
                *newline = '\0';
                show_line(reader, at, (size_t) (newline - at));
        }
        buf_consume(&reader->pending, (size_t) (at - reader->pending.bytes));
}

static struct error *read_to_end(struct log_reader *reader)
{
        for (;;) {
                char *to = NULL;
                TRY(buf_reserve(&reader->pending, 65536, &to));
                ssize_t n_bytes = read(reader->fd, to, 65536);
                if (n_bytes < 0)
                        return error_errno(errno, "read %s", reader->path);
                if (n_bytes == 0)
                        return NULL;
                buf_added(&reader->pending, (size_t) n_bytes);
                show_lines(reader);
        }
}

/* Opens what is at the path now; *changed is false when that is what is open already, or nothing. */
static struct error *open_current(struct log_reader *reader, bool *changed)
{
        struct stat st;
        *changed = false;
        if (stat(reader->path, &st) < 0)
                return errno == ENOENT ? NULL : error_errno(errno, "%s", reader->path);
        if (reader->fd >= 0 && st.st_ino == reader->inode)
                return NULL;
        int fd = open(reader->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? NULL : error_errno(errno, "open %s", reader->path);
        closep(&reader->fd);
        reader->fd = fd;
        reader->inode = fstat(fd, &st) == 0 ? st.st_ino : 0;
        *changed = true;
        return NULL;
}

struct error *log_reader_show(struct log_reader *reader)
{
        char events[4096];
        while (read(reader->notify_fd, events, sizeof(events)) > 0)
                ; /* what they say is looked at below anyway */
        for (bool changed = true; changed;) {
                if (reader->fd >= 0)
                        TRY(read_to_end(reader));
                TRY(open_current(reader, &changed));
        }
        (void) fflush(reader->err);
        if (fflush(reader->out) != 0)
                return error_errno(errno, "write to stdout");
        return NULL;
}
