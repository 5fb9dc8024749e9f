/* firewall_schema.h - the tables of nftables: which sets and maps there are, and the rules that read them.
 *
 *     table inet skiff-bridge (F is 4 or 6; a map's value stands behind the arrow)
 *       attachments          network and attachment as hashes, and a number: the comment of an element tells whose, and
 *                            what is behind it which elements of the others are that attachment's
 *       masqueradeF          addresses of pods whose way out of their subnet is masqueraded
 *       portsF               protocol, port -> address and port of a pod
 *       host_portsF          address, protocol, port -> the same
 *       snatF, host_snatF    the keys of portsF and host_portsF, with a subnet before protocol: what comes from there is
 *                            marked, and masqueraded for it
 *       prerouting, output   to an address of the node: chain ports
 *       postrouting          what is marked is masqueraded
 *       masquerade-SUBNET    a chain a subnet: masqueradeF
 *       mark-BIT-ipF/PREFIX  two chains a length of prefix: snatF and host_snatF
 *       portsF-ID, snatF-ID  as portsF and snatF, of ports with conditions, an address of the node among them
 *       conditions-ID-...    two chains an ID, which is a hash of conditions, address, mark and prefix: what meets them is
 *                            looked up there
 *       schema               the numbers of the schemas that a plugin must know (FW_SCHEMA)
 *     table bridge skiff-bridge
 *       checked, senders     an interface; an interface and the only address that may send there
 *
 * There are no maps to verdicts: the kernel walks all of a table whenever a jump is added, and the program nft aborts where
 * it lists a lookup by what another lookup gave. The chains of subnets, prefixes and conditions are few, and stay until the table
 * goes. */
#pragma once
#include "cni/bridge/address.h"
#include "cni/bridge/firewall_conditions.h"
#include "cni/bridge/nft.h"

#define FW_MARK_BIT 13 /* if nothing else is said, as of the plugin portmap */

/* What a plugin must know to change the tables. A table is given new sets and chains by whoever needs them, and what is in
 * it stays understood; only a change that an older plugin would take for something else counts on. */
#define FW_SCHEMA 1

/* In the index by their numbers, so a new one comes last. Those with a F are followed by that of IPv6. */
enum fw_set {
        FW_ATTACHMENTS,
        FW_MASQUERADE,
        FW_MASQUERADE6,
        FW_PORTS,
        FW_PORTS6,
        FW_SNAT,
        FW_SNAT6,
        FW_HOST_PORTS,
        FW_HOST_PORTS6,
        FW_HOST_SNAT,
        FW_HOST_SNAT6,
        FW_CHECKED,
        FW_SENDERS,
        FW_CONDITION_PORTS,
        FW_CONDITION_PORTS6,
        FW_CONDITION_SNAT,
        FW_CONDITION_SNAT6,
        FW_SCHEMAS,
        FW_SETS
};

struct fw_set_kind {
        const char *name;
        uint8_t family;      /* NFT_INET, NFT_BRIDGE */
        bool of_condition;   /* one an ID, which is the first 4 bytes of a key here and ends its name there */
        uint8_t key_bytes;   /* each part filled up to 4 */
        uint8_t value_bytes; /* 0: a set */
        uint32_t key_type, value_type; /* as the program nft numbers types: for its listings alone */
};
extern const struct fw_set_kind fw_sets[FW_SETS];

#define FW_NAME_BYTES 80

/* The name of the set that an element with this key is in; key may be NULL where it is not of a condition. Returns out. */
char *fw_set_name(enum fw_set set, const uint8_t *key, char out[FW_NAME_BYTES]);

/* Puts into a batch: the table of a family with all that is in it but elements. */
void fw_put_schema(struct netlink *nl, uint8_t family);

/* Put what a subnet has for masquerade; for what comes from a subnet with this prefix and is to be marked. */
void fw_put_network(struct netlink *nl, const struct address *subnet);
void fw_put_mark(struct netlink *nl, const struct address *from, uint32_t mark);

/* What ports with conditions have in common. */
struct fw_group {
        struct fw_conditions conditions;
        struct address host;    /* one address of the node; family 0: all */
        struct address from[2]; /* what comes from there is marked; family 0: none */
        uint32_t mark;
        uint8_t family;
        uint8_t id[4]; /* of all that is above */
};
void fw_group_name(struct fw_group *group); /* sets its id */

/* Puts the sets and chains of a group. */
void fw_put_group(struct netlink *nl, const struct fw_group *group);

/* Whether that is there. Errors: INTERNAL. */
MUST_CHECK struct error *fw_has_network(struct netlink *nl, const struct address *subnet, bool *out);
MUST_CHECK struct error *fw_has_mark(struct netlink *nl, const struct address *from, uint32_t mark,
                                     bool *out);
MUST_CHECK struct error *fw_has_group(struct netlink *nl, const struct fw_group *group, bool *out);

/* The same, and that there are rules in all of its chains: what a hand has flushed forwards nothing. fw_check_schema: in those
 * that every attachment needs. Errors: NOT_FOUND, with the chain; INTERNAL. */
MUST_CHECK struct error *fw_check_schema(struct netlink *nl, uint8_t family);
MUST_CHECK struct error *fw_check_network(struct netlink *nl, const struct address *subnet);
MUST_CHECK struct error *fw_check_mark(struct netlink *nl, const struct address *from, uint32_t mark);
MUST_CHECK struct error *fw_check_group(struct netlink *nl, const struct fw_group *group);
