#include "cri/stream/header_block.h"
#include "cri/stream/spdy_dictionary.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

enum { WINDOW_BYTES = 32 << 10, CHUNK_BYTES = 4 << 10 };

struct header_reader {
        z_stream z;
        void *window; /* inflate's, in pages of its own */
};

static void *allocate(void *context, unsigned n, unsigned size_bytes)
{
        struct header_reader *reader = context;
        size_t len_bytes = (size_t) n * size_bytes;
        if (len_bytes < WINDOW_BYTES || reader->window)
                return malloc(len_bytes);
        void *pages = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        reader->window = pages == MAP_FAILED ? NULL : pages;
        return reader->window;
}

static void release(void *context, void *memory)
{
        struct header_reader *reader = context;
        if (memory != reader->window) {
                free(memory);
                return;
        }
        (void) munmap(memory, WINDOW_BYTES);
        reader->window = NULL;
}

struct header_reader *header_reader_new(void)
{
        struct header_reader *reader = calloc(1, sizeof(*reader));
        if (!reader)
                return NULL;
        reader->z = (z_stream){ .zalloc = allocate, .zfree = release, .opaque = reader };
        if (inflateInit(&reader->z) == Z_OK)
                return reader;
        free(reader);
        return NULL;
}

void header_reader_free(struct header_reader *reader)
{
        if (!reader)
                return;
        (void) inflateEnd(&reader->z);
        free(reader);
}

static struct error *error_block(const char *what)
{
        return error_new(ERROR_INVALID_ARGUMENT, "a header block %s", what);
}

/* One call of inflate into what room there is. *more: there may be more to come out of what went in. */
static struct error *inflate_some(struct header_reader *reader, struct buf *block, bool *more)
{
        char *to = NULL;
        size_t room_bytes = block->limit_bytes - block->len_bytes;
        if (room_bytes == 0)
                return error_block("that is too large");
        if (room_bytes > CHUNK_BYTES)
                room_bytes = CHUNK_BYTES;
        TRY(buf_reserve(block, room_bytes, &to));
        reader->z.next_out = (Bytef *) to;
        reader->z.avail_out = (uInt) room_bytes;
        int status = inflate(&reader->z, Z_SYNC_FLUSH);
        buf_added(block, room_bytes - reader->z.avail_out);
        *more = reader->z.avail_in || !reader->z.avail_out;
        if (status == Z_NEED_DICT) {
                status = inflateSetDictionary(&reader->z, (const Bytef *) spdy_dictionary,
                                              SPDY_DICTIONARY_BYTES);
                *more = true;
        }
        if (status == Z_BUF_ERROR && !reader->z.avail_in) /* it had just come to the end of both */
                *more = false;
        else if (status != Z_OK)
                return error_block("that cannot be inflated");
        return NULL;
}

/* A length of four bytes and as much text, at *at. */
static bool text_at(const struct buf *block, size_t *at, const char **text, size_t *len_bytes)
{
        const uint8_t *p = (const uint8_t *) block->bytes + *at;
        if (block->len_bytes - *at < 4)
                return false;
        *len_bytes = (size_t) p[0] << 24 | (size_t) p[1] << 16 | (size_t) p[2] << 8 | p[3];
        *text = (const char *) p + 4;
        if (*len_bytes > block->len_bytes - *at - 4)
                return false;
        *at += 4 + *len_bytes;
        return true;
}

static size_t pairs_of(const struct buf *block)
{
        const uint8_t *p = (const uint8_t *) block->bytes;
        return block->len_bytes < 4 ? SIZE_MAX
                                    : (size_t) p[0] << 24 | (size_t) p[1] << 16 | (size_t) p[2] << 8 | p[3];
}

static struct error *pairs_check(const struct buf *block)
{
        size_t n = pairs_of(block), at = 4, len_bytes;
        const char *text;
        if (n > HEADER_PAIRS_MAX)
                return error_block(n == SIZE_MAX ? "that is cut" : "with too many pairs");
        for (size_t i = 0; i < 2 * n; i++)
                if (!text_at(block, &at, &text, &len_bytes))
                        return error_block("that is cut");
        return at == block->len_bytes ? NULL : error_block("with more than its pairs");
}

struct error *header_block_read(struct header_reader *reader, const void *bytes, size_t len_bytes,
                                struct headers *out)
{
        _cleanup_(buf_done) struct buf block;
        buf_init(&block, HEADER_BLOCK_MAX);
        reader->z.next_in = (Bytef *) (void *) bytes;
        reader->z.avail_in = (uInt) len_bytes;
        for (bool more = len_bytes != 0; more;)
                TRY(inflate_some(reader, &block, &more));
        TRY(pairs_check(&block));
        out->block = block;
        buf_init(&block, 0);
        return NULL;
}

void headers_done(struct headers *headers)
{
        buf_done(&headers->block);
}

bool headers_get(const struct headers *headers, const char *name, char *out, size_t size_bytes)
{
        size_t n = pairs_of(&headers->block), at = 4, name_bytes, value_bytes;
        const char *found_name, *value;
        for (size_t i = 0; i < n && n != SIZE_MAX; i++) {
                if (!text_at(&headers->block, &at, &found_name, &name_bytes) ||
                    !text_at(&headers->block, &at, &value, &value_bytes))
                        return false;
                if (name_bytes != strlen(name) || memcmp(name, found_name, name_bytes) != 0)
                        continue;
                if (value_bytes >= size_bytes || memchr(value, '\0', value_bytes))
                        return false;
                memcpy(out, value, value_bytes);
                out[value_bytes] = '\0';
                return true;
        }
        return false;
}
