/* A Localhost seccomp profile. */
#include "runtime/seccomp/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        _cleanup_(json_freep) struct json *profile = NULL;
        struct buf program;
        struct error *e = json_parse((const char *) bytes, len_bytes, &profile);
        buf_init(&program, 65536);
        if (!e)
                e = profile_compile(profile, 0xa80425fb, &program);
        error_free(e);
        buf_done(&program);
        return 0;
}
