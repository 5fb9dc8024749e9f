/* samples.h - durations of one kind, and what is said of them. Threads: one. */
#pragma once
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct samples {
        double *values;
        size_t n, size;
};

void samples_add(struct samples *samples, double value);
void samples_add_all(struct samples *to, const struct samples *from);
void samples_done(struct samples *samples);

/* The value below which the given share (0 to 1) of them lies, nearest rank; 0 of none. Sorts. */
double samples_quantile(struct samples *samples, double share);

/* Nanoseconds since before_ns (CLOCK_MONOTONIC), in milliseconds. */
double ms_since(int64_t before_ns);
