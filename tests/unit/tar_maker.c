#include "tests/unit/tar_maker.h"
#include "base/digest.h"
#include "tests/unit/unit.h"
#include <isa-l/igzip_lib.h>
#include <zstd.h>

struct header {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[8];
        char user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == 512, "a tar header is one block");

static void octal(char *field, size_t size_bytes, unsigned long value)
{
        char text[32];
        (void) snprintf(text, sizeof(text), "%0*lo", (int) size_bytes - 1, value);
        memcpy(field, text, size_bytes - 1);
}

static void put_raw(struct buf *tar, const struct tar_entry *entry, size_t len_bytes, int type)
{
        struct header h;
        static const char zeros[512];
        memset(&h, 0, sizeof(h));
        memcpy(h.name, entry->name, strnlen(entry->name, sizeof(h.name)));
        octal(h.mode, sizeof(h.mode), entry->mode);
        octal(h.uid, sizeof(h.uid), entry->uid);
        octal(h.gid, sizeof(h.gid), entry->gid);
        octal(h.size, sizeof(h.size), entry->said_bytes ? entry->said_bytes : len_bytes);
        octal(h.mtime, sizeof(h.mtime), (unsigned long) entry->mtime);
        h.type = (char) type;
        if (entry->link)
                memcpy(h.link, entry->link, strnlen(entry->link, sizeof(h.link)));
        memcpy(h.magic,
               entry->magic ? entry->magic
                            : "ustar\0"
                              "00",
               8);
        octal(h.major, sizeof(h.major), entry->major);
        octal(h.minor, sizeof(h.minor), entry->minor);
        memset(h.checksum, ' ', sizeof(h.checksum));
        unsigned sum = 0;
        for (size_t i = 0; i < sizeof(h); i++)
                sum += ((const unsigned char *) &h)[i];
        octal(h.checksum, 7, sum);
        assert_ok(buf_append(tar, &h, sizeof(h)));
        if (len_bytes)
                assert_ok(buf_append(tar, entry->data, len_bytes));
        assert_ok(buf_append(tar, zeros, (512 - len_bytes % 512) % 512));
}

void tar_put(struct buf *tar, const struct tar_entry *entry)
{
        size_t len_bytes = entry->len_bytes || !entry->data ? entry->len_bytes : strlen(entry->data);
        put_raw(tar, entry, len_bytes, entry->type ? entry->type : TAR_FILE);
}

void tar_put_pax(struct buf *tar, const char *key, const void *value, size_t len_bytes)
{
        struct buf record;
        buf_init(&record, 1 << 20);
        size_t rest = strlen(key) + len_bytes + 3, total = rest + 1;
        for (;;) { /* the record's length counts its own digits */
                char digits[24];
                int n = snprintf(digits, sizeof(digits), "%zu", total);
                if (rest + (size_t) n == total)
                        break;
                total = rest + (size_t) n;
        }
        assert_ok(buf_append_format(&record, "%zu %s=", total, key));
        assert_ok(buf_append(&record, value, len_bytes));
        assert_ok(buf_append_text(&record, "\n"));
        put_raw(tar, &(struct tar_entry){ .name = "pax", .mode = 0644, .data = record.bytes },
                record.len_bytes, 'x');
        buf_done(&record);
}

void tar_end(struct buf *tar)
{
        static const char zeros[1024];
        assert_ok(buf_append(tar, zeros, sizeof(zeros)));
}

const char *digest_text_of(const void *bytes, size_t len_bytes)
{
        static char texts[16][DIGEST_TEXT_SIZE];
        static unsigned next;
        struct digest digest;
        char *text = texts[next++ % LENGTH(texts)];
        digest_of(bytes, len_bytes, &digest);
        digest_format(&digest, text);
        return text;
}

void gzip_bytes(const struct buf *from, struct buf *to)
{
        struct isal_zstream stream;
        char *room = NULL;
        isal_deflate_stateless_init(&stream);
        assert_ok(buf_reserve(to, from->len_bytes + 4096, &room));
        stream.end_of_stream = 1;
        stream.gzip_flag = IGZIP_GZIP;
        stream.next_in = (uint8_t *) from->bytes;
        stream.avail_in = (uint32_t) from->len_bytes;
        stream.next_out = (uint8_t *) room;
        stream.avail_out = (uint32_t) from->len_bytes + 4096;
        assert_int_equal(isal_deflate_stateless(&stream), COMP_OK);
        buf_added(to, stream.total_out);
}

void zstd_bytes(const struct buf *from, struct buf *to)
{
        char *room = NULL;
        size_t size_bytes = ZSTD_compressBound(from->len_bytes);
        assert_ok(buf_reserve(to, size_bytes, &room));
        size_t n = ZSTD_compress(room, size_bytes, from->bytes, from->len_bytes, 1);
        assert_false(ZSTD_isError(n));
        buf_added(to, n);
}
