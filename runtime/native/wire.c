#include "runtime/native/wire.h"
#include <string.h>

void wire_begin(struct wire_writer *w, size_t limit_bytes)
{
        buf_init(&w->bytes, limit_bytes);
        w->error = NULL;
}

void wire_done(struct wire_writer *w)
{
        buf_done(&w->bytes);
        error_free(TAKE(w->error));
}

static void put(struct wire_writer *w, const void *bytes, size_t len_bytes)
{
        if (!w->error)
                w->error = buf_append(&w->bytes, bytes, len_bytes);
}

void wire_put_u32(struct wire_writer *w, uint32_t value)
{
        put(w, &value, sizeof(value));
}

void wire_put_u64(struct wire_writer *w, uint64_t value)
{
        put(w, &value, sizeof(value));
}

void wire_put_bytes(struct wire_writer *w, const void *bytes, size_t len_bytes)
{
        wire_put_u64(w, len_bytes);
        put(w, bytes, len_bytes);
}

void wire_put_text(struct wire_writer *w, const char *text)
{
        wire_put_bytes(w, text ? text : "", (text ? strlen(text) : 0) + 1);
}

void wire_put_texts(struct wire_writer *w, char *const *texts)
{
        uint32_t n = 0;
        while (texts && texts[n])
                n++;
        wire_put_u32(w, n);
        for (uint32_t i = 0; i < n; i++)
                wire_put_text(w, texts[i]);
}

size_t wire_struct_begin(struct wire_writer *w)
{
        size_t at = w->bytes.len_bytes;
        wire_put_u32(w, 0); /* its length, in the end */
        return at;
}

void wire_struct_end(struct wire_writer *w, size_t at)
{
        if (w->error)
                return;
        uint32_t len_bytes = (uint32_t) (w->bytes.len_bytes - at - sizeof(len_bytes));
        memcpy(w->bytes.bytes + at, &len_bytes, sizeof(len_bytes));
}

struct error *wire_end(struct wire_writer *w)
{
        return TAKE(w->error);
}

void wire_open(struct wire_reader *r, const void *bytes, size_t len_bytes)
{
        *r = (struct wire_reader){ .at = bytes, .left_bytes = len_bytes };
}

/* The next len_bytes, or NULL. */
static const char *take(struct wire_reader *r, uint64_t len_bytes)
{
        if (r->bad || len_bytes > r->left_bytes) {
                r->bad = true;
                return NULL;
        }
        const char *at = r->at;
        r->at += len_bytes;
        r->left_bytes -= len_bytes;
        return at;
}

uint32_t wire_get_u32(struct wire_reader *r)
{
        uint32_t value = 0;
        const char *at = take(r, sizeof(value));
        if (at)
                memcpy(&value, at, sizeof(value));
        return value;
}

uint64_t wire_get_u64(struct wire_reader *r)
{
        uint64_t value = 0;
        const char *at = take(r, sizeof(value));
        if (at)
                memcpy(&value, at, sizeof(value));
        return value;
}

const void *wire_get_bytes(struct wire_reader *r, size_t *len_bytes)
{
        uint64_t len = wire_get_u64(r);
        const char *at = take(r, len);
        *len_bytes = at ? len : 0;
        return at;
}

const char *wire_get_text(struct wire_reader *r)
{
        size_t len_bytes;
        const char *at = wire_get_bytes(r, &len_bytes);
        if (len_bytes == 0 || memchr(at, '\0', len_bytes) != at + len_bytes - 1) {
                r->bad = true;
                return "";
        }
        return at;
}

size_t wire_get_count(struct wire_reader *r, size_t least_bytes)
{
        uint32_t n = wire_get_u32(r);
        if (n > r->left_bytes / least_bytes)
                r->bad = true;
        return r->bad ? 0 : n;
}

char **wire_get_texts(struct wire_reader *r)
{
        size_t n = wire_get_count(r, sizeof(uint64_t) + 1);
        char **texts = r->bad ? NULL : calloc(n + 1, sizeof(*texts));
        if (!texts) {
                r->bad = true;
                return NULL;
        }
        for (size_t i = 0; i < n; i++)
                texts[i] = (char *) (uintptr_t) wire_get_text(r);
        return texts;
}

struct wire_reader wire_struct_enter(struct wire_reader *r)
{
        uint32_t len_bytes = wire_get_u32(r);
        const char *at = take(r, len_bytes);
        return (struct wire_reader){ .at = at, .left_bytes = at ? len_bytes : 0, .bad = r->bad };
}

void wire_struct_leave(struct wire_reader *r, const struct wire_reader *inner)
{
        r->bad = r->bad || inner->bad;
}

bool wire_has_more(const struct wire_reader *r)
{
        return !r->bad && r->left_bytes > 0;
}

struct error *wire_close_newer(const struct wire_reader *r, const char *what)
{
        return r->bad ? error_new(ERROR_INVALID_ARGUMENT, "malformed %s", what) : NULL;
}

struct error *wire_close(const struct wire_reader *r, const char *what)
{
        if (r->bad || r->left_bytes)
                return error_new(ERROR_INVALID_ARGUMENT, "malformed %s", what);
        return NULL;
}
