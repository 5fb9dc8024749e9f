/* host_checks.h - what skiff needs of a host, one probe each. Threads: one. */
#pragma once
#include <stddef.h>

enum check_result {
        CHECK_OK,
        CHECK_WARN, /* skiff runs, with less */
        CHECK_FAIL,
};

struct host_check {
        const char *name;
        /* Fills detail with what was found. */
        enum check_result (*probe)(char *detail, size_t size_bytes);
        const char *remedy; /* for a warning or failure */
};

extern const struct host_check host_checks[];
extern const size_t n_host_checks;
