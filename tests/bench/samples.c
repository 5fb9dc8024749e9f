#include "tests/bench/samples.h"
#include "base/clock.h"
#include <stdlib.h>

void samples_add(struct samples *samples, double value)
{
        if (samples->n == samples->size) {
                samples->size = samples->size ? samples->size * 2 : 64;
                samples->values = grow_array(samples->values, samples->size, sizeof(*samples->values));
        }
        samples->values[samples->n++] = value;
}

void samples_add_all(struct samples *to, const struct samples *from)
{
        for (size_t i = 0; i < from->n; i++)
                samples_add(to, from->values[i]);
}

void samples_done(struct samples *samples)
{
        free(samples->values);
        *samples = (struct samples){ 0 };
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *) a, y = *(const double *) b;
        return (x > y) - (x < y);
}

double samples_quantile(struct samples *samples, double share)
{
        if (samples->n == 0)
                return 0;
        qsort(samples->values, samples->n, sizeof(*samples->values), by_value);
        size_t rank = (size_t) (share * (double) samples->n);
        return samples->values[rank < samples->n ? rank : samples->n - 1];
}

double ms_since(int64_t before_ns)
{
        return (double) (clock_monotonic_ns() - before_ns) / 1e6;
}
