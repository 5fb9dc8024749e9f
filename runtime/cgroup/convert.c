#include "runtime/cgroup/cgroup_internal.h"
#include <math.h>

enum { SHARES_MIN = 2, SHARES_MAX = 262144, WEIGHT_MAX = 10000 };

/* A straight line from [2, 262144] to [1, 10000] would make the default of 1024 a weight of 39, far below the 100 of
 * everything else on the node: so a curve through (2, 1), (1024, 100) and (262144, 10000). */
uint64_t cgroup_weight_of_shares(int64_t shares)
{
        if (shares <= SHARES_MIN)
                return 1;
        if (shares >= SHARES_MAX)
                return WEIGHT_MAX;
        double l = log2((double) shares);
        double exponent = (l * l + 125 * l) / 612.0 - 7.0 / 34.0;
        return (uint64_t) ceil(pow(10, exponent));
}

struct error *cgroup_swap_of(int64_t memory_bytes, int64_t memory_swap_bytes, int64_t *out)
{
        *out = -1;
        if (memory_swap_bytes < 0)
                return NULL;
        if (memory_bytes <= 0)
                return error_new(ERROR_INVALID_ARGUMENT, "a swap limit without a memory limit");
        if (memory_swap_bytes < memory_bytes)
                return error_new(ERROR_INVALID_ARGUMENT, "memory and swap together are less than memory");
        *out = memory_swap_bytes - memory_bytes;
        return NULL;
}
