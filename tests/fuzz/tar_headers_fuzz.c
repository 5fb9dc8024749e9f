/* The filter before libarchive on any bytes: nothing is added or lost, what comes out does not depend on how the input was
 * cut, and once changed there is nothing left to change. */
#include "images/unpack/tar_headers.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* len_bytes from bytes to out, in chunks of step_bytes. */
static void filter(const uint8_t *bytes, size_t len_bytes, size_t step_bytes, uint8_t *out)
{
        _cleanup_(tar_headers_freep) struct tar_headers *headers = tar_headers_new();
        size_t out_bytes = 0;
        for (size_t at = 0, n;; at += n) {
                const void *got = NULL;
                n = len_bytes - at < step_bytes ? len_bytes - at : step_bytes;
                if (n)
                        tar_headers_feed(headers, bytes + at, n);
                else
                        tar_headers_end(headers);
                for (size_t got_bytes; (got_bytes = tar_headers_next(headers, &got));
                     out_bytes += got_bytes) {
                        if (got_bytes > len_bytes - out_bytes)
                                abort();
                        memcpy(out + out_bytes, got, got_bytes);
                }
                if (n == 0)
                        break;
        }
        if (out_bytes != len_bytes)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        if (len_bytes == 0)
                return 0;
        uint8_t *whole = malloc(len_bytes), *again = malloc(len_bytes);
        if (!whole || !again)
                abort();
        filter(bytes, len_bytes, len_bytes, whole);
        filter(bytes, len_bytes, 512, again);
        if (memcmp(whole, again, len_bytes) != 0)
                abort();
        filter(bytes, len_bytes, 1 + bytes[0] * 7, again);
        if (memcmp(whole, again, len_bytes) != 0)
                abort();
        filter(whole, len_bytes, 512, again);
        if (memcmp(whole, again, len_bytes) != 0)
                abort();
        free(whole);
        free(again);
        return 0;
}
