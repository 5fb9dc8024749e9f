/* reference_parse on any text; the whole name it gives is a reference of the same name. */
#include "images/reference.h"
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        _cleanup_(freep) char *text = dup_bytes(bytes, len_bytes);
        _cleanup_(reference_freep) struct reference *once = NULL, *twice = NULL;
        struct error *e = reference_parse(text, &once);
        if (e) {
                error_free(e);
                return 0;
        }
        _cleanup_(freep) char *name = reference_name(once), *again = NULL;
        if (reference_parse(name, &twice))
                abort();
        again = reference_name(twice);
        if (strcmp(name, again) != 0)
                abort();
        return 0;
}
