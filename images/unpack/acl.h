/* acl.h - an entry's POSIX ACL, as libarchive read it from text, in the form that the kernel's xattrs have.
 * Threads: any. Source: linux/posix_acl_xattr.h. */
#pragma once
#include <stddef.h>

struct archive_entry;

enum { ACL_ENTRIES_MAX = 512, ACL_SIZE_MAX = 4 + 8 * ACL_ENTRIES_MAX };

/* type: ARCHIVE_ENTRY_ACL_TYPE_ACCESS or _DEFAULT. Returns the length, 0 where the entry has no such ACL (or one that
 * cannot be kept: of too many entries, or of names without numbers). */
size_t acl_encode(struct archive_entry *entry, int type, char out[ACL_SIZE_MAX]);
