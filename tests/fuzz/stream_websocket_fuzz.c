/* WebSocket frames of a client, what is in their messages in base64, and sizes of terminals. The first byte says in what pieces
 * they come. */
#include "cri/stream/base64.h"
#include "cri/stream/resize.h"
#include "cri/stream/websocket_frame.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static void take(const struct websocket_event *event, uint8_t *data, struct base64_reader *base64,
                 struct resize_reader *resize)
{
        uint16_t rows, columns;
        size_t n;
        if (event->opcode >= WEBSOCKET_CLOSE && event->len_bytes > WEBSOCKET_CONTROL_MAX)
                abort();
        (void) resize_read(resize, event->bytes, event->len_bytes, &rows, &columns);
        if (event->opcode <= WEBSOCKET_BINARY && base64_decode(base64, data, event->len_bytes, data, &n) &&
            n > event->len_bytes)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct websocket_reader reader = { 0 };
        struct base64_reader base64 = { 0 };
        struct resize_reader resize = { 0 };
        struct error *e = NULL;
        if (len_bytes < 1)
                return 0;
        size_t piece_bytes = bytes[0] ? bytes[0] : 4096;
        uint8_t *copy = malloc(len_bytes);
        if (!copy)
                return 0;
        memcpy(copy, bytes, len_bytes);
        for (size_t at = 1; at < len_bytes && !e;) {
                struct websocket_event event;
                size_t used, n = len_bytes - at < piece_bytes ? len_bytes - at : piece_bytes;
                e = websocket_read(&reader, copy + at, n, &used, &event);
                at += used;
                if (!e && used == 0)
                        abort(); /* it would never end */
                if (!e && event.opcode != WEBSOCKET_NOTHING)
                        take(&event, copy + at - event.len_bytes, &base64, &resize);
        }
        free(copy);
        error_free(e);
        return 0;
}
