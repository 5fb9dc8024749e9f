#include "base/clock.h"
#include <time.h>

static int64_t clock_read(clockid_t id)
{
        struct timespec now = { 0 };
        (void) clock_gettime(id, &now);
        return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_monotonic_ns(void)
{
        return clock_read(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void)
{
        return clock_read(CLOCK_REALTIME);
}

static void put_digits(char *to, int64_t value, int width)
{
        for (int i = width - 1; i >= 0; i--, value /= 10)
                to[i] = (char) ('0' + value % 10);
}

/* Days since 1970 to a date, for the proleptic Gregorian calendar: gmtime_r is not async-signal-safe, and this
 * is called for every log line. Source: Howard Hinnant, "chrono-compatible low-level date algorithms". */
static void civil_of_days(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
        int64_t shifted = days + 719468;
        int64_t era = shifted / 146097;
        int64_t day_of_era = shifted - era * 146097;
        int64_t year_of_era =
                (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
        int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        int64_t month_from_march = (5 * day_of_year + 2) / 153;
        *day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        *month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
        *year = year_of_era + era * 400 + (*month <= 2);
}

void clock_format(int64_t wall_ns, char out[CLOCK_TEXT_SIZE])
{
        static const char shape[CLOCK_TEXT_SIZE] = "0000-00-00T00:00:00.000000000Z";
        __builtin_memcpy(out, shape, sizeof(shape));
        if (wall_ns < 0)
                wall_ns = 0;
        int64_t seconds = wall_ns / 1000000000, in_day = seconds % 86400;
        int64_t year, month, day;
        civil_of_days(seconds / 86400, &year, &month, &day);
        put_digits(out, year, 4);
        put_digits(out + 5, month, 2);
        put_digits(out + 8, day, 2);
        put_digits(out + 11, in_day / 3600, 2);
        put_digits(out + 14, in_day / 60 % 60, 2);
        put_digits(out + 17, in_day % 60, 2);
        put_digits(out + 20, wall_ns % 1000000000, 9);
}
