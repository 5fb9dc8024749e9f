#include "images/unpack/acl.h"
#include <archive.h>
#include <archive_entry.h>
#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int tag_of(int archive_tag)
{
        switch (archive_tag) {
        case ARCHIVE_ENTRY_ACL_USER_OBJ:
                return ACL_USER_OBJ;
        case ARCHIVE_ENTRY_ACL_USER:
                return ACL_USER;
        case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
                return ACL_GROUP_OBJ;
        case ARCHIVE_ENTRY_ACL_GROUP:
                return ACL_GROUP;
        case ARCHIVE_ENTRY_ACL_MASK:
                return ACL_MASK;
        case ARCHIVE_ENTRY_ACL_OTHER:
                return ACL_OTHER;
        default:
                return -1;
        }
}

/* The kernel wants them by tag, then by id. */
static int compare_entries(const void *a, const void *b)
{
        const struct posix_acl_xattr_entry *x = a, *y = b;
        int order = le16toh(x->e_tag) - le16toh(y->e_tag);
        if (order)
                return order;
        return (le32toh(x->e_id) > le32toh(y->e_id)) - (le32toh(x->e_id) < le32toh(y->e_id));
}

/* The kernel takes no entry of a named user or group without a mask; where a builder left it out, it is what its group
 * class has in all (acl_calc_mask(3)). *n grows by one at most. */
static void add_mask(struct posix_acl_xattr_entry *entries, size_t *n)
{
        uint16_t perms = 0;
        bool has_named = false;
        for (size_t i = 0; i < *n; i++) {
                uint16_t tag = le16toh(entries[i].e_tag);
                if (tag == ACL_MASK)
                        return;
                has_named |= tag == ACL_USER || tag == ACL_GROUP;
                if (tag == ACL_USER || tag == ACL_GROUP || tag == ACL_GROUP_OBJ)
                        perms |= le16toh(entries[i].e_perm);
        }
        if (has_named && *n < ACL_ENTRIES_MAX)
                entries[(*n)++] = (struct posix_acl_xattr_entry){ htole16(ACL_MASK), htole16(perms),
                                                                  htole32((uint32_t) ACL_UNDEFINED_ID) };
}

size_t acl_encode(struct archive_entry *entry, int type, char out[ACL_SIZE_MAX])
{
        struct posix_acl_xattr_entry entries[ACL_ENTRIES_MAX];
        size_t n = 0;
        int got_type, permset, tag, id;
        const char *name;
        /* Counts the three of the mode too, which are no ACL when they are alone. */
        if (archive_entry_acl_reset(entry, type) <= 3 && type == ARCHIVE_ENTRY_ACL_TYPE_ACCESS)
                return 0;
        while (archive_entry_acl_next(entry, type, &got_type, &permset, &tag, &id, &name) == ARCHIVE_OK) {
                int has_id = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
                if (tag_of(tag) < 0 || n == ACL_ENTRIES_MAX || (has_id && id < 0))
                        return 0;
                entries[n++] = (struct posix_acl_xattr_entry){
                        .e_tag = htole16((uint16_t) tag_of(tag)),
                        .e_perm = htole16((uint16_t) (permset & 7)),
                        .e_id = htole32(has_id ? (uint32_t) id : (uint32_t) ACL_UNDEFINED_ID),
                };
        }
        if (n == 0)
                return 0;
        add_mask(entries, &n);
        qsort(entries, n, sizeof(entries[0]), compare_entries);
        struct posix_acl_xattr_header header = { .a_version = htole32(POSIX_ACL_XATTR_VERSION) };
        memcpy(out, &header, sizeof(header));
        memcpy(out + sizeof(header), entries, n * sizeof(entries[0]));
        return sizeof(header) + n * sizeof(entries[0]);
}
