/* hosts_parse on any text. */
#include "images/hosts.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct hosts hosts;
        struct error *e = hosts_parse((const char *) bytes, len_bytes, "/nonexistent", "host:5000", &hosts);
        if (!e)
                hosts_done(&hosts);
        error_free(e);
        return 0;
}
