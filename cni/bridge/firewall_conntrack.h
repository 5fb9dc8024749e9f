/* firewall_conntrack.h - flows that the kernel remembers, where a port mapping comes or goes.
 *
 * Where a packet goes is decided with the first one of its flow. UDP has no end, and SCTP finds back to an association: who
 * sent to a port before it was mapped would be answered by nobody as long as it goes on, and after the pod has gone as well.
 * So such flows are forgotten at both times, and the next packet begins one anew. TCP begins by itself.
 *
 * Threads: one at a time. Source: linux/netfilter/nfnetlink_conntrack.h; portmap of containernetworking/plugins, which does
 * so for UDP at ADD. */
#pragma once
#include "cni/bridge/address.h"
#include "cni/bridge/netlink.h"

struct fw_flows {
        uint8_t family, protocol;
        uint16_t port;       /* that they were sent to first */
        struct address host; /* likewise; family 0: any */
        bool only_mapped;    /* which another address answers */
};

/* Whether the flows of a protocol have to be forgotten. */
bool fw_has_flows(uint8_t protocol);

/* Forgets them; none is no error. Errors: INTERNAL; a kernel that remembers none, or cannot be asked, is no error. */
MUST_CHECK struct error *fw_forget(struct netlink *nl, const struct fw_flows *flows);
