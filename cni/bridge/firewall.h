/* firewall.h - what nftables has of an attachment: masquerade, port mappings, the check for forged senders.
 *
 * All is in the table "skiff-bridge" of the families inet and bridge (firewall_schema.h says what is in it). An attachment
 * is elements of its maps, put in by one transaction and taken out by one, so what a call costs does not grow with the
 * number of pods. An index in the table itself says which elements an attachment has: removal needs no address.
 *
 * Threads: one at a time on one struct fw. Source: linux/netfilter/nf_tables.h; the plugins bridge and portmap. */
#pragma once
#include "base/error.h"
#include "cni/bridge/address.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fw; /* owns a socket to nftables */

struct fw_id {
        const char *container_id, *ifname;
};

struct fw_port {
        uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
        uint16_t host_port, container_port;
        struct address host; /* family 0: every address of the node; all zeros: every one of that family */
};

struct fw_attachment {
        const char *network, *container_id, *ifname;
        const char *pod;                 /* "namespace/name", for messages; NULL: not known */
        const struct address *addresses; /* the pod's, each with the prefix of its subnet */
        size_t n_addresses;
        bool masquerade;             /* what leaves the subnet of an address, but to no multicast group */
        const struct fw_port *ports; /* to the first address of each family */
        size_t n_ports;
        bool snat;                        /* from the subnet and loopback: seen as the node */
        bool masq_all;                    /* with snat: from everywhere */
        int mark_masq_bit;                /* of the packet mark, which says so; -1: 13 */
        const char *const *conditions_v4; /* of ports: firewall_conditions.h; NULL: none */
        const char *const *conditions_v6; /* likewise */
        bool spoof_check;                 /* host_ifname takes frames from mac alone */
        const char *host_ifname;          /* the node's end; for spoof_check */
        uint8_t mac[6];                   /* of the pod's end; for spoof_check */
};

/* Errors: FAILED_PRECONDITION, with a sentence, where the kernel has no nftables or this process may not use it;
 * OUT_OF_RANGE for a table that a plugin made which is newer than this one understands. */
MUST_CHECK struct error *fw_open(struct fw **out);

/* May wait for a grace period of RCU after something was removed. */
void fw_free(struct fw *fw); /* NULL is fine */
DEFINE_FREEP(struct fw, fw_free)

/* Puts all of it in, or nothing; makes the tables where they are not there. What a call that was killed left of the same
 * attachment goes, and what another attachment still has of an address that this one has now. Errors: ALREADY_EXISTS, with
 * the port and who has it; UNIMPLEMENTED and INVALID_ARGUMENT as fw_conditions_parse. */
MUST_CHECK struct error *fw_add(struct fw *fw, const struct fw_attachment *a);

/* Errors: NOT_FOUND, with what is not there any more: an element, or the rules of a chain that it needs. */
MUST_CHECK struct error *fw_check(struct fw *fw, const struct fw_attachment *a);

/* Takes out what the attachment has; nothing is no error. */
MUST_CHECK struct error *fw_remove(struct fw *fw, const char *network, const char *container_id,
                                   const char *ifname);

/* Takes out what every attachment of the network has that is not one of the n. */
MUST_CHECK struct error *fw_keep_only(struct fw *fw, const char *network, const struct fw_id *valid,
                                      size_t n);

/* Whether the pod can be reached over 127.0.0.0/8, so that its bridge must have route_localnet. */
bool fw_needs_route_localnet(const struct fw_attachment *a);
