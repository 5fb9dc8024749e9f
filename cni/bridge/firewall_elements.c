#include "cni/bridge/firewall_elements.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* What stands in an element's user data: a type, a length, bytes. nft shows the comment and passes over the others. */
enum { NOTE_COMMENT = 0, NOTE_OWNER = 0x40, NOTE_POD = 0x41, NOTE_LIST = 0x42 };
#define NOTES_BYTES ((size_t) 256) /* the kernel's bound */
#define POD_BYTES ((size_t) 120)
#define LIST_BYTES (NOTES_BYTES - 2 - FW_COMMENT_BYTES - 2)

struct fw_element *fw_elements_add(struct fw_elements *elements, enum fw_set set)
{
        /* Doubled at each power of two. */
        if ((elements->n & (elements->n - 1)) == 0)
                elements->all =
                        grow_array(elements->all, elements->n ? 2 * elements->n : 1, sizeof(*elements->all));
        struct fw_element *e = &elements->all[elements->n++];
        *e = (struct fw_element){ .set = set };
        return e;
}

void fw_elements_done(struct fw_elements *elements)
{
        free(elements->all);
        *elements = (struct fw_elements){ 0 };
}

/* FNV-1a: nobody gains by two attachments of one hash, and by accident it takes 2^48 of them. */
static unsigned __int128 hash_add(unsigned __int128 hash, const char *word)
{
        const unsigned __int128 prime = (unsigned __int128) 1 << 88 | 0x13b;
        do
                hash = (hash ^ (uint8_t) *word) * prime;
        while (*word++);
        return hash;
}

struct fw_owner fw_owner_of(const char *network, const char *container_id, const char *ifname)
{
        const unsigned __int128 basis = (unsigned __int128) 0x6c62272e07bb0142 << 64 | 0x62b821756295c58d;
        struct fw_owner owner = { .pod = NULL };
        unsigned __int128 of_network = hash_add(basis, network);
        unsigned __int128 of_all = hash_add(hash_add(of_network, container_id), ifname);
        memcpy(owner.hash, &of_network, FW_NETWORK_BYTES);
        memcpy(owner.hash + FW_NETWORK_BYTES, &of_all, FW_OWNER_BYTES - FW_NETWORK_BYTES);
        (void) snprintf(owner.comment, sizeof(owner.comment), "%s/%s/%s", network, container_id, ifname);
        return owner;
}

/* The set is that of a key, which counts where there is one a condition. */
static void put_head(struct netlink *nl, uint8_t type, uint16_t flags, enum fw_set set, const uint8_t *key)
{
        char name[FW_NAME_BYTES];
        nft_begin(nl, type, flags, fw_sets[set].family);
        netlink_put_text(nl, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_SET_ELEM_LIST_SET, fw_set_name(set, key, name));
}

static void put_note(uint8_t *notes, size_t *len_bytes, uint8_t type, const void *bytes, size_t n_bytes)
{
        notes[(*len_bytes)++] = type;
        notes[(*len_bytes)++] = (uint8_t) n_bytes;
        memcpy(notes + *len_bytes, bytes, n_bytes);
        *len_bytes += n_bytes;
}

static void put_one(struct netlink *nl, uint8_t type, uint16_t flags, const struct fw_element *e,
                    const uint8_t *notes, size_t notes_bytes)
{
        const struct fw_set_kind *set = &fw_sets[e->set];
        size_t id_bytes = set->of_condition ? 4 : 0;
        put_head(nl, type, flags, e->set, e->key);
        size_t list = netlink_nest(nl, NFTA_SET_ELEM_LIST_ELEMENTS);
        size_t element = netlink_nest(nl, NFTA_LIST_ELEM);
        nft_put_data(nl, NFTA_SET_ELEM_KEY, e->key + id_bytes, set->key_bytes - id_bytes);
        if (notes && set->value_bytes)
                nft_put_data(nl, NFTA_SET_ELEM_DATA, e->value, set->value_bytes);
        if (notes)
                netlink_put(nl, NFTA_SET_ELEM_USERDATA, notes, notes_bytes);
        netlink_nest_end(nl, element);
        netlink_nest_end(nl, list);
}

void fw_put_element(struct netlink *nl, const struct fw_element *e, const struct fw_owner *owner)
{
        uint8_t notes[NOTES_BYTES];
        size_t len_bytes = 0;
        put_note(notes, &len_bytes, NOTE_COMMENT, owner->comment, strlen(owner->comment) + 1);
        put_note(notes, &len_bytes, NOTE_OWNER, owner->hash, FW_OWNER_BYTES);
        if (owner->pod)
                put_note(notes, &len_bytes, NOTE_POD, owner->pod, strnlen(owner->pod, POD_BYTES));
        put_one(nl, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, e, notes, len_bytes);
}

void fw_put_removal(struct netlink *nl, const struct fw_element *e)
{
        put_one(nl, NFT_MSG_DELSETELEM, 0, e, NULL, 0);
}

static void index_key(const uint8_t owner[FW_OWNER_BYTES], uint32_t number, uint8_t *key)
{
        number = htonl(number);
        memcpy(key, owner, FW_OWNER_BYTES);
        memcpy(key + FW_OWNER_BYTES, &number, sizeof(number));
}

/* The sets and keys of elements from *i on, as many as there is room for. */
static size_t list_of(const struct fw_elements *elements, size_t *i, uint8_t list[LIST_BYTES])
{
        size_t len_bytes = 1;
        list[0] = 0;
        for (; *i < elements->n; (*i)++) {
                const struct fw_element *e = &elements->all[*i];
                size_t key_bytes = fw_sets[e->set].key_bytes;
                if (len_bytes + 1 + key_bytes > LIST_BYTES) {
                        list[0] = 1;
                        break;
                }
                list[len_bytes++] = (uint8_t) e->set;
                memcpy(list + len_bytes, e->key, key_bytes);
                len_bytes += key_bytes;
        }
        return len_bytes;
}

size_t fw_put_index(struct netlink *nl, const struct fw_elements *elements, const struct fw_owner *owner)
{
        uint8_t list[LIST_BYTES], notes[NOTES_BYTES];
        size_t i = 0, n_messages = 0;
        do {
                struct fw_element e = { .set = FW_ATTACHMENTS };
                size_t len_bytes = 0, list_bytes = list_of(elements, &i, list);
                index_key(owner->hash, (uint32_t) n_messages++, e.key);
                put_note(notes, &len_bytes, NOTE_COMMENT, owner->comment, strlen(owner->comment) + 1);
                put_note(notes, &len_bytes, NOTE_LIST, list, list_bytes);
                put_one(nl, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, &e, notes, len_bytes);
        } while (i < elements->n);
        return n_messages;
}

static void read_notes(const uint8_t *notes, size_t len_bytes, struct fw_found *out)
{
        while (len_bytes >= 2 && notes[1] <= len_bytes - 2) {
                size_t n_bytes = notes[1];
                const uint8_t *bytes = notes + 2;
                if (notes[0] == NOTE_COMMENT)
                        (void) snprintf(out->comment, sizeof(out->comment), "%.*s", (int) n_bytes,
                                        (const char *) bytes);
                if (notes[0] == NOTE_POD)
                        (void) snprintf(out->pod, sizeof(out->pod), "%.*s", (int) n_bytes,
                                        (const char *) bytes);
                if (notes[0] == NOTE_OWNER && n_bytes == FW_OWNER_BYTES)
                        memcpy(out->owner, bytes, n_bytes);
                if (notes[0] == NOTE_LIST) {
                        memcpy(out->listed, bytes, n_bytes);
                        out->listed_bytes = n_bytes;
                }
                notes = bytes + n_bytes;
                len_bytes -= 2 + n_bytes;
        }
}

/* The attribute inside another one. */
static const struct nlattr *inside(const struct nlattr *outer, uint16_t type)
{
        return outer ? netlink_attribute(netlink_value(outer), netlink_length(outer), type) : NULL;
}

static void read_data(const struct nlattr *data, uint8_t out[NFT_KEY_BYTES])
{
        const struct nlattr *value = inside(data, NFTA_DATA_VALUE);
        if (value && netlink_length(value) <= NFT_KEY_BYTES)
                memcpy(out, netlink_value(value), netlink_length(value));
}

static void read_element(const struct nlattr *element, struct fw_found *out)
{
        *out = (struct fw_found){ .is_there = true };
        read_data(inside(element, NFTA_SET_ELEM_KEY), out->key);
        read_data(inside(element, NFTA_SET_ELEM_DATA), out->value);
        const struct nlattr *notes = inside(element, NFTA_SET_ELEM_USERDATA);
        if (notes)
                read_notes(netlink_value(notes), netlink_length(notes), out);
}

void fw_each_element(const struct nlmsghdr *message, void (*each)(const struct fw_found *, void *),
                     void *context)
{
        size_t fixed_bytes = sizeof(*message) + sizeof(struct nfgenmsg);
        if (message->nlmsg_len < fixed_bytes ||
            message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
                return;
        const struct nlattr *list =
                netlink_attribute((const char *) message + fixed_bytes, message->nlmsg_len - fixed_bytes,
                                  NFTA_SET_ELEM_LIST_ELEMENTS);
        const char *at = list ? netlink_value(list) : NULL;
        size_t len_bytes = list ? netlink_length(list) : 0;
        const struct nlattr *element;
        while (len_bytes && (element = netlink_attribute(at, len_bytes, NFTA_LIST_ELEM))) {
                struct fw_found found;
                read_element(element, &found);
                each(&found, context);
                size_t step_bytes =
                        (size_t) ((const char *) element - at) + (size_t) NLA_ALIGN(element->nla_len);
                len_bytes = step_bytes < len_bytes ? len_bytes - step_bytes : 0;
                at += step_bytes;
        }
}

static void keep_found(const struct fw_found *found, void *out)
{
        *(struct fw_found *) out = *found;
}

static void read_found(const struct nlmsghdr *message, void *out)
{
        fw_each_element(message, keep_found, out);
}

struct error *fw_find(struct fw *fw, enum fw_set set, const uint8_t *key, struct fw_found *out)
{
        struct fw_element e = { .set = set };
        int errnum = 0;
        memcpy(e.key, key, fw_sets[set].key_bytes);
        put_one(fw->nl, NFT_MSG_GETSETELEM, 0, &e, NULL, 0);
        *out = (struct fw_found){ .is_there = false };
        TRY(netlink_ask(fw->nl, read_found, out, &errnum));
        /* No table is no element either. */
        if (errnum && errnum != ENOENT)
                return error_errno(errnum, "nftables: look into %s", fw_sets[set].name);
        return NULL;
}

struct error *fw_find_all(struct fw *fw, enum fw_set set, netlink_found *found, void *context)
{
        int errnum = 0;
        put_head(fw->nl, NFT_MSG_GETSETELEM, NLM_F_DUMP, set, NULL);
        TRY(netlink_ask(fw->nl, found, context, &errnum));
        if (errnum && errnum != ENOENT)
                return error_errno(errnum, "nftables: list %s", fw_sets[set].name);
        return NULL;
}

static void add_listed(const struct fw_found *index, struct fw_elements *out)
{
        for (size_t at = 1; at < index->listed_bytes;) {
                unsigned set = index->listed[at++];
                if (set >= FW_SETS || index->listed_bytes - at < fw_sets[set].key_bytes)
                        return; /* of another version */
                memcpy(fw_elements_add(out, set)->key, index->listed + at, fw_sets[set].key_bytes);
                at += fw_sets[set].key_bytes;
        }
}

struct error *fw_owned(struct fw *fw, const uint8_t owner[FW_OWNER_BYTES], struct fw_elements *out)
{
        struct fw_found index = { .listed = { 1 }, .listed_bytes = 1 };
        for (uint32_t number = 0; index.listed_bytes && index.listed[0]; number++) {
                uint8_t key[NFT_KEY_BYTES] = { 0 };
                index_key(owner, number, key);
                TRY(fw_find(fw, FW_ATTACHMENTS, key, &index));
                if (!index.is_there)
                        break;
                memcpy(fw_elements_add(out, FW_ATTACHMENTS)->key, key, sizeof(key));
                add_listed(&index, out);
        }
        return NULL;
}

void fw_tell(struct error *e)
{
        if (e)
                (void) fprintf(stderr, "skiff-bridge: %s\n", error_message(e));
        error_free(e);
}

void fw_put_schema_number(struct netlink *nl)
{
        const uint32_t number = htonl(FW_SCHEMA);
        struct fw_element e = { .set = FW_SCHEMAS };
        memcpy(e.key, &number, sizeof(number));
        put_one(nl, NFT_MSG_NEWSETELEM, NLM_F_CREATE, &e, NULL, 0);
}

static void note_schema(const struct fw_found *found, void *context)
{
        struct fw *fw = context;
        uint32_t number;
        memcpy(&number, found->key, sizeof(number));
        if (ntohl(number) > fw->schema)
                fw->schema = ntohl(number);
}

static void note_schemas(const struct nlmsghdr *message, void *context)
{
        fw_each_element(message, note_schema, context);
}

struct error *fw_find_schema(struct fw *fw)
{
        fw->schema = 0;
        TRY(fw_find_all(fw, FW_SCHEMAS, note_schemas, fw));
        if (fw->schema > FW_SCHEMA)
                return error_new(ERROR_OUT_OF_RANGE,
                                 "nftables: the table inet " NFT_TABLE
                                 " was made by a newer skiff-bridge (schema %u; this one knows %u)",
                                 fw->schema, FW_SCHEMA);
        return NULL;
}
