/* The CRI log as skiff-pod writes it; as root, since a full disk is a tmpfs of one page. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mount.h"
#include "runtime/supervisor/log.h"
#include "tests/unit/unit.h"
#include <fcntl.h>

#define AT_NS 1700000000000000000
#define WHEN "2023-11-14T22:13:20.000000000Z"

static char *content(int dir_fd)
{
        char *text = NULL;
        size_t len_bytes;
        assert_ok(file_read(dir_fd, "log", 1 << 20, &text, &len_bytes));
        return text;
}

static void take(struct log_file *file, struct log_stream *stream, const char *text)
{
        char bytes[200]; /* for two or three lines */
        const struct log_room room = { bytes, sizeof(bytes) };
        log_take(file, stream, text, strlen(text), &room, AT_NS);
}

static void lines_are_split_and_joined(void **dir)
{
        _cleanup_(closep) int dir_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct log_file file = { .fd = openat(dir_fd, "log", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC,
                                              0600) };
        struct log_stream out = { .name = "stdout", .line_max_bytes = 8 },
                          err = { .name = "stderr", .line_max_bytes = 8 };
        take(&file, &out, "a\n\nbc");
        take(&file, &err, "e\n");
        take(&file, &out, "d\n12345678\n123456789\n");
        take(&file, &out, "tail");
        log_flush(&file, &out, AT_NS);
        take(&file, &out, "end");
        log_flush(&file, &out, AT_NS);
        log_flush(&file, &out, AT_NS);
        (void) close(file.fd);
        _cleanup_(freep) char *text = content(dir_fd);
        assert_string_equal(text, WHEN " stdout F a\n" WHEN " stdout F \n" WHEN " stderr F e\n" WHEN
                                       " stdout F bcd\n" WHEN " stdout F 12345678\n" WHEN
                                       " stdout P 12345678\n" WHEN " stdout F 9\n" WHEN
                                       " stdout P tail\n" WHEN " stdout P end\n");
}

static void a_full_disk_loses_whole_lines_and_says_so(void **state)
{
        (void) state;
        const char *const options[] = { "size", "4096", NULL };
        _cleanup_(closep) int dir_fd = -1;
        assert_ok(mount_new("tmpfs", options, 0, &dir_fd));
        struct log_file file = { .fd = openat(dir_fd, "log", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC,
                                              0600) };
        struct log_stream out = { .name = "stdout", .line_max_bytes = 16384 };
        for (int i = 0; i < 100; i++)
                take(&file, &out, "0123456789012345678901234567890123456789\n");
        assert_true(file.dropped > 0);
        uint64_t dropped = file.dropped;
        _cleanup_(freep) char *full = content(dir_fd);
        size_t lines = 0;
        for (const char *at = full; *at; at++)
                lines += *at == '\n';
        assert_int_equal(lines + dropped, 100);
        assert_int_equal(full[strlen(full) - 1], '\n'); /* cut back to a whole line */
        assert_int_equal(ftruncate(file.fd, 0), 0);
        take(&file, &out, "room\n");
        assert_int_equal(file.dropped, 0);
        _cleanup_(
                freep) char *text = content(dir_fd),
                            *want = format_string(
                                    WHEN
                                    " stderr F skiff: %llu lines of the log were lost here, %llu bytes\n" WHEN
                                    " stdout F room\n",
                                    (unsigned long long) dropped,
                                    (unsigned long long) dropped *
                                            (unsigned long long) (strlen(WHEN " stdout F \n") + 40));
        assert_string_equal(text, want);
        (void) close(file.fd);
}

/* Also one that was there before; another file, or the same one cut short, has room. */
static void a_file_that_has_reached_its_bound_gets_no_more(void **dir)
{
        _cleanup_(closep) int dir_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct log_file file = { .fd = -1, .max_bytes = 100 };
        struct log_stream out = { .name = "stdout", .line_max_bytes = 16384 };
        const char *const long_line =
                "0123456789012345678901234567890123456789012345678901234567890123456789\n";
        const uint64_t long_bytes = strlen(long_line) + strlen(WHEN " stdout F ");
        log_open(&file, openat(dir_fd, "log", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
        take(&file, &out, long_line); /* the last that is begun below the bound */
        assert_int_equal(file.dropped, 0);
        take(&file, &out, "short\n");
        take(&file, &out, long_line);
        assert_int_equal(file.dropped, 2);
        log_open(&file, openat(dir_fd, "log", O_WRONLY | O_APPEND | O_CLOEXEC));
        take(&file, &out, "short\n");
        assert_int_equal(file.dropped, 3);
        assert_int_equal(renameat(dir_fd, "log", dir_fd, "before"), 0);
        log_open(&file, openat(dir_fd, "log", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
        take(&file, &out, "a\n");
        take(&file, &out, "b\n");
        take(&file, &out, "c\n");
        _cleanup_(freep) char *want = format_string(
                WHEN " stderr F skiff: 3 lines of the log were lost here, %llu bytes\n" WHEN " stdout F a\n",
                (unsigned long long) (long_bytes + 2 * strlen(WHEN " stdout F short\n")));
        _cleanup_(freep) char *text = content(dir_fd);
        assert_string_equal(text, want);
        assert_int_equal(file.dropped, 2);
        assert_int_equal(ftruncate(file.fd, 0), 0);
        take(&file, &out, "d\n");
        _cleanup_(freep) char *cut = content(dir_fd);
        assert_non_null(strstr(cut, "2 lines of the log were lost"));
        assert_non_null(strstr(cut, "stdout F d\n"));
        log_open(&file, -1);
}

/* However it comes, and however much room there is. */
static void lines_of_all_lengths_come_out_whole(void **dir)
{
        enum { TOTAL_BYTES = 300000, LINE_MAX = 20000 };
        static char sent[TOTAL_BYTES], room_bytes[65536];
        static const size_t sizes[] = { 64, 100, 3072, sizeof(room_bytes) };
        uint32_t x = 7;
        for (size_t i = 0; i < TOTAL_BYTES; i++) {
                x = x * 1664525 + 1013904223;
                size_t lately = i % 100000 < 50000 ? 1 : 5000; /* short lines, and long ones */
                sent[i] = (x >> 8) % (30 * lately) == 0 ? '\n' : (char) ('a' + (x >> 24) % 26);
        }
        _cleanup_(closep) int dir_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (size_t round = 0; round < LENGTH(sizes) * 2; round++) {
                const struct log_room room = { room_bytes, sizes[round / 2] };
                struct log_file file = {
                        .fd = openat(dir_fd, "log", O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0600)
                };
                struct log_stream out = { .name = "stdout", .line_max_bytes = LINE_MAX };
                for (size_t at = 0; at < TOTAL_BYTES;) {
                        x = x * 1664525 + 1013904223;
                        size_t n_bytes = (x >> 8) % (round % 2 ? 65536 : 300) + 1;
                        n_bytes = n_bytes < TOTAL_BYTES - at ? n_bytes : TOTAL_BYTES - at;
                        log_take(&file, &out, sent + at, n_bytes, &room, AT_NS);
                        at += n_bytes;
                }
                log_flush(&file, &out, AT_NS);
                (void) close(file.fd);
                _cleanup_(freep) char *text = content(dir_fd);
                const char *from = sent;
                for (const char *line = text; *line;) {
                        const char *end = strchr(line, '\n');
                        size_t prefix_bytes = strlen(WHEN " stdout F ");
                        assert_memory_equal(line, WHEN " stdout ", strlen(WHEN " stdout "));
                        size_t len_bytes = (size_t) (end - line) - prefix_bytes;
                        assert_true(len_bytes <= LINE_MAX);
                        assert_memory_equal(line + prefix_bytes, from, len_bytes);
                        from += len_bytes;
                        if (line[prefix_bytes - 2] == 'F')
                                assert_int_equal(*from++, '\n');
                        else if (from < sent + TOTAL_BYTES)
                                assert_int_equal(len_bytes, LINE_MAX);
                        line = end + 1;
                }
                assert_ptr_equal(from, sent + TOTAL_BYTES);
        }
}

UNIT_MAIN(IN_TMPDIR(a_file_that_has_reached_its_bound_gets_no_more), IN_TMPDIR(lines_are_split_and_joined),
          IN_TMPDIR(lines_of_all_lengths_come_out_whole), TEST(a_full_disk_loses_whole_lines_and_says_so))
