#include "cni/bridge/nft.h"
#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

static void begin(struct netlink *nl, uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
        struct nfgenmsg header = { .nfgen_family = family,
                                   .version = NFNETLINK_V0,
                                   .res_id = htons(resource) };
        netlink_begin(nl, type, flags, &header, sizeof(header));
}

void nft_begin(struct netlink *nl, uint8_t type, uint16_t flags, uint8_t family)
{
        begin(nl, (uint16_t) (NFNL_SUBSYS_NFTABLES << 8 | type), flags, family, 0);
}

void nft_batch_begin(struct netlink *nl)
{
        begin(nl, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

void nft_batch_end(struct netlink *nl)
{
        begin(nl, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

void nft_put_u32(struct netlink *nl, uint16_t type, uint32_t value)
{
        netlink_put_u32(nl, type, htonl(value));
}

void nft_put_data(struct netlink *nl, uint16_t type, const void *bytes, size_t len_bytes)
{
        size_t data = netlink_nest(nl, type);
        netlink_put(nl, NFTA_DATA_VALUE, bytes, len_bytes);
        netlink_nest_end(nl, data);
}

void nft_put_verdict(struct netlink *nl, uint16_t type, int32_t code, const char *chain)
{
        size_t data = netlink_nest(nl, type);
        size_t verdict = netlink_nest(nl, NFTA_DATA_VERDICT);
        nft_put_u32(nl, NFTA_VERDICT_CODE, (uint32_t) code);
        if (chain)
                netlink_put_text(nl, NFTA_VERDICT_CHAIN, chain);
        netlink_nest_end(nl, verdict);
        netlink_nest_end(nl, data);
}

struct nft_rule nft_rule_begin(struct netlink *nl, uint8_t family, const char *chain)
{
        nft_begin(nl, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, family);
        netlink_put_text(nl, NFTA_RULE_TABLE, NFT_TABLE);
        netlink_put_text(nl, NFTA_RULE_CHAIN, chain);
        return (struct nft_rule){ .nl = nl, .expressions = netlink_nest(nl, NFTA_RULE_EXPRESSIONS) };
}

void nft_rule_end(const struct nft_rule *rule)
{
        netlink_nest_end(rule->nl, rule->expressions);
}

struct expression {
        size_t element, data;
};

static struct expression expression_begin(const struct nft_rule *rule, const char *name)
{
        struct expression e = { .element = netlink_nest(rule->nl, NFTA_LIST_ELEM) };
        netlink_put_text(rule->nl, NFTA_EXPR_NAME, name);
        e.data = netlink_nest(rule->nl, NFTA_EXPR_DATA);
        return e;
}

static void expression_end(const struct nft_rule *rule, struct expression e)
{
        netlink_nest_end(rule->nl, e.data);
        netlink_nest_end(rule->nl, e.element);
}

static void put_reg(const struct nft_rule *rule, uint16_t type, uint32_t reg)
{
        nft_put_u32(rule->nl, type, NFT_REG32_00 + reg);
}

void nft_payload(const struct nft_rule *rule, uint32_t base, uint32_t offset, uint32_t len_bytes,
                 uint32_t reg)
{
        struct expression e = expression_begin(rule, "payload");
        put_reg(rule, NFTA_PAYLOAD_DREG, reg);
        nft_put_u32(rule->nl, NFTA_PAYLOAD_BASE, base);
        nft_put_u32(rule->nl, NFTA_PAYLOAD_OFFSET, offset);
        nft_put_u32(rule->nl, NFTA_PAYLOAD_LEN, len_bytes);
        expression_end(rule, e);
}

static void meta(const struct nft_rule *rule, uint32_t key, uint16_t direction, uint32_t reg)
{
        struct expression e = expression_begin(rule, "meta");
        nft_put_u32(rule->nl, NFTA_META_KEY, key);
        put_reg(rule, direction, reg);
        expression_end(rule, e);
}

void nft_meta(const struct nft_rule *rule, uint32_t key, uint32_t reg)
{
        meta(rule, key, NFTA_META_DREG, reg);
}

void nft_set_mark(const struct nft_rule *rule, uint32_t reg)
{
        meta(rule, NFT_META_MARK, NFTA_META_SREG, reg);
}

void nft_destination_type(const struct nft_rule *rule, uint32_t reg)
{
        struct expression e = expression_begin(rule, "fib");
        put_reg(rule, NFTA_FIB_DREG, reg);
        nft_put_u32(rule->nl, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
        nft_put_u32(rule->nl, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
        expression_end(rule, e);
}

void nft_compare(const struct nft_rule *rule, uint32_t reg, uint32_t op, const void *bytes, size_t len_bytes)
{
        struct expression e = expression_begin(rule, "cmp");
        put_reg(rule, NFTA_CMP_SREG, reg);
        nft_put_u32(rule->nl, NFTA_CMP_OP, op);
        nft_put_data(rule->nl, NFTA_CMP_DATA, bytes, len_bytes);
        expression_end(rule, e);
}

void nft_bitwise(const struct nft_rule *rule, uint32_t reg, const void *mask, const void * xor,
                 size_t len_bytes)
{
        struct expression e = expression_begin(rule, "bitwise");
        put_reg(rule, NFTA_BITWISE_SREG, reg);
        put_reg(rule, NFTA_BITWISE_DREG, reg);
        nft_put_u32(rule->nl, NFTA_BITWISE_LEN, (uint32_t) len_bytes);
        nft_put_data(rule->nl, NFTA_BITWISE_MASK, mask, len_bytes);
        nft_put_data(rule->nl, NFTA_BITWISE_XOR, xor, len_bytes);
        expression_end(rule, e);
}

static struct expression lookup_begin(const struct nft_rule *rule, const char *set, uint32_t key_reg)
{
        struct expression e = expression_begin(rule, "lookup");
        netlink_put_text(rule->nl, NFTA_LOOKUP_SET, set);
        put_reg(rule, NFTA_LOOKUP_SREG, key_reg);
        return e;
}

void nft_lookup(const struct nft_rule *rule, const char *set, uint32_t key_reg)
{
        expression_end(rule, lookup_begin(rule, set, key_reg));
}

void nft_lookup_missing(const struct nft_rule *rule, const char *set, uint32_t key_reg)
{
        struct expression e = lookup_begin(rule, set, key_reg);
        nft_put_u32(rule->nl, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
        expression_end(rule, e);
}

void nft_lookup_value(const struct nft_rule *rule, const char *map, uint32_t key_reg, uint32_t reg)
{
        struct expression e = lookup_begin(rule, map, key_reg);
        put_reg(rule, NFTA_LOOKUP_DREG, reg);
        expression_end(rule, e);
}

void nft_verdict(const struct nft_rule *rule, int32_t code, const char *chain)
{
        struct expression e = expression_begin(rule, "immediate");
        nft_put_u32(rule->nl, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
        nft_put_verdict(rule->nl, NFTA_IMMEDIATE_DATA, code, chain);
        expression_end(rule, e);
}

void nft_masquerade(const struct nft_rule *rule)
{
        expression_end(rule, expression_begin(rule, "masq"));
}

void nft_dnat(const struct nft_rule *rule, uint8_t family, uint32_t address_reg, uint32_t port_reg)
{
        struct expression e = expression_begin(rule, "nat");
        nft_put_u32(rule->nl, NFTA_NAT_TYPE, NFT_NAT_DNAT);
        nft_put_u32(rule->nl, NFTA_NAT_FAMILY, family);
        put_reg(rule, NFTA_NAT_REG_ADDR_MIN, address_reg);
        put_reg(rule, NFTA_NAT_REG_PROTO_MIN, port_reg);
        expression_end(rule, e);
}
