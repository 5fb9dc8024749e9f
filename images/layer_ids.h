/* layer_ids.h - what the ids of a user namespace's files are inside of it.
 *
 * Threads: any. Source: user_namespaces(7); acl(5) and linux/posix_acl_xattr.h; linux/capability.h. */
#pragma once
#include "images/layer_tar.h"
#include <stddef.h>
#include <stdint.h>

/* An owner as the namespace sees it (layer_tar_write). */
uint32_t layer_id_of(struct layer_ids ids, uint32_t id);

/* Changes the value of an extended attribute that holds ids, in place, to what it is inside; returns its length, which may be
 * less. What is not of a form that is known stays as it is. */
size_t layer_attribute_of(struct layer_ids ids, const char *name, char *value, size_t len_bytes);
