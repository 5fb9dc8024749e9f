/* firewall_elements.h - elements of the sets: whose they are, and the index of what an attachment has.
 *
 * Each element has a comment for people (network/container/interface) and the hash of its owner. An element of the set
 * "attachments" has, behind its comment, whether another follows it, and the sets and keys of what it lists.
 *
 * Threads: one at a time. */
#pragma once
#include "cni/bridge/firewall_schema.h"

#define FW_NETWORK_BYTES 4 /* of an owner's hash */
#define FW_OWNER_BYTES 16
#define FW_COMMENT_BYTES 97

struct fw {
        struct netlink *nl;
        uint32_t schema; /* the highest that the table says; 0: it says none, or is not there */
};

struct fw_element {
        enum fw_set set;
        uint8_t key[NFT_KEY_BYTES], value[NFT_KEY_BYTES];
        size_t message; /* which one of the batch it was put into */
};

struct fw_elements {
        struct fw_element *all;
        size_t n;
};

/* An empty element at the end, until the next is added. */
struct fw_element *fw_elements_add(struct fw_elements *elements, enum fw_set set);
void fw_elements_done(struct fw_elements *elements);

struct fw_owner {
        uint8_t hash[FW_OWNER_BYTES];
        char comment[FW_COMMENT_BYTES]; /* may be cut */
        const char *pod;                /* or NULL */
};
struct fw_owner fw_owner_of(const char *network, const char *container_id, const char *ifname);

/* What the kernel has of an element. */
struct fw_found {
        bool is_there;
        uint8_t key[NFT_KEY_BYTES], value[NFT_KEY_BYTES];
        uint8_t owner[FW_OWNER_BYTES];
        char comment[256], pod[256];
        uint8_t listed[256]; /* of the index */
        size_t listed_bytes;
};

/* Calls each for every element in an answer of the kernel. */
void fw_each_element(const struct nlmsghdr *message, void (*each)(const struct fw_found *, void *),
                     void *context);

/* Puts into a batch: an element, which must not be there yet; its removal, which fails with ENOENT where it is not. */
void fw_put_element(struct netlink *nl, const struct fw_element *e, const struct fw_owner *owner);
void fw_put_removal(struct netlink *nl, const struct fw_element *e);

/* Puts the owner's index of elements and returns how many messages that took. */
size_t fw_put_index(struct netlink *nl, const struct fw_elements *elements, const struct fw_owner *owner);

/* Writes an error to stderr and frees it; NULL is fine. */
void fw_tell(struct error *e);

/* Puts which schema the table inet has; finds it into fw->schema. Errors: INTERNAL; OUT_OF_RANGE for one that is too new. */
void fw_put_schema_number(struct netlink *nl);
MUST_CHECK struct error *fw_find_schema(struct fw *fw);

/* Asks for one element. Errors: INTERNAL. */
MUST_CHECK struct error *fw_find(struct fw *fw, enum fw_set set, const uint8_t *key, struct fw_found *out);

/* Asks for all elements of a set, which is not of a condition; found takes the answers. Errors: INTERNAL. */
MUST_CHECK struct error *fw_find_all(struct fw *fw, enum fw_set set, netlink_found *found, void *context);

/* All that an owner has, its index too; appended. Errors: INTERNAL. */
MUST_CHECK struct error *fw_owned(struct fw *fw, const uint8_t owner[FW_OWNER_BYTES],
                                  struct fw_elements *out);
