/* document.h - one CDI file's text: YAML, of which JSON is a part, as the specification's own library reads it. Private to
 * pods/cdi.
 *
 * What that library refuses is refused here: an unknown key, a key twice, a version that is none or lower than what is used.
 * The case of a key's letters does not matter; what comes after the first document is not looked at. Bounded: a mebibyte of
 * text, 100,000 values read, aliases counted each time they are met. Threads: any. */
#pragma once
#include "pods/cdi/edits.h"

#define CDI_FILE_MAX_BYTES (1U << 20)

struct cdi_device {
        char *name;
        struct cdi_edits edits;
        bool has_annotations;
};

struct cdi_document {
        char *version, *kind; /* "vendor/class" */
        bool has_annotations;
        struct cdi_device *devices;
        size_t n_devices;
        struct cdi_edits edits; /* for each container that gets one of the devices */
};

/* Errors: INVALID_ARGUMENT "line 3: ..." for what is not written as it should be, or without a line for what it says. */
MUST_CHECK struct error *cdi_document_parse(const char *text, size_t len_bytes, struct cdi_document *out);
void cdi_document_done(struct cdi_document *document);

/* What cdi_edits_put wrote. */
MUST_CHECK struct error *cdi_edits_parse(const char *text, size_t len_bytes, struct cdi_edits *out);
