#include "images/layer_ids.h"
#include <endian.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

#define OVERFLOW_ID 65534 /* what the kernel shows for an id that a namespace does not have */

uint32_t layer_id_of(struct layer_ids ids, uint32_t id)
{
        if (ids.n == 0)
                return id;
        if (id >= ids.first && id - ids.first < ids.n)
                return id - ids.first;
        return id == 0 ? 0 : OVERFLOW_ID;
}

/* The third form says whose root may use them; in the second it is whoever's root reads it. */
static size_t capability_of(char *value, size_t len_bytes)
{
        struct vfs_ns_cap_data data;
        if (len_bytes != XATTR_CAPS_SZ_3)
                return len_bytes;
        memcpy(&data, value, sizeof(data));
        uint32_t magic = le32toh(data.magic_etc);
        if ((magic & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_3)
                return len_bytes;
        data.magic_etc = htole32((magic & ~(uint32_t) VFS_CAP_REVISION_MASK) | VFS_CAP_REVISION_2);
        memcpy(value, &data, XATTR_CAPS_SZ_2);
        return XATTR_CAPS_SZ_2;
}

static void acl_of(struct layer_ids ids, char *value, size_t len_bytes)
{
        struct posix_acl_xattr_entry entry;
        for (size_t at = sizeof(struct posix_acl_xattr_header); at + sizeof(entry) <= len_bytes;
             at += sizeof(entry)) {
                memcpy(&entry, value + at, sizeof(entry));
                uint16_t tag = le16toh(entry.e_tag);
                if (tag != ACL_USER && tag != ACL_GROUP)
                        continue;
                entry.e_id = htole32(layer_id_of(ids, le32toh(entry.e_id)));
                memcpy(value + at, &entry, sizeof(entry));
        }
}

size_t layer_attribute_of(struct layer_ids ids, const char *name, char *value, size_t len_bytes)
{
        if (ids.n == 0)
                return len_bytes;
        if (strcmp(name, "security.capability") == 0)
                return capability_of(value, len_bytes);
        if (strncmp(name, "system.posix_acl_", strlen("system.posix_acl_")) == 0)
                acl_of(ids, value, len_bytes);
        return len_bytes;
}
