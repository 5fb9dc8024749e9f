/* What the skiff command reads from a server of streams: frames in pieces of any size, a status, the answer to an upgrade, a URL. */
#include "cri/client/spdy.h"
#include "cri/client/stream_status.h"
#include "cri/client/upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

/* The same events, however the bytes are cut. */
static uint64_t read_all(const uint8_t *bytes, size_t len_bytes, size_t piece_bytes)
{
        struct spdy_reader reader = { 0 };
        uint64_t sum = 0, data_bytes = 0;
        for (size_t at = 0, used; at < len_bytes || piece_bytes == 0; at += used) {
                struct spdy_event event;
                size_t left = len_bytes - at, n = left < piece_bytes ? left : piece_bytes;
                struct error *e = spdy_read(&reader, bytes + at, n, &used, &event);
                if (e) {
                        error_free(e);
                        return sum * 31 + data_bytes + 7;
                }
                if (used > n || (event.kind == SPDY_NONE && used != n))
                        abort();
                data_bytes += event.len_bytes;
                if (event.kind != SPDY_NONE && event.kind != SPDY_DATA)
                        sum = sum * 31 + event.stream * 7 + event.value * 3 + (uint64_t) event.kind;
        }
        return sum * 31 + data_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        int exit_code = 0;
        struct stream_url url = { 0 };
        if (read_all(bytes, len_bytes, 1) != read_all(bytes, len_bytes, SIZE_MAX))
                abort();
        error_free(stream_status_parse((const char *) bytes, len_bytes, &exit_code));
        if (exit_code < 0 || exit_code > 255)
                abort();
        error_free(upgrade_check((const char *) bytes, len_bytes));
        char *text = dup_bytes(bytes, len_bytes);
        error_free(stream_url_parse(text, &url));
        (void) stream_status_not_run(text);
        stream_url_done(&url);
        free(text);
        return 0;
}
