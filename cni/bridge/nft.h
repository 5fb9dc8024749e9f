/* nft.h - messages of nftables: a batch, elements of sets, rules and the expressions in them.
 *
 * Registers are numbers of 4 bytes each, 0 to 15. What is put goes behind what was put before, into the batch that was begun
 * or the rule that was. Threads: one at a time. Source: linux/netfilter/nf_tables.h. */
#pragma once
#include "cni/bridge/netlink.h"
#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>

/* NFPROTO_, NF_INET_ and NF_DROP of linux/netfilter.h, which does not go with musl's headers. */
enum nft_family { NFT_INET = 1, NFT_IPV4 = 2, NFT_BRIDGE = 7, NFT_IPV6 = 10 };
enum nft_hook { NFT_PREROUTING = 0, NFT_OUTPUT = 3, NFT_POSTROUTING = 4 };
#define NFT_DROP 0

#define NFT_TABLE "skiff-bridge"
#define NFT_KEY_BYTES 40 /* of the longest key and the longest value in the tables */

/* A message of nftables: its type (NFT_MSG_...), flags, family. */
void nft_begin(struct netlink *nl, uint8_t type, uint16_t flags, uint8_t family);

/* The first message and the last of a batch. */
void nft_batch_begin(struct netlink *nl);
void nft_batch_end(struct netlink *nl);

/* A number in the order of the network, as nftables has them. */
void nft_put_u32(struct netlink *nl, uint16_t type, uint32_t value);

/* An attribute that holds bytes as data, or a verdict (NFT_JUMP and its chain, or another without). */
void nft_put_data(struct netlink *nl, uint16_t type, const void *bytes, size_t len_bytes);
void nft_put_verdict(struct netlink *nl, uint16_t type, int32_t code, const char *chain);

/* Begins a rule at the end of a chain of the table; nft_rule_end ends it. Its expressions stand between. */
struct nft_rule {
        struct netlink *nl;
        size_t expressions;
};
struct nft_rule nft_rule_begin(struct netlink *nl, uint8_t family, const char *chain);
void nft_rule_end(const struct nft_rule *rule);

/* Into registers: bytes of the packet (base is NFT_PAYLOAD_...), what is known of it (NFT_META_...). The mark is also set. */
void nft_payload(const struct nft_rule *rule, uint32_t base, uint32_t offset, uint32_t len_bytes,
                 uint32_t reg);
void nft_meta(const struct nft_rule *rule, uint32_t key, uint32_t reg);
void nft_set_mark(const struct nft_rule *rule, uint32_t reg);

/* The type of the packet's destination: RTN_LOCAL and so on. */
void nft_destination_type(const struct nft_rule *rule, uint32_t reg);

/* Goes on if the register holds (NFT_CMP_EQ) or does not hold (NFT_CMP_NEQ) these bytes. */
void nft_compare(const struct nft_rule *rule, uint32_t reg, uint32_t op, const void *bytes, size_t len_bytes);

/* reg = (reg & mask) ^ xor. */
void nft_bitwise(const struct nft_rule *rule, uint32_t reg, const void *mask, const void * xor,
                 size_t len_bytes);

/* Goes on if the key is in the set. A map's value goes to a register. */
void nft_lookup(const struct nft_rule *rule, const char *set, uint32_t key_reg);
void nft_lookup_missing(const struct nft_rule *rule, const char *set, uint32_t key_reg); /* is not in it */
void nft_lookup_value(const struct nft_rule *rule, const char *map, uint32_t key_reg, uint32_t reg);

/* The end of a rule. */
void nft_verdict(const struct nft_rule *rule, int32_t code, const char *chain); /* NFT_DROP, NFT_JUMP, ... */
void nft_masquerade(const struct nft_rule *rule);
void nft_dnat(const struct nft_rule *rule, uint8_t family, uint32_t address_reg, uint32_t port_reg);
