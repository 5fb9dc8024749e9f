/* SPDY frames of a client and their header blocks. The first byte says in what pieces they come. */
#include "cri/stream/header_block.h"
#include "cri/stream/spdy_frame.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static struct error *read_block(struct header_reader *reader, const struct spdy_event *event)
{
        struct headers headers = { 0 };
        char value[24];
        struct error *e = header_block_read(reader, event->bytes, event->len_bytes, &headers);
        if (!e && headers_get(&headers, "streamtype", value, sizeof(value)) && strlen(value) >= sizeof(value))
                abort();
        headers_done(&headers);
        return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct spdy_reader reader;
        struct error *e = NULL;
        if (len_bytes < 1)
                return 0;
        size_t piece_bytes = bytes[0] ? bytes[0] : 4096;
        struct header_reader *headers = header_reader_new();
        spdy_reader_init(&reader);
        for (size_t at = 1; at < len_bytes && !e;) {
                struct spdy_event event;
                uint32_t id;
                size_t used, n = len_bytes - at < piece_bytes ? len_bytes - at : piece_bytes;
                e = spdy_read(&reader, bytes + at, n, &used, &event);
                at += used;
                if (!e && used == 0)
                        abort(); /* it would never end */
                if (!e && (event.type == SPDY_SYN_STREAM || event.type == SPDY_HEADERS))
                        e = read_block(headers, &event);
                size_t left_bytes = e ? 0 : spdy_data_left(&reader, &id);
                if (left_bytes && bytes[0] % 2)
                        (void) spdy_pass(&reader, left_bytes < 3 ? left_bytes : 3);
        }
        spdy_reader_done(&reader);
        header_reader_free(headers);
        error_free(e);
        return 0;
}
