/* The filter before libarchive alone: what it changes, and that how its input is cut makes no difference. */
#include "images/unpack/tar_headers.h"
#include "tests/unit/tar_maker.h"
#include "tests/unit/unit.h"
#include <stdbool.h>
#include <string.h>

#define PUT(...) tar_put(&tar, &(struct tar_entry){ __VA_ARGS__ })

static void filter(const struct buf *tar, size_t step_bytes, struct buf *out)
{
        _cleanup_(tar_headers_freep) struct tar_headers *headers = tar_headers_new();
        const void *bytes = NULL;
        buf_init(out, 64 << 20);
        for (size_t at = 0, n;; at += n) {
                n = tar->len_bytes - at < step_bytes ? tar->len_bytes - at : step_bytes;
                _cleanup_(freep) void *chunk = n ? memcpy(malloc(n), tar->bytes + at, n) : NULL;
                if (n)
                        tar_headers_feed(headers, chunk, n);
                else
                        tar_headers_end(headers);
                for (size_t got; (got = tar_headers_next(headers, &bytes));)
                        assert_ok(buf_append(out, bytes, got));
                if (!n)
                        return;
        }
}

/* Of the tar as it is: what is to come out, whatever the chunks. */
static void check(struct buf *tar, const struct buf *want)
{
        static const size_t steps[] = { 1, 100, 511, 512, 513, 4096, 1 << 24 };
        for (size_t i = 0; i < LENGTH(steps); i++) {
                struct buf out;
                filter(tar, steps[i], &out);
                assert_int_equal(out.len_bytes, want->len_bytes);
                for (size_t at = 0; at < out.len_bytes; at++)
                        if (out.bytes[at] != want->bytes[at])
                                fail_msg("in chunks of %zu, byte %zu is %02x", steps[i], at,
                                         (unsigned char) out.bytes[at]);
                buf_done(&out);
        }
}

static void put_size(struct buf *tar, const char *size)
{
        tar_put_pax(tar, "size", size, strlen(size));
}

/* A link, said to be of a size as a writer may say it; with none, what is to be made of it. */
static void put_links(struct buf *tar, bool has_size)
{
        static const char gnu[] = "ustar  ", name[] = "a long name";
        const size_t n = has_size ? 5000 : 0;
        tar_put(tar, &(struct tar_entry){ .name = "a", .data = "hello" });
        for (int type = '1'; type <= '6'; type++) {
                tar_put(tar, &(struct tar_entry){ .name = "l", .type = type, .link = "a", .said_bytes = n });
                put_size(tar, has_size ? "5000" : "0000");
                tar_put(tar, &(struct tar_entry){ .name = "m", .type = type, .link = "a", .said_bytes = n });
                put_size(tar, has_size ? "100" : "000");
                tar_put(tar, &(struct tar_entry){ .name = "@L", .type = 'L', .data = name, .magic = gnu });
                tar_put(tar, &(struct tar_entry){ .name = "@K", .type = 'K', .data = name, .magic = gnu });
                tar_put(tar, &(struct tar_entry){ .name = "n", .type = type, .link = "a" });
        }
        put_size(tar, "3");
        tar_put(tar, &(struct tar_entry){ .name = "g", .type = 'g', .data = "13 size=5000\n" });
        tar_put(tar, &(struct tar_entry){ .name = "b", .data = "123" });
}

static void what_has_no_data_says_so(void **state)
{
        struct buf tar, want;
        (void) state;
        buf_init(&tar, 1 << 20);
        buf_init(&want, 1 << 20);
        put_links(&tar, true);
        put_links(&want, false);
        tar_end(&tar);
        tar_end(&want);
        check(&want, &want);
        /* A checksum that was written anew ends in a NUL, as this maker's do not. */
        struct buf out;
        filter(&tar, 512, &out);
        for (size_t at = 154; at < want.len_bytes; at += 512)
                if (want.bytes[at] == ' ' && out.bytes[at] == '\0')
                        want.bytes[at] = '\0';
        buf_done(&out);
        check(&tar, &want);
        buf_done(&tar);
        buf_done(&want);
}

/* Headers in a body are data, by whichever size the body has. */
static void bodies_stay_as_they_are(void **state)
{
        struct buf tar, body;
        (void) state;
        buf_init(&tar, 1 << 20);
        buf_init(&body, 1 << 20);
        tar_put(&body, &(struct tar_entry){ .name = "l", .type = TAR_LINK, .link = "a", .said_bytes = 77 });
        put_size(&body, "12");
        tar_put(&body, &(struct tar_entry){ .name = "l", .type = TAR_LINK, .link = "a", .said_bytes = 77 });
        PUT("plain", .data = body.bytes, .len_bytes = body.len_bytes);
        put_size(&tar, "2048"); /* over the 0 of the header */
        PUT(.name = "pax");
        assert_ok(buf_append(&tar, body.bytes, 2048));
        size_t sparse_at = tar.len_bytes;
        PUT("sparse", 'S', .magic = "ustar  ", .data = body.bytes, .len_bytes = body.len_bytes);
        memset(tar.bytes + sparse_at + 386, '0', 11);
        PUT("end", .data = "x");
        tar_end(&tar);
        check(&tar, &tar);
        buf_done(&tar);
        buf_done(&body);
}

/* A header with a map that goes on in two blocks, which look like headers themselves. */
static void sparse_maps_are_stepped_over(void **state)
{
        struct buf tar, block;
        (void) state;
        buf_init(&tar, 1 << 20);
        buf_init(&block, 1 << 20);
        tar_put(&block, &(struct tar_entry){ .name = "l", .type = TAR_LINK, .link = "a", .said_bytes = 77 });
        PUT("sparse", 'S', .magic = "ustar  ", .said_bytes = 512);
        unsigned sum = 0;
        memset(tar.bytes + 386, '0', 11);
        tar.bytes[482] = 1;
        memset(tar.bytes + 148, ' ', 8);
        for (size_t i = 0; i < 512; i++)
                sum += (unsigned char) tar.bytes[i];
        (void) snprintf(tar.bytes + 148, 8, "%06o", sum);
        for (int i = 0; i < 3; i++) { /* two of the map and the data */
                block.bytes[504] = i == 0;
                assert_ok(buf_append(&tar, block.bytes, 512));
        }
        size_t link_at = tar.len_bytes;
        assert_ok(buf_append(&tar, block.bytes, 512));
        tar_end(&tar);
        struct buf out;
        filter(&tar, 512, &out);
        assert_memory_equal(out.bytes, tar.bytes, link_at);
        assert_string_equal(out.bytes + link_at + 124, "00000000000");
        check(&tar, &out);
        buf_done(&out);
        buf_done(&tar);
        buf_done(&block);
}

/* Behind what is not understood all is passed on, and before it what was understood is changed. */
static void a_lost_thread_leaves_the_rest_alone(void **state)
{
        static const char *const sizes[] = { "x", "-1", "", "99999999999999999999", "1 " };
        struct buf tar;
        (void) state;
        for (size_t i = 0; i < LENGTH(sizes) + 4; i++) {
                buf_init(&tar, 8 << 20);
                if (i < LENGTH(sizes))
                        put_size(&tar, sizes[i]);
                else if (i == LENGTH(sizes)) /* records that do not add up */
                        PUT("pax", 'x', .data = "13 size=5000\n99 path=a\n");
                else if (i == LENGTH(sizes) + 1)
                        assert_ok(buf_append(&tar, memset((char[512]){ 0 }, 'a', 512), 512));
                else if (i == LENGTH(sizes) + 2) {
                        _cleanup_(freep) char *path = malloc((1 << 20) + 1);
                        memset(path, 'p', (1 << 20) + 1);
                        PUT("pax", 'x', .data = path, .len_bytes = (1 << 20) + 1);
                } else { /* too much before an entry */
                        put_size(&tar, "5");
                        _cleanup_(freep) char *path = malloc(1 << 20);
                        memset(path, 'p', 1 << 20);
                        for (int j = 0; j < 2; j++)
                                PUT("@L", 'L', .data = path, .len_bytes = 1 << 20);
                }
                PUT("l", TAR_LINK, .link = "a", .said_bytes = 77);
                tar_end(&tar);
                struct buf out;
                filter(&tar, 4096, &out);
                assert_int_equal(out.len_bytes, tar.len_bytes);
                assert_memory_equal(out.bytes, tar.bytes, tar.len_bytes);
                buf_done(&out);
                buf_done(&tar);
        }
}

UNIT_MAIN(cmocka_unit_test(what_has_no_data_says_so), cmocka_unit_test(bodies_stay_as_they_are),
          cmocka_unit_test(sparse_maps_are_stepped_over),
          cmocka_unit_test(a_lost_thread_leaves_the_rest_alone))
