/* config.h - image configs: struct image_config and the layers' diffIDs from verified but foreign bytes.
 * Threads: any. Source: OCI image-spec config.md. */
#pragma once
#include "images/images.h"

/* Fills *out and *diff_ids (NULL-terminated, each a valid "sha256:..."). Errors: INVALID_ARGUMENT naming the field;
 * FAILED_PRECONDITION for another platform. *out holds nothing after an error. */
MUST_CHECK struct error *config_parse(const char *bytes, size_t len_bytes, struct image_config *out,
                                      char ***diff_ids);
