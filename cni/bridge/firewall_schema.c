#include "cni/bridge/firewall_schema.h"
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define CHAIN_BYTES 80

/* Types of libnftables, and its way to number a concatenation. */
enum { IPV4 = 7, IPV6 = 8, ETHER = 9, PROTOCOL = 12, SERVICE = 13, MARK = 19, IFNAME = 41 };
#define CONCAT2(a, b) ((uint32_t) (a) << 6 | (b))
#define CONCAT3(a, b, c) (CONCAT2(a, b) << 6 | (c))

const struct fw_set_kind fw_sets[FW_SETS] = {
        [FW_ATTACHMENTS] = { "attachments", NFT_INET, 20, 0,
                             CONCAT2(MARK, MARK) << 18 | CONCAT3(MARK, MARK, MARK), 0 },
        [FW_MASQUERADE] = { "masquerade4", NFT_INET, 4, 0, IPV4, 0 },
        [FW_MASQUERADE6] = { "masquerade6", NFT_INET, 16, 0, IPV6, 0 },
        [FW_PORTS] = { "ports4", NFT_INET, 8, 8, CONCAT2(PROTOCOL, SERVICE), CONCAT2(IPV4, SERVICE) },
        [FW_PORTS6] = { "ports6", NFT_INET, 8, 20, CONCAT2(PROTOCOL, SERVICE), CONCAT2(IPV6, SERVICE) },
        [FW_SNAT] = { "snat4", NFT_INET, 12, 0, CONCAT3(IPV4, PROTOCOL, SERVICE), 0 },
        [FW_SNAT6] = { "snat6", NFT_INET, 24, 0, CONCAT3(IPV6, PROTOCOL, SERVICE), 0 },
        [FW_HOST_PORTS] = { "host_ports4", NFT_INET, 12, 8, CONCAT3(IPV4, PROTOCOL, SERVICE),
                            CONCAT2(IPV4, SERVICE) },
        [FW_HOST_PORTS6] = { "host_ports6", NFT_INET, 24, 20, CONCAT3(IPV6, PROTOCOL, SERVICE),
                             CONCAT2(IPV6, SERVICE) },
        [FW_HOST_SNAT] = { "host_snat4", NFT_INET, 16, 0, IPV4 << 18 | CONCAT3(IPV4, PROTOCOL, SERVICE), 0 },
        [FW_HOST_SNAT6] = { "host_snat6", NFT_INET, 40, 0, IPV6 << 18 | CONCAT3(IPV6, PROTOCOL, SERVICE), 0 },
        [FW_CHECKED] = { "checked", NFT_BRIDGE, 16, 0, IFNAME, 0 },
        [FW_SENDERS] = { "senders", NFT_BRIDGE, 24, 0, CONCAT2(IFNAME, ETHER), 0 },
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

static void put_set(struct netlink *nl, enum fw_set number)
{
        /* The order of bytes in key and value, as nft notes it for its own listings: 2 is the network's. */
        uint8_t notes[12] = { 0, 4, [6] = 1, 4 };
        const struct fw_set_kind *set = &fw_sets[number];
        uint32_t order = set->key_type == IPV4 || set->key_type == IPV6 ? 2 : 0;
        memcpy(notes + 2, &order, sizeof(order));
        nft_begin(nl, NFT_MSG_NEWSET, NLM_F_CREATE, set->family);
        netlink_put_text(nl, NFTA_SET_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_SET_NAME, set->name);
        nft_put_u32(nl, NFTA_SET_ID, number + 1);
        nft_put_u32(nl, NFTA_SET_FLAGS, set->value_bytes ? NFT_SET_MAP : 0);
        nft_put_u32(nl, NFTA_SET_KEY_TYPE, set->key_type);
        nft_put_u32(nl, NFTA_SET_KEY_LEN, set->key_bytes);
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
static void put_loopback6_rule(struct netlink *nl)
{
        static const uint8_t loopback[16] = { [15] = 1 };
        struct nft_rule rule = ip_rule(nl, &ips[1], "ports");
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
                if (fw_sets[set].family == family)
                        put_set(nl, set);
        if (family == NFT_BRIDGE) {
                put_chain(nl, family, "prerouting", "filter", NFT_PREROUTING, -300);
                put_sender_rule(nl);
                return;
        }
        put_chain(nl, family, "ports", NULL, 0, 0);
        put_loopback6_rule(nl);
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
        if (mark == 1U << FW_MARK_BIT)
                return;
        (void) snprintf(chain, sizeof(chain), "postrouting-%x", mark);
        put_chain(nl, NFT_INET, chain, "nat", NFT_POSTROUTING, 99);
        put_marked_rule(nl, chain, mark);
}

static void ignore_message(const struct nlmsghdr *message, void *context)
{
        (void) message;
        (void) context;
}

static struct error *has_chain(struct netlink *nl, const char *chain, bool *out)
{
        int errnum = 0;
        nft_begin(nl, NFT_MSG_GETCHAIN, 0, NFT_INET);
        netlink_put_text(nl, NFTA_CHAIN_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_CHAIN_NAME, chain);
        TRY(netlink_ask(nl, ignore_message, NULL, &errnum));
        *out = !errnum;
        return NULL;
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
