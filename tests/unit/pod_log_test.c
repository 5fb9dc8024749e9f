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
        log_take(file, stream, text, strlen(text), AT_NS);
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
        _cleanup_(freep) char *text = content(dir_fd),
                              *want = format_string(
                                      WHEN " stderr F skiff: %llu lines of the log were lost here\n" WHEN
                                           " stdout F room\n",
                                      (unsigned long long) dropped);
        assert_string_equal(text, want);
        (void) close(file.fd);
}

UNIT_MAIN(IN_TMPDIR(lines_are_split_and_joined), TEST(a_full_disk_loses_whole_lines_and_says_so))
