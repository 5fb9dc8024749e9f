/* firewall_conditions.h - conditionsV4 and conditionsV6 of port mappings: which packets they are for.
 *
 * portmap hands them to iptables or nft word by word. No library of either is linked here, so what can be asked is where a
 * packet comes from, where it goes and by which interface it came, in the words of both:
 *
 *     -s -d --source --destination --src --dst ADDRESS[/PREFIX or /MASK], -i --in-interface NAME[+], each with ! before
 *     ip saddr, ip daddr, ip6 saddr, ip6 daddr [==, !=] ADDRESS[/PREFIX]; iifname [==, !=] NAME[*], several words a text or one
 *
 * Everything else is refused by its word. The first word says which of the two it is, as in portmap. The conditions are
 * those of the attachment's ports alone, as portmap's iptables has them; its nftables gives those of the last ADD to every pod.
 *
 * Threads: no state. Source: iptables-extensions(8), nft(8), portmap of containernetworking/plugins 1.9. */
#pragma once
#include "base/error.h"
#include "cni/bridge/address.h"

#define FW_CONDITIONS_MAX 16

enum fw_condition_kind { FW_SOURCE, FW_DESTINATION, FW_INTERFACE };

struct fw_condition {
        enum fw_condition_kind kind;
        bool differs;           /* must not be this */
        struct address address; /* of the first two: a subnet */
        char name[16];          /* of an interface, or its beginning; zeros behind it */
        bool is_beginning;
};

struct fw_conditions {
        struct fw_condition all[FW_CONDITIONS_MAX];
        size_t n;
};

/* Which program the words are for: "iptables", "nftables", or NULL where there are none. */
const char *fw_conditions_language(const char *const *words);

/* Reads words up to NULL (NULL: none) for packets of a family. Errors: UNIMPLEMENTED, with the word that is not built;
 * INVALID_ARGUMENT for an address or a name that is none, or of another family. */
MUST_CHECK struct error *fw_conditions_parse(const char *const *words, uint8_t family,
                                             struct fw_conditions *out);
