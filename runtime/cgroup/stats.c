/* What both drivers read of a cgroup's figures in the same form. */
#include "runtime/cgroup/cgroup_internal.h"
#include <string.h>

#define V1_UNLIMITED_BYTES (UINT64_C(1) << 62) /* v1 says "none" by the largest multiple of a page */

struct error *cgroup_limit_read(const struct hierarchy *h, const char *path, const char *file, uint64_t *out)
{
        uint64_t value = CGROUP_NO_LIMIT;
        TRY(cgroup_number(h, path, file, &value));
        *out = value >= V1_UNLIMITED_BYTES ? CGROUP_NO_LIMIT : value;
        return NULL;
}

static bool stall_parse(const char *line, const char *kind, struct cgroup_stall *out)
{
        unsigned long long total_us = 0;
        char found[8] = "";
        struct cgroup_stall stall = { 0 };
        if (!line || sscanf(line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%llu", found, &stall.avg10,
                            &stall.avg60, &stall.avg300, &total_us) != 5)
                return false;
        stall.total_us = total_us;
        if (strcmp(found, kind) != 0)
                return false;
        *out = stall;
        return true;
}

void cgroup_pressure_parse(const char *text, struct cgroup_pressure *out)
{
        *out = (struct cgroup_pressure){ .has = false };
        const char *second = strchr(text, '\n');
        /* cpu.pressure had no "full" line before kernel 5.13: it stays zero. */
        out->has = stall_parse(text, "some", &out->some);
        if (out->has && second)
                (void) stall_parse(second + 1, "full", &out->full);
}
