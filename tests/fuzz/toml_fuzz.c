/* Any bytes as TOML: a tree or an error with a line. */
#include "base/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct toml_value *root = NULL;
        struct error *e = toml_parse((const char *) bytes, len_bytes, &root);
        if (!e && toml_type_of(root) != TOML_TABLE)
                abort();
        error_free(e);
        toml_free(root);
        return 0;
}
