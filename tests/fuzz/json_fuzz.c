/* json_parse on any bytes; what was parsed is written and parsed again. */
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct json *json = NULL, *again = NULL;
        struct error *e = json_parse((const char *) bytes, len_bytes, &json);
        if (e) {
                error_free(e);
                return 0;
        }
        struct buf text;
        buf_init(&text, 64 << 20);
        if (json_write(json, &text) || json_parse(text.bytes, text.len_bytes, &again))
                abort();
        json_free(json);
        json_free(again);
        buf_done(&text);
        return 0;
}
