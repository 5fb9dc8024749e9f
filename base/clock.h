/* clock.h - times. Nanoseconds everywhere; CRI wants wall-clock nanoseconds since 1970.
 * Threads: any. Part of base_core. Source: clock_gettime(2), RFC 3339, /proc/sys/kernel/random/boot_id. */
#pragma once
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

int64_t clock_monotonic_ns(void); /* CLOCK_MONOTONIC: for deadlines and durations */
int64_t clock_wall_ns(void);      /* CLOCK_REALTIME: for records and logs */

/* RFC 3339 in UTC with all nine digits of nanoseconds, as CRI's log lines have it; 30 characters and a NUL.
 * Async-signal-safe. */
#define CLOCK_TEXT_SIZE 31
void clock_format(int64_t wall_ns, char out[CLOCK_TEXT_SIZE]);
