#include "base/buf.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_init(struct buf *b, size_t limit_bytes)
{
        *b = (struct buf){ .limit_bytes = limit_bytes };
}

void buf_done(struct buf *b)
{
        free(b->bytes);
        *b = (struct buf){ .limit_bytes = b->limit_bytes };
}

static struct error *buf_grow(struct buf *b, size_t need_bytes)
{
        size_t size_bytes = b->size_bytes < 256 ? 256 : b->size_bytes * 2;
        if (size_bytes < need_bytes)
                size_bytes = need_bytes;
        char *bytes = realloc(b->bytes, size_bytes);
        if (!bytes)
                return error_errno(ENOMEM, "grow a buffer to %zu bytes", size_bytes);
        b->bytes = bytes;
        b->size_bytes = size_bytes;
        return NULL;
}

struct error *buf_reserve(struct buf *b, size_t len_bytes, char **out)
{
        if (len_bytes > b->limit_bytes - b->len_bytes)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %zu bytes", b->limit_bytes);
        size_t need_bytes = b->len_bytes + len_bytes + 1;
        if (need_bytes > b->size_bytes)
                TRY(buf_grow(b, need_bytes));
        b->bytes[b->len_bytes] = '\0';
        *out = b->bytes + b->len_bytes;
        return NULL;
}

void buf_added(struct buf *b, size_t len_bytes)
{
        b->len_bytes += len_bytes;
        b->bytes[b->len_bytes] = '\0';
}

struct error *buf_append(struct buf *b, const void *bytes, size_t len_bytes)
{
        char *to = NULL;
        TRY(buf_reserve(b, len_bytes, &to));
        if (len_bytes)
                memcpy(to, bytes, len_bytes);
        buf_added(b, len_bytes);
        return NULL;
}

struct error *buf_append_text(struct buf *b, const char *text)
{
        return buf_append(b, text, strlen(text));
}

struct error *buf_append_format(struct buf *b, const char *fmt, ...)
{
        char *text = NULL;
        va_list args;
        va_start(args, fmt);
        int len_bytes = vasprintf(&text, fmt, args);
        va_end(args);
        if (len_bytes < 0)
                return error_errno(ENOMEM, "format text");
        struct error *e = buf_append(b, text, (size_t) len_bytes);
        free(text);
        return e;
}

void buf_consume(struct buf *b, size_t len_bytes)
{
        if (len_bytes >= b->len_bytes) {
                b->len_bytes = 0;
        } else if (len_bytes) {
                memmove(b->bytes, b->bytes + len_bytes, b->len_bytes - len_bytes);
                b->len_bytes -= len_bytes;
        }
        if (b->bytes)
                b->bytes[b->len_bytes] = '\0';
}

char *buf_take_text(struct buf *b)
{
        char *text = b->bytes ? b->bytes : calloc(1, 1);
        *b = (struct buf){ .limit_bytes = b->limit_bytes };
        return text;
}

struct error *buf_read_all(struct buf *b, int fd)
{
        for (;;) {
                /* One byte past the limit is asked for, so that "exactly the limit" and "more" differ. */
                size_t room_bytes = b->limit_bytes - b->len_bytes;
                char *to = NULL, beyond;
                /* Most files are small, and memory that was never touched costs a page fault each 4 kB. */
                size_t chunk_bytes = b->len_bytes < 1024 ? 2048 : b->len_bytes < 65536 ? b->len_bytes : 65536;
                size_t want_bytes = room_bytes < chunk_bytes ? room_bytes : chunk_bytes;
                TRY(buf_reserve(b, want_bytes, &to));
                ssize_t n_bytes = want_bytes ? read(fd, to, want_bytes) : read(fd, &beyond, 1);
                if (n_bytes < 0 && errno == EINTR)
                        continue;
                if (n_bytes < 0)
                        return error_errno(errno, "read");
                if (n_bytes == 0)
                        return NULL;
                if (!want_bytes)
                        return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %zu bytes", b->limit_bytes);
                buf_added(b, (size_t) n_bytes);
        }
}
