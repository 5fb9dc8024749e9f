/* names.h - how CDI spells things: vendors, classes, devices, versions. Private to pods/cdi. Threads: any. */
#pragma once
#include "pods/cdi/document.h"

/* Whether text is "vendor/class=device" with each part well spelled. */
bool cdi_name_is_qualified(const char *text);

/* Errors: INVALID_ARGUMENT that names what is wrong with the kind, a device's name, the version, or with what is used of
 * later versions. */
MUST_CHECK struct error *cdi_check_document(const struct cdi_document *document);

/* The same of edits: variables without a name, unknown hooks, missing paths. */
MUST_CHECK struct error *cdi_check_edits(const struct cdi_edits *edits);
