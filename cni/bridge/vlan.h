/* vlan.h - the VLANs of a bridge's ports: those of a pod, and the interface that is a VLAN's gateway.
 *
 * As the plugin bridge has them: frames of the pod that have no tag are of "vlan", or of 1 where there is only a trunk; those
 * of "vlanTrunk" keep their tags. The VLAN that the bridge gives each port is taken away unless preserveDefaultVlan is set,
 * which it is not by itself (1.1.1 of the plugin has no such key, and leaves it). A bridge filters if this plugin made it;
 * one that was there is left as it is, and it is told on stderr that it keeps nothing apart.
 *
 * A gateway of a VLAN has its address on BRIDGE.VLAN, one end of a pair of which the other is a port. It stays, as the bridge
 * does. Threads: one at a time. Source: linux/if_bridge.h, bridge(8). */
#pragma once
#include "cni/bridge/link.h"

/* Whether the configuration has anything to do with VLANs, so that a bridge that is made for it filters. */
bool vlan_wanted(const struct config *config);

/* FAILED_PRECONDITION, with the sentence for a kernel whose bridges have no VLANs. */
MUST_CHECK struct error *vlan_error_unsupported(void);

/* The interface that has the gateways' addresses: the bridge itself, or BRIDGE.VLAN. Returns out. */
char *vlan_gateway_name(const struct config *config, char out[16]);

/* Gives a port, new in the bridge, its VLANs. Errors: FAILED_PRECONDITION where the kernel has none of that. */
MUST_CHECK struct error *vlan_set_port(struct netlink *nl, const struct config *config,
                                       const struct link *bridge, const struct link *port);

/* Finds BRIDGE.VLAN, or makes it. Errors: FAILED_PRECONDITION when the name is of something else, as above. */
MUST_CHECK struct error *vlan_ensure_gateway(struct netlink *nl, const struct config *config,
                                             const struct link *bridge, struct link *out);
