#include "images/unpack/inflate.h"
#include <isa-l/igzip_lib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { CHUNK_BYTES = 256 << 10, WINDOW_LOG_MAX = 27 };

enum format { FORMAT_PLAIN, FORMAT_GZIP, FORMAT_ZSTD };

struct inflate {
        struct inflate_source source;
        uint64_t max_in_bytes, max_out_bytes, in_bytes, out_bytes;
        struct digest_stream *in_digest, *out_digest;
        enum format format;
        bool at_end;    /* of the source */
        bool in_member; /* between a member's (frame's) first byte and its end */
        bool ended;
        struct inflate_state gzip;
        struct isal_gzip_header gzip_header;
        ZSTD_DStream *zstd;
        size_t have_bytes, at_bytes; /* what is in `in`, what of it was used */
        unsigned char in[CHUNK_BYTES], out[CHUNK_BYTES];
};

/* Reads more behind what is unused, of which there is none but at the very start. */
static struct error *fill(struct inflate *inflate)
{
        if (inflate->at_bytes == inflate->have_bytes)
                inflate->at_bytes = inflate->have_bytes = 0;
        size_t room_bytes = sizeof(inflate->in) - inflate->have_bytes;
        ssize_t n_bytes;
        do {
                n_bytes = inflate->source.read(inflate->source.context, inflate->in + inflate->have_bytes,
                                               room_bytes);
        } while (n_bytes < 0 && errno == EINTR);
        if (n_bytes < 0)
                return error_errno(errno, "read the stream");
        inflate->at_end = n_bytes == 0;
        digest_stream_add(inflate->in_digest, inflate->in + inflate->have_bytes, (size_t) n_bytes);
        inflate->have_bytes += (size_t) n_bytes;
        inflate->in_bytes += (uint64_t) n_bytes;
        if (inflate->in_bytes > inflate->max_in_bytes)
                return error_new(ERROR_DATA_LOSS, "the stream is longer than the %llu bytes it should have",
                                 (unsigned long long) inflate->max_in_bytes);
        return NULL;
}

static struct error *detect(struct inflate *inflate)
{
        while (inflate->have_bytes < 6 && !inflate->at_end)
                TRY(fill(inflate));
        const unsigned char *b = inflate->in;
        size_t n = inflate->have_bytes;
        if (n >= 2 && b[0] == 0x1f && b[1] == 0x8b)
                inflate->format = FORMAT_GZIP;
        else if (n >= 4 && ((memcmp(b, "\x28\xb5\x2f\xfd", 4) == 0) ||
                            ((b[0] & 0xf0) == 0x50 && memcmp(b + 1, "\x2a\x4d\x18", 3) == 0)))
                inflate->format = FORMAT_ZSTD;
        else if (n >= 6 && (memcmp(b,
                                   "\xfd"
                                   "7zXZ\0",
                                   6) == 0 ||
                            memcmp(b, "BZh", 3) == 0))
                return error_new(ERROR_UNIMPLEMENTED, "compressed with %s: only gzip and zstd are known",
                                 *b == 'B' ? "bzip2" : "xz");
        if (inflate->format == FORMAT_ZSTD) {
                inflate->zstd = ZSTD_createDStream();
                if (!inflate->zstd)
                        return error_errno(ENOMEM, "zstd");
                (void) ZSTD_DCtx_setParameter(inflate->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
        }
        return NULL;
}

struct error *inflate_open(const struct inflate_source *source, uint64_t max_in_bytes, uint64_t max_out_bytes,
                           struct inflate **out)
{
        _cleanup_(inflate_freep) struct inflate *inflate = NEW(struct inflate);
        inflate->source = *source;
        inflate->max_in_bytes = max_in_bytes;
        inflate->max_out_bytes = max_out_bytes;
        inflate->in_digest = digest_stream_new();
        inflate->out_digest = digest_stream_new();
        TRY(detect(inflate));
        *out = TAKE(inflate);
        return NULL;
}

void inflate_free(struct inflate *inflate)
{
        if (!inflate)
                return;
        digest_stream_free(inflate->in_digest);
        digest_stream_free(inflate->out_digest);
        (void) ZSTD_freeDStream(inflate->zstd);
        free(inflate);
}

bool inflate_at_end(const struct inflate *inflate)
{
        return inflate->at_end;
}

static struct error *plain_some(struct inflate *inflate, size_t *len_bytes)
{
        size_t n = inflate->have_bytes - inflate->at_bytes, room = sizeof(inflate->out) - *len_bytes;
        if (n > room)
                n = room;
        memcpy(inflate->out + *len_bytes, inflate->in + inflate->at_bytes, n);
        inflate->at_bytes += n;
        *len_bytes += n;
        return NULL;
}

/* A member starts anew: what follows the last one must be another (pigz and lazily loadable layers write many). */
static void gzip_begin(struct inflate *inflate)
{
        isal_inflate_init(&inflate->gzip);
        isal_gzip_header_init(&inflate->gzip_header);
        inflate->gzip.crc_flag = ISAL_GZIP;
        inflate->in_member = true;
}

static struct error *gzip_some(struct inflate *inflate, size_t *len_bytes)
{
        struct inflate_state *gzip = &inflate->gzip;
        if (!inflate->in_member)
                gzip_begin(inflate);
        gzip->next_in = inflate->in + inflate->at_bytes;
        gzip->avail_in = (uint32_t) (inflate->have_bytes - inflate->at_bytes);
        gzip->next_out = inflate->out + *len_bytes;
        gzip->avail_out = (uint32_t) (sizeof(inflate->out) - *len_bytes);
        int status = isal_inflate(gzip);
        inflate->at_bytes = inflate->have_bytes - gzip->avail_in;
        *len_bytes = sizeof(inflate->out) - gzip->avail_out;
        if (status != ISAL_DECOMP_OK)
                return error_new(ERROR_DATA_LOSS, "the gzip stream is broken (%d)", status);
        if (gzip->block_state == ISAL_BLOCK_FINISH)
                inflate->in_member = false;
        return NULL;
}

static struct error *zstd_some(struct inflate *inflate, size_t *len_bytes)
{
        ZSTD_inBuffer in = { inflate->in, inflate->have_bytes, inflate->at_bytes };
        ZSTD_outBuffer out = { inflate->out, sizeof(inflate->out), *len_bytes };
        size_t status = ZSTD_decompressStream(inflate->zstd, &out, &in);
        if (ZSTD_isError(status) && ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge)
                return error_new(
                        ERROR_RESOURCE_EXHAUSTED,
                        "the zstd stream needs a window of more than %d MiB of memory: compress the layer "
                        "again without --ultra or --long",
                        1 << (WINDOW_LOG_MAX - 20));
        if (ZSTD_isError(status))
                return error_new(ERROR_DATA_LOSS, "the zstd stream is broken: %s", ZSTD_getErrorName(status));
        inflate->in_member = status != 0;
        inflate->at_bytes = in.pos;
        *len_bytes = out.pos;
        return NULL;
}

static struct error *some(struct inflate *inflate, size_t *len_bytes)
{
        if (inflate->format == FORMAT_GZIP)
                return gzip_some(inflate, len_bytes);
        if (inflate->format == FORMAT_ZSTD)
                return zstd_some(inflate, len_bytes);
        return plain_some(inflate, len_bytes);
}

/* Fills `out` as far as the stream goes. Inside a member the decompressor may hold more output than there was room for,
 * so it is asked once more without input before the end is believed. */
static struct error *fill_out(struct inflate *inflate, size_t *len_bytes)
{
        while (*len_bytes < sizeof(inflate->out)) {
                if (inflate->at_bytes == inflate->have_bytes && !inflate->at_end)
                        TRY(fill(inflate));
                bool starved = inflate->at_bytes == inflate->have_bytes;
                if (starved && !inflate->in_member)
                        return NULL;
                size_t had_bytes = *len_bytes;
                TRY(some(inflate, len_bytes));
                if (starved && inflate->in_member && *len_bytes == had_bytes)
                        return error_new(ERROR_DATA_LOSS, "the stream ends early, after %llu bytes",
                                         (unsigned long long) inflate->in_bytes);
        }
        return NULL;
}

struct error *inflate_next(struct inflate *inflate, const void **bytes, size_t *len_bytes)
{
        size_t n = 0;
        if (!inflate->ended)
                TRY(fill_out(inflate, &n));
        inflate->ended = n < sizeof(inflate->out);
        digest_stream_add(inflate->out_digest, inflate->out, n);
        inflate->out_bytes += n;
        if (inflate->out_bytes > inflate->max_out_bytes)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %llu bytes unpacked",
                                 (unsigned long long) inflate->max_out_bytes);
        *bytes = inflate->out;
        *len_bytes = n;
        return NULL;
}

struct error *inflate_finish(struct inflate *inflate, struct inflate_result *result)
{
        const void *bytes = NULL;
        size_t len_bytes = 0;
        do {
                TRY(inflate_next(inflate, &bytes, &len_bytes));
        } while (len_bytes);
        result->in_bytes = inflate->in_bytes;
        result->out_bytes = inflate->out_bytes;
        digest_stream_end(inflate->in_digest, &result->in);
        digest_stream_end(inflate->out_digest, &result->out);
        return NULL;
}

struct error *inflate_drain(struct inflate *inflate, struct inflate_result *result)
{
        while (!inflate->at_end) {
                inflate->at_bytes = inflate->have_bytes;
                TRY(fill(inflate));
        }
        *result = (struct inflate_result){ .in_bytes = inflate->in_bytes };
        digest_stream_end(inflate->in_digest, &result->in);
        return NULL;
}
