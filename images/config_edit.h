/* config_edit.h - an image's config with one layer more, and what was asked to be changed; all else of it stays as it is.
 *
 * Threads: any. Source: OCI image-spec config.md. */
#pragma once
#include "base/buf.h"
#include "images/images.h"

/* Appends the config to out. created: RFC 3339. Errors: INVALID_ARGUMENT for a change that is of no form known, or for a config
 * that is none. */
MUST_CHECK struct error *config_edit(const char *json, const struct image_commit *commit, const char *diff_id,
                                     const char *created, struct buf *out);
