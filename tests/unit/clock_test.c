#include "base/clock.h"
#include "tests/unit/unit.h"
#include <time.h>

static void the_text_is_what_gmtime_says(void **state)
{
        (void) state;
        const int64_t moments_s[] = { 0,          951782400 /* 2000-02-29 */,
                                      1709164799, 1709251200,
                                      4102444799, 1795509900 };
        for (size_t i = 0; i < LENGTH(moments_s); i++) {
                char ours[CLOCK_TEXT_SIZE], theirs[64];
                time_t seconds = (time_t) moments_s[i];
                struct tm tm;
                (void) strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%S.000000007Z",
                                gmtime_r(&seconds, &tm));
                clock_format(moments_s[i] * 1000000000 + 7, ours);
                assert_string_equal(ours, theirs);
        }
}

UNIT_MAIN(TEST(the_text_is_what_gmtime_says))
