#include "base/buf.h"
#include "tests/unit/unit.h"
#include <unistd.h>

static void the_limit_holds_and_a_failed_append_changes_nothing(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf b;
        buf_init(&b, 8);
        assert_ok(buf_append(&b, "12345678", 8));
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "more than 8 bytes", buf_append(&b, "9", 1));
        assert_string_equal(b.bytes, "12345678");
        buf_consume(&b, 6);
        assert_string_equal(b.bytes, "78");
        assert_ok(buf_append_format(&b, "%d", 42));
        assert_string_equal(b.bytes, "7842");
}

static void reading_tells_the_limit_from_one_byte_more(void **state)
{
        (void) state;
        for (size_t limit_bytes = 3; limit_bytes <= 5; limit_bytes++) {
                int fds[2];
                _cleanup_(buf_done) struct buf b;
                buf_init(&b, limit_bytes);
                assert_int_equal(pipe(fds), 0);
                assert_int_equal(write(fds[1], "1234", 4), 4);
                (void) close(fds[1]);
                if (limit_bytes < 4)
                        assert_fails(ERROR_RESOURCE_EXHAUSTED, "more than 3 bytes", buf_read_all(&b, fds[0]));
                else
                        assert_ok(buf_read_all(&b, fds[0]));
                (void) close(fds[0]);
        }
}

UNIT_MAIN(TEST(the_limit_holds_and_a_failed_append_changes_nothing),
          TEST(reading_tells_the_limit_from_one_byte_more))
