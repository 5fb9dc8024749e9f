#include "cni/bridge/firewall_schema.h"
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define CHAIN_BYTES FW_NAME_BYTES

/* Types of libnftables, and its way to number a concatenation. */
enum { IPV4 = 7, IPV6 = 8, ETHER = 9, PROTOCOL = 12, SERVICE = 13, MARK = 19, IFNAME = 41 };
#define CONCAT2(a, b) ((uint32_t) (a) << 6 | (b))
#define CONCAT3(a, b, c) (CONCAT2(a, b) << 6 | (c))

const struct fw_set_kind fw_sets[FW_SETS] = {
        [FW_ATTACHMENTS] = { "attachments", NFT_INET, false, 20, 0,
                             CONCAT2(MARK, MARK) << 18 | CONCAT3(MARK, MARK, MARK), 0 },
        [FW_MASQUERADE] = { "masquerade4", NFT_INET, false, 4, 0, IPV4, 0 },
        [FW_MASQUERADE6] = { "masquerade6", NFT_INET, false, 16, 0, IPV6, 0 },
        [FW_PORTS] = { "ports4", NFT_INET, false, 8, 8, CONCAT2(PROTOCOL, SERVICE), CONCAT2(IPV4, SERVICE) },
        [FW_PORTS6] = { "ports6", NFT_INET, false, 8, 20, CONCAT2(PROTOCOL, SERVICE),
                        CONCAT2(IPV6, SERVICE) },
        [FW_SNAT] = { "snat4", NFT_INET, false, 12, 0, CONCAT3(IPV4, PROTOCOL, SERVICE), 0 },
        [FW_SNAT6] = { "snat6", NFT_INET, false, 24, 0, CONCAT3(IPV6, PROTOCOL, SERVICE), 0 },
        [FW_HOST_PORTS] = { "host_ports4", NFT_INET, false, 12, 8, CONCAT3(IPV4, PROTOCOL, SERVICE),
                            CONCAT2(IPV4, SERVICE) },
        [FW_HOST_PORTS6] = { "host_ports6", NFT_INET, false, 24, 20, CONCAT3(IPV6, PROTOCOL, SERVICE),
                             CONCAT2(IPV6, SERVICE) },
        [FW_HOST_SNAT] = { "host_snat4", NFT_INET, false, 16, 0,
                           IPV4 << 18 | CONCAT3(IPV4, PROTOCOL, SERVICE), 0 },
        [FW_HOST_SNAT6] = { "host_snat6", NFT_INET, false, 40, 0,
                            IPV6 << 18 | CONCAT3(IPV6, PROTOCOL, SERVICE), 0 },
        [FW_CHECKED] = { "checked", NFT_BRIDGE, false, 16, 0, IFNAME, 0 },
        [FW_SENDERS] = { "senders", NFT_BRIDGE, false, 24, 0, CONCAT2(IFNAME, ETHER), 0 },
        [FW_CONDITION_PORTS] = { "ports4", NFT_INET, true, 12, 8, CONCAT2(PROTOCOL, SERVICE),
                                 CONCAT2(IPV4, SERVICE) },
        [FW_CONDITION_PORTS6] = { "ports6", NFT_INET, true, 12, 20, CONCAT2(PROTOCOL, SERVICE),
                                  CONCAT2(IPV6, SERVICE) },
        [FW_CONDITION_SNAT] = { "snat4", NFT_INET, true, 16, 0, CONCAT3(IPV4, PROTOCOL, SERVICE), 0 },
        [FW_CONDITION_SNAT6] = { "snat6", NFT_INET, true, 28, 0, CONCAT3(IPV6, PROTOCOL, SERVICE), 0 },
        [FW_SCHEMAS] = { "schema", NFT_INET, false, 4, 0, MARK, 0 },
};

/* Of one family of addresses: where they stand in a packet, the sets. */
struct ip {
        uint8_t nfproto;
        uint32_t len_bytes, source_at, destination_at;
        unsigned set; /* added to a set's number */
};
static const struct ip ips[] = { { NFT_IPV4, 4, 12, 16, 0 }, { NFT_IPV6, 16, 8, 24, 1 } };

static const struct ip *ip_of(const struct address *a)
{
        return &ips[a->family == AF_INET6];
}

static const char *set_name(const struct ip *ip, enum fw_set set)
{
        return fw_sets[set + ip->set].name;
}

char *fw_set_name(enum fw_set set, const uint8_t *key, char out[FW_NAME_BYTES])
{
        if (key && fw_sets[set].of_condition)
                (void) snprintf(out, FW_NAME_BYTES, "%s-%02x%02x%02x%02x", fw_sets[set].name, key[0], key[1],
                                key[2], key[3]);
        else
                (void) snprintf(out, FW_NAME_BYTES, "%s", fw_sets[set].name);
        return out;
}

static void mask_of(const struct address *subnet, uint8_t out[16])
{
        memset(out, 0, 16);
        for (unsigned bit = 0; bit < subnet->prefix; bit++)
                out[bit / 8] |= (uint8_t) (0x80 >> bit % 8);
}

static void chain_name(const char *what, const struct address *subnet, char out[CHAIN_BYTES])
{
        struct address network = address_network(subnet);
        size_t len_bytes = 0;
        (void) snprintf(out, CHAIN_BYTES, "%s-", what);
        /* No text of IPv6: a colon is nothing that a name in nft's language may have. */
        for (unsigned i = 0; i < address_length(&network); i++) {
                len_bytes = strlen(out);
                (void) snprintf(out + len_bytes, CHAIN_BYTES - len_bytes,
                                network.family == AF_INET ? i ? ".%u" : "%u" : "%02x", network.bytes[i]);
        }
        len_bytes = strlen(out);
        (void) snprintf(out + len_bytes, CHAIN_BYTES - len_bytes, "/%u", network.prefix);
}

static void mark_chain_name(const struct address *from, uint32_t mark, const char *hook,
                            char out[CHAIN_BYTES])
{
        (void) snprintf(out, CHAIN_BYTES, "mark-%x-ip%s/%u-%s", mark, from->family == AF_INET6 ? "6" : "4",
                        from->prefix, hook);
}

static void put_table(struct netlink *nl, uint8_t family)
{
        nft_begin(nl, NFT_MSG_NEWTABLE, NLM_F_CREATE, family);
        netlink_put_text(nl, NFTA_TABLE_NAME, NFT_TABLE);
        nft_put_u32(nl, NFTA_TABLE_FLAGS, 0);
}

/* A set that is made has a number within its batch, by which nothing here is named. */
static uint32_t next_set_number(const struct netlink *nl)
{
        return (uint32_t) netlink_begun(nl);
}

/* One of a condition has its ID. */
static void put_set(struct netlink *nl, enum fw_set number, const uint8_t *id)
{
        char name[FW_NAME_BYTES];
        /* The order of bytes in key and value, as nft notes it for its own listings: 2 is the network's. */
        uint8_t notes[12] = { 0, 4, [6] = 1, 4 };
        const struct fw_set_kind *set = &fw_sets[number];
        uint32_t order = set->key_type == IPV4 || set->key_type == IPV6 ? 2 : 0;
        memcpy(notes + 2, &order, sizeof(order));
        nft_begin(nl, NFT_MSG_NEWSET, NLM_F_CREATE, set->family);
        netlink_put_text(nl, NFTA_SET_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_SET_NAME, fw_set_name(number, id, name));
        nft_put_u32(nl, NFTA_SET_ID, next_set_number(nl));
        nft_put_u32(nl, NFTA_SET_FLAGS, set->value_bytes ? NFT_SET_MAP : 0);
        nft_put_u32(nl, NFTA_SET_KEY_TYPE, set->key_type);
        nft_put_u32(nl, NFTA_SET_KEY_LEN, set->key_bytes - (set->of_condition ? 4U : 0));
        if (set->value_bytes) {
                nft_put_u32(nl, NFTA_SET_DATA_TYPE, set->value_type);
                nft_put_u32(nl, NFTA_SET_DATA_LEN, set->value_bytes);
        }
        netlink_put(nl, NFTA_SET_USERDATA, notes, sizeof(notes));
}

/* Makes a chain, or empties it: the rules that follow are then all that it has. */
static void put_chain(struct netlink *nl, uint8_t family, const char *name, const char *type, uint32_t hook,
                      int32_t priority)
{
        nft_begin(nl, NFT_MSG_NEWCHAIN, NLM_F_CREATE, family);
        netlink_put_text(nl, NFTA_CHAIN_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_CHAIN_NAME, name);
        if (type) {
                size_t nest = netlink_nest(nl, NFTA_CHAIN_HOOK);
                nft_put_u32(nl, NFTA_HOOK_HOOKNUM, hook);
                nft_put_u32(nl, NFTA_HOOK_PRIORITY, (uint32_t) priority);
                netlink_nest_end(nl, nest);
                netlink_put_text(nl, NFTA_CHAIN_TYPE, type);
        }
        nft_begin(nl, NFT_MSG_DELRULE, 0, family);
        netlink_put_text(nl, NFTA_RULE_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_RULE_CHAIN, name);
}

static struct nft_rule ip_rule(struct netlink *nl, const struct ip *ip, const char *chain)
{
        struct nft_rule rule = nft_rule_begin(nl, NFT_INET, chain);
        nft_meta(&rule, NFT_META_NFPROTO, 0);
        nft_compare(&rule, 0, NFT_CMP_EQ, &ip->nfproto, 1);
        return rule;
}

static void put_local_rule(struct netlink *nl, const char *chain)
{
        static const uint32_t local = RTN_LOCAL;
        struct nft_rule rule = nft_rule_begin(nl, NFT_INET, chain);
        nft_destination_type(&rule, 0);
        nft_compare(&rule, 0, NFT_CMP_EQ, &local, sizeof(local));
        nft_verdict(&rule, NFT_JUMP, "ports");
        nft_rule_end(&rule);
}

/* The key of a port, with the destination before it if it is for one address, from register 0 on; returns the next free. */
static uint32_t put_port_key(const struct nft_rule *rule, const struct ip *ip, bool one_address)
{
        uint32_t reg = 0;
        if (one_address) {
                nft_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, ip->destination_at, ip->len_bytes, 0);
                reg = ip->len_bytes / 4;
        }
        nft_meta(rule, NFT_META_L4PROTO, reg);
        nft_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg + 1);
        return reg + 2;
}

static void put_port_rules(struct netlink *nl, const struct ip *ip, bool one_address)
{
        struct nft_rule rule = ip_rule(nl, ip, "ports");
        uint32_t reg = put_port_key(&rule, ip, one_address);
        nft_lookup_value(&rule, set_name(ip, one_address ? FW_HOST_PORTS : FW_PORTS), 0, reg);
        nft_dnat(&rule, ip->nfproto, reg, reg + ip->len_bytes / 4);
        nft_rule_end(&rule);
}

/* The kernel routes nothing from ::1 to another interface: who listens there keeps being heard. */
static void put_loopback6_rule(struct netlink *nl, const char *chain)
{
        static const uint8_t loopback[16] = { [15] = 1 };
        struct nft_rule rule = ip_rule(nl, &ips[1], chain);
        nft_payload(&rule, NFT_PAYLOAD_NETWORK_HEADER, ips[1].destination_at, sizeof(loopback), 0);
        nft_compare(&rule, 0, NFT_CMP_EQ, loopback, sizeof(loopback));
        nft_verdict(&rule, NFT_RETURN, NULL);
        nft_rule_end(&rule);
}

static void put_marked_rule(struct netlink *nl, const char *chain, uint32_t mark)
{
        static const uint32_t none = 0;
        struct nft_rule rule = nft_rule_begin(nl, NFT_INET, chain);
        nft_meta(&rule, NFT_META_MARK, 0);
        nft_bitwise(&rule, 0, &mark, &none, sizeof(mark));
        nft_compare(&rule, 0, NFT_CMP_EQ, &mark, sizeof(mark));
        nft_masquerade(&rule);
        nft_rule_end(&rule);
}

/* The chain of a mark; false for the usual one, which is in that of all. */
static bool mark_masquerade_name(uint32_t mark, char out[CHAIN_BYTES])
{
        (void) snprintf(out, CHAIN_BYTES, "postrouting-%x", mark);
        return mark != 1U << FW_MARK_BIT;
}

static void put_mark_masquerade(struct netlink *nl, uint32_t mark)
{
        char chain[CHAIN_BYTES];
        if (!mark_masquerade_name(mark, chain))
                return;
        put_chain(nl, NFT_INET, chain, "nat", NFT_POSTROUTING, 99);
        put_marked_rule(nl, chain, mark);
}

static void put_sender_rule(struct netlink *nl)
{
        struct nft_rule rule = nft_rule_begin(nl, NFT_BRIDGE, "prerouting");
        nft_meta(&rule, NFT_META_IIFNAME, 0);
        nft_lookup(&rule, fw_sets[FW_CHECKED].name, 0);
        nft_payload(&rule, NFT_PAYLOAD_LL_HEADER, 6, 6, 4);
        nft_lookup_missing(&rule, fw_sets[FW_SENDERS].name, 0);
        nft_verdict(&rule, NFT_DROP, NULL);
        nft_rule_end(&rule);
}

void fw_put_schema(struct netlink *nl, uint8_t family)
{
        put_table(nl, family);
        for (unsigned set = 0; set < FW_SETS; set++)
                if (fw_sets[set].family == family && !fw_sets[set].of_condition)
                        put_set(nl, set, NULL);
        if (family == NFT_BRIDGE) {
                put_chain(nl, family, "prerouting", "filter", NFT_PREROUTING, -300);
                put_sender_rule(nl);
                return;
        }
        put_chain(nl, family, "ports", NULL, 0, 0);
        put_loopback6_rule(nl, "ports");
        for (size_t i = 0; i < LENGTH(ips); i++) {
                put_port_rules(nl, &ips[i], true);
                put_port_rules(nl, &ips[i], false);
        }
        /* Behind those of a Service, which are at -100. */
        put_chain(nl, family, "prerouting", "nat", NFT_PREROUTING, -99);
        put_local_rule(nl, "prerouting");
        put_chain(nl, family, "output", "nat", NFT_OUTPUT, -99);
        put_local_rule(nl, "output");
        put_chain(nl, family, "postrouting", "nat", NFT_POSTROUTING, 100);
        put_marked_rule(nl, "postrouting", 1U << FW_MARK_BIT);
}

/* Goes on if the address at offset lies, or does not lie, in the subnet. */
static void put_within(const struct nft_rule *rule, const struct ip *ip, uint32_t offset, uint32_t op,
                       const struct address *subnet)
{
        static const uint8_t none[16];
        uint8_t mask[16];
        struct address network = address_network(subnet);
        mask_of(subnet, mask);
        nft_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offset, ip->len_bytes, 0);
        nft_bitwise(rule, 0, mask, none, ip->len_bytes);
        nft_compare(rule, 0, op, network.bytes, ip->len_bytes);
}

static void put_condition(const struct nft_rule *rule, const struct ip *ip, const struct fw_condition *c)
{
        uint32_t op = c->differs ? NFT_CMP_NEQ : NFT_CMP_EQ;
        size_t name_bytes = c->is_beginning ? strlen(c->name) : sizeof(c->name);
        if (c->kind != FW_INTERFACE) {
                put_within(rule, ip, c->kind == FW_SOURCE ? ip->source_at : ip->destination_at, op,
                           &c->address);
        } else {
                nft_meta(rule, NFT_META_IIFNAME, 0);
                nft_compare(rule, 0, op, c->name, name_bytes);
        }
}

/* A rule for what goes to an address of the node and meets all conditions. */
static struct nft_rule group_rule(struct netlink *nl, const struct fw_group *group, const char *chain)
{
        static const uint32_t local = RTN_LOCAL;
        const struct ip *ip = &ips[group->family == AF_INET6];
        struct nft_rule rule = ip_rule(nl, ip, chain);
        nft_destination_type(&rule, 0);
        nft_compare(&rule, 0, NFT_CMP_EQ, &local, sizeof(local));
        if (group->host.family)
                put_within(&rule, ip, ip->destination_at, NFT_CMP_EQ, &group->host);
        for (size_t i = 0; i < group->conditions.n; i++)
                put_condition(&rule, ip, &group->conditions.all[i]);
        return rule;
}

static void put_group_mark(struct netlink *nl, const struct fw_group *group, const char *chain,
                           const struct address *from)
{
        static const uint8_t none[16];
        const struct ip *ip = ip_of(from);
        uint8_t mask[16];
        char set[FW_NAME_BYTES];
        uint32_t others = ~group->mark, reg = ip->len_bytes / 4;
        struct nft_rule rule = group_rule(nl, group, chain);
        mask_of(from, mask);
        nft_payload(&rule, NFT_PAYLOAD_NETWORK_HEADER, ip->source_at, ip->len_bytes, 0);
        nft_bitwise(&rule, 0, mask, none, ip->len_bytes);
        nft_meta(&rule, NFT_META_L4PROTO, reg);
        nft_payload(&rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg + 1);
        nft_lookup(&rule, fw_set_name(FW_CONDITION_SNAT + ip->set, group->id, set), 0);
        nft_meta(&rule, NFT_META_MARK, 0);
        nft_bitwise(&rule, 0, &others, &group->mark, sizeof(group->mark));
        nft_set_mark(&rule, 0);
        nft_rule_end(&rule);
}

static void group_chain_name(const struct fw_group *group, const char *hook, char out[CHAIN_BYTES])
{
        (void) snprintf(out, CHAIN_BYTES, "conditions-%02x%02x%02x%02x-%s", group->id[0], group->id[1],
                        group->id[2], group->id[3], hook);
}

static void put_group_chain(struct netlink *nl, const struct fw_group *group, const char *hook,
                            uint32_t number)
{
        const struct ip *ip = &ips[group->family == AF_INET6];
        char chain[CHAIN_BYTES], map[FW_NAME_BYTES];
        group_chain_name(group, hook, chain);
        put_chain(nl, NFT_INET, chain, "nat", number, -99);
        if (group->family == AF_INET6)
                put_loopback6_rule(nl, chain);
        for (size_t i = 0; i < LENGTH(group->from); i++)
                if (group->from[i].family)
                        put_group_mark(nl, group, chain, &group->from[i]);
        struct nft_rule rule = group_rule(nl, group, chain);
        uint32_t reg = put_port_key(&rule, ip, false);
        nft_lookup_value(&rule, fw_set_name(FW_CONDITION_PORTS + ip->set, group->id, map), 0, reg);
        nft_dnat(&rule, ip->nfproto, reg, reg + ip->len_bytes / 4);
        nft_rule_end(&rule);
}

void fw_put_group(struct netlink *nl, const struct fw_group *group)
{
        const struct ip *ip = &ips[group->family == AF_INET6];
        put_set(nl, FW_CONDITION_PORTS + ip->set, group->id);
        put_set(nl, FW_CONDITION_SNAT + ip->set, group->id);
        put_group_chain(nl, group, "prerouting", NFT_PREROUTING);
        put_group_chain(nl, group, "output", NFT_OUTPUT);
        put_mark_masquerade(nl, group->mark);
}

static void hash_bytes(uint32_t *hash, const void *bytes, size_t len_bytes)
{
        for (size_t i = 0; i < len_bytes; i++)
                *hash = (*hash ^ ((const uint8_t *) bytes)[i]) * 16777619U;
}

static void hash_address(uint32_t *hash, const struct address *a)
{
        hash_bytes(hash, &a->family, 1);
        hash_bytes(hash, &a->prefix, 1);
        hash_bytes(hash, a->bytes, sizeof(a->bytes));
}

void fw_group_name(struct fw_group *group)
{
        uint32_t hash = 2166136261U; /* FNV-1a */
        hash_bytes(&hash, &group->family, 1);
        hash_bytes(&hash, &group->mark, sizeof(group->mark));
        hash_address(&hash, &group->host);
        for (size_t i = 0; i < LENGTH(group->from); i++) {
                hash_bytes(&hash, &group->from[i].family, 1);
                hash_bytes(&hash, &group->from[i].prefix, 1);
        }
        for (size_t i = 0; i < group->conditions.n; i++) {
                const struct fw_condition *c = &group->conditions.all[i];
                uint8_t what[] = { (uint8_t) c->kind, c->differs, c->is_beginning };
                hash_bytes(&hash, what, sizeof(what));
                hash_address(&hash, &c->address);
                hash_bytes(&hash, c->name, sizeof(c->name));
        }
        for (unsigned i = 0; i < sizeof(group->id); i++)
                group->id[i] = (uint8_t) (hash >> 8 * i);
}

void fw_put_network(struct netlink *nl, const struct address *subnet)
{
        static const struct address multicast[] = {
                { .family = AF_INET, .bytes = { 224 }, .prefix = 4 },
                { .family = AF_INET6, .bytes = { 0xff }, .prefix = 8 },
        };
        const struct ip *ip = ip_of(subnet);
        char chain[CHAIN_BYTES];
        chain_name("masquerade", subnet, chain);
        put_chain(nl, NFT_INET, chain, "nat", NFT_POSTROUTING, 100);
        struct nft_rule rule = ip_rule(nl, ip, chain);
        put_within(&rule, ip, ip->destination_at, NFT_CMP_EQ, subnet);
        nft_verdict(&rule, NFT_RETURN, NULL);
        nft_rule_end(&rule);
        rule = ip_rule(nl, ip, chain);
        put_within(&rule, ip, ip->source_at, NFT_CMP_EQ, subnet);
        put_within(&rule, ip, ip->destination_at, NFT_CMP_NEQ, &multicast[ip->set]);
        nft_payload(&rule, NFT_PAYLOAD_NETWORK_HEADER, ip->source_at, ip->len_bytes, 0);
        nft_lookup(&rule, set_name(ip, FW_MASQUERADE), 0);
        nft_masquerade(&rule);
        nft_rule_end(&rule);
}

static void put_mark_rule(struct netlink *nl, const char *chain, const struct address *from, uint32_t mark,
                          bool one_address)
{
        static const uint32_t local = RTN_LOCAL;
        static const uint8_t none[16];
        const struct ip *ip = ip_of(from);
        uint8_t mask[16];
        uint32_t others = ~mark, reg = 0;
        struct nft_rule rule = ip_rule(nl, ip, chain);
        mask_of(from, mask);
        nft_destination_type(&rule, 0);
        nft_compare(&rule, 0, NFT_CMP_EQ, &local, sizeof(local));
        if (one_address) {
                nft_payload(&rule, NFT_PAYLOAD_NETWORK_HEADER, ip->destination_at, ip->len_bytes, 0);
                reg = ip->len_bytes / 4;
        }
        nft_payload(&rule, NFT_PAYLOAD_NETWORK_HEADER, ip->source_at, ip->len_bytes, reg);
        nft_bitwise(&rule, reg, mask, none, ip->len_bytes);
        reg += ip->len_bytes / 4;
        nft_meta(&rule, NFT_META_L4PROTO, reg);
        nft_payload(&rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg + 1);
        nft_lookup(&rule, set_name(ip, one_address ? FW_HOST_SNAT : FW_SNAT), 0);
        nft_meta(&rule, NFT_META_MARK, 0);
        nft_bitwise(&rule, 0, &others, &mark, sizeof(mark));
        nft_set_mark(&rule, 0);
        nft_rule_end(&rule);
}

void fw_put_mark(struct netlink *nl, const struct address *from, uint32_t mark)
{
        static const struct {
                const char *name;
                enum nft_hook hook;
        } hooks[] = { { "prerouting", NFT_PREROUTING }, { "output", NFT_OUTPUT } };
        char chain[CHAIN_BYTES];
        for (size_t i = 0; i < LENGTH(hooks); i++) {
                mark_chain_name(from, mark, hooks[i].name, chain);
                put_chain(nl, NFT_INET, chain, "nat", hooks[i].hook, -100);
                put_mark_rule(nl, chain, from, mark, true);
                put_mark_rule(nl, chain, from, mark, false);
        }
        put_mark_masquerade(nl, mark);
}

/* What refers to a chain, and its own rules. */
static void count_use(const struct nlmsghdr *message, void *context)
{
        size_t fixed_bytes = sizeof(*message) + sizeof(struct nfgenmsg);
        const struct nlattr *use = NULL;
        if (message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN) &&
            message->nlmsg_len > fixed_bytes)
                use = netlink_attribute((const char *) message + fixed_bytes,
                                        message->nlmsg_len - fixed_bytes, NFTA_CHAIN_USE);
        if (use && netlink_length(use) == sizeof(uint32_t))
                memcpy(context, netlink_value(use), sizeof(uint32_t));
}

/* With its rules: somebody may have flushed the table, which leaves chains and elements. */
static struct error *has_chain(struct netlink *nl, const char *chain, bool *out)
{
        int errnum = 0;
        uint32_t use = 0;
        nft_begin(nl, NFT_MSG_GETCHAIN, 0, NFT_INET);
        netlink_put_text(nl, NFTA_CHAIN_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_CHAIN_NAME, chain);
        TRY(netlink_ask(nl, count_use, &use, &errnum));
        *out = !errnum && use;
        return NULL;
}

static void count_rule(const struct nlmsghdr *message, void *context)
{
        if (message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE))
                ++*(unsigned *) context;
}

static struct error *must_have_rules(struct netlink *nl, uint8_t family, const char *chain)
{
        unsigned n = 0;
        int errnum = 0;
        nft_begin(nl, NFT_MSG_GETRULE, NLM_F_DUMP, family);
        netlink_put_text(nl, NFTA_RULE_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_RULE_CHAIN, chain);
        TRY(netlink_ask(nl, count_rule, &n, &errnum));
        if (errnum && errnum != ENOENT)
                return error_errno(errnum, "nftables: list the rules of %s", chain);
        if (!n)
                return error_new(ERROR_NOT_FOUND, "nftables: chain %s has no rules any more", chain);
        return NULL;
}

static struct error *check_mark_masquerade(struct netlink *nl, uint32_t mark)
{
        char chain[CHAIN_BYTES];
        return mark_masquerade_name(mark, chain) ? must_have_rules(nl, NFT_INET, chain) : NULL;
}

struct error *fw_check_schema(struct netlink *nl, uint8_t family)
{
        static const char *const chains[] = { "ports", "prerouting", "output", "postrouting" };
        if (family == NFT_BRIDGE)
                return must_have_rules(nl, family, "prerouting");
        for (size_t i = 0; i < LENGTH(chains); i++)
                TRY(must_have_rules(nl, family, chains[i]));
        return NULL;
}

struct error *fw_check_network(struct netlink *nl, const struct address *subnet)
{
        char chain[CHAIN_BYTES];
        chain_name("masquerade", subnet, chain);
        return must_have_rules(nl, NFT_INET, chain);
}

struct error *fw_check_mark(struct netlink *nl, const struct address *from, uint32_t mark)
{
        static const char *const hooks[] = { "prerouting", "output" };
        char chain[CHAIN_BYTES];
        for (size_t i = 0; i < LENGTH(hooks); i++) {
                mark_chain_name(from, mark, hooks[i], chain);
                TRY(must_have_rules(nl, NFT_INET, chain));
        }
        return check_mark_masquerade(nl, mark);
}

struct error *fw_check_group(struct netlink *nl, const struct fw_group *group)
{
        static const char *const hooks[] = { "prerouting", "output" };
        char chain[CHAIN_BYTES];
        for (size_t i = 0; i < LENGTH(hooks); i++) {
                group_chain_name(group, hooks[i], chain);
                TRY(must_have_rules(nl, NFT_INET, chain));
        }
        return check_mark_masquerade(nl, group->mark);
}

struct error *fw_has_network(struct netlink *nl, const struct address *subnet, bool *out)
{
        char chain[CHAIN_BYTES];
        chain_name("masquerade", subnet, chain);
        return has_chain(nl, chain, out);
}

struct error *fw_has_mark(struct netlink *nl, const struct address *from, uint32_t mark, bool *out)
{
        char chain[CHAIN_BYTES];
        mark_chain_name(from, mark, "output", chain);
        return has_chain(nl, chain, out);
}

struct error *fw_has_group(struct netlink *nl, const struct fw_group *group, bool *out)
{
        char chain[CHAIN_BYTES];
        group_chain_name(group, "output", chain);
        return has_chain(nl, chain, out);
}
