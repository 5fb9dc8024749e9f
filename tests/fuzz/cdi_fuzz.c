/* Any bytes as a CDI file: a document or an error; what of it is recorded with a container must be read again as it is. */
#include "pods/cdi/names.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static void write_and_read(const struct cdi_edits *edits)
{
        struct cdi_edits again;
        struct buf first, second;
        buf_init(&first, 64U << 20);
        buf_init(&second, 64U << 20);
        if (cdi_edits_put(edits, &first) || cdi_edits_parse(first.bytes, first.len_bytes, &again) ||
            cdi_edits_put(&again, &second) || strcmp(first.bytes, second.bytes) != 0)
                abort();
        cdi_edits_done(&again);
        buf_done(&first);
        buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct cdi_document document;
        struct error *e = cdi_document_parse((const char *) bytes, len_bytes, &document);
        if (!e)
                e = cdi_check_document(&document);
        if (!e) {
                struct cdi_edits all = { .env = NULL };
                cdi_edits_append(&all, &document.edits);
                for (size_t i = 0; i < document.n_devices; i++)
                        cdi_edits_append(&all, &document.devices[i].edits);
                write_and_read(&all);
                cdi_edits_done(&all);
        }
        cdi_document_done(&document);
        error_free(e);
        return 0;
}
