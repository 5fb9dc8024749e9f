#include "cni/bridge/vlan.h"
#include "base/fault.h"
#include <errno.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/socket.h>

#define NATIVE_VLAN 1 /* of a trunk without "vlan" */

bool vlan_wanted(const struct config *config)
{
        return config->vlan || config->has_trunk;
}

char *vlan_gateway_name(const struct config *config, char out[16])
{
        if (config->vlan && config->is_gateway)
                (void) snprintf(out, 16, "%.10s.%u", config->bridge, config->vlan & 0xfffU);
        else
                (void) snprintf(out, 16, "%s", config->bridge);
        return out;
}

struct error *vlan_error_unsupported(void)
{
        return error_new(ERROR_FAILED_PRECONDITION,
                         "\"vlan\" and \"vlanTrunk\" need a kernel whose bridges filter VLANs "
                         "(CONFIG_BRIDGE_VLAN_FILTERING)");
}

static void put_vlan(struct netlink *nl, uint16_t id, uint16_t flags)
{
        struct bridge_vlan_info info = { .flags = flags, .vid = id };
        netlink_put(nl, IFLA_BRIDGE_VLAN_INFO, &info, sizeof(info));
}

/* One message for a port; the caller puts its VLANs and ends the nest. */
static size_t begin_vlans(struct netlink *nl, uint16_t type, int index)
{
        struct ifinfomsg info = { .ifi_family = AF_BRIDGE, .ifi_index = index };
        netlink_begin(nl, type, NLM_F_ACK, &info, sizeof(info));
        return netlink_nest(nl, IFLA_AF_SPEC);
}

/* One behind the other: the last word on a VLAN that is named twice is the plugin bridge's too. */
static void put_vlans(struct netlink *nl, const struct config *config, int index, bool trunk)
{
        static const uint16_t untagged = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED;
        size_t nest = begin_vlans(nl, RTM_SETLINK, index);
        if (config->vlan)
                put_vlan(nl, config->vlan, untagged);
        for (size_t i = 0; trunk && i < config->n_trunk; i++) {
                const struct vlan_range *range = &config->trunk[i];
                bool one = range->first == range->last;
                put_vlan(nl, range->first, one ? 0 : BRIDGE_VLAN_INFO_RANGE_BEGIN);
                if (!one)
                        put_vlan(nl, range->last, BRIDGE_VLAN_INFO_RANGE_END);
        }
        if (!config->vlan && config->n_trunk)
                put_vlan(nl, NATIVE_VLAN, untagged);
        netlink_nest_end(nl, nest);
}

static struct error *set_vlans(struct netlink *nl, const struct config *config, const struct link *bridge,
                               const struct link *port, bool trunk)
{
        int errnums[2] = { 0 };
        size_t n = 0;
        if (!config->preserve_default_vlan && bridge->default_vlan) {
                size_t nest = begin_vlans(nl, RTM_DELLINK, port->index);
                put_vlan(nl, bridge->default_vlan, 0);
                netlink_nest_end(nl, nest);
                n++; /* it may be gone */
        }
        put_vlans(nl, config, port->index, trunk);
        TRY(netlink_talk(nl, errnums, LENGTH(errnums)));
        if (errnums[n] == EOPNOTSUPP)
                return vlan_error_unsupported();
        if (errnums[n])
                return error_errno(errnums[n], "give port %s its VLANs%s", port->name, netlink_reason(nl));
        return fault_point("bridge.vlan.set");
}

struct error *vlan_set_port(struct netlink *nl, const struct config *config, const struct link *bridge,
                            const struct link *port)
{
        if (!config->vlan && !config->n_trunk)
                return NULL;
        if (!bridge->filters_vlans)
                (void) fprintf(
                        stderr,
                        "skiff-bridge: bridge %s does not filter VLANs: its ports are not kept apart\n",
                        bridge->name);
        return set_vlans(nl, config, bridge, port, true);
}

static void put_end(struct netlink *nl, const char *name, uint32_t mtu)
{
        netlink_put_text(nl, IFLA_IFNAME, name);
        netlink_put_u32(nl, IFLA_NUM_TX_QUEUES, 1);
        netlink_put_u32(nl, IFLA_NUM_RX_QUEUES, 1);
        netlink_put_u32(nl, IFLA_MTU, mtu);
}

static struct error *make_pair(struct netlink *nl, const struct link *bridge, const char *port,
                               const char *gateway)
{
        struct ifinfomsg info = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, peer = { 0 };
        int errnum = 0;
        netlink_begin(nl, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
        put_end(nl, port, bridge->mtu);
        netlink_put_u32(nl, IFLA_MASTER, (uint32_t) bridge->index);
        size_t link_info = netlink_nest(nl, IFLA_LINKINFO);
        netlink_put_text(nl, IFLA_INFO_KIND, "veth");
        size_t data = netlink_nest(nl, IFLA_INFO_DATA);
        size_t other = netlink_nest(nl, VETH_INFO_PEER);
        netlink_put_raw(nl, &peer, sizeof(peer));
        put_end(nl, gateway, bridge->mtu);
        netlink_nest_end(nl, other);
        netlink_nest_end(nl, data);
        netlink_nest_end(nl, link_info);
        TRY(netlink_talk(nl, &errnum, 1));
        if (errnum && errnum != EEXIST) /* somebody was faster */
                return error_errno(errnum, "make %s and %s in bridge %s%s", port, gateway, bridge->name,
                                   netlink_reason(nl));
        return fault_point("bridge.vlan.made");
}

static struct error *set_up(struct netlink *nl, const struct link *link)
{
        struct ifinfomsg info = { .ifi_index = link->index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
        int errnum = 0;
        if (link->flags & IFF_UP)
                return NULL;
        netlink_begin(nl, RTM_NEWLINK, NLM_F_ACK, &info, sizeof(info));
        TRY(netlink_talk(nl, &errnum, 1));
        return errnum ? error_errno(errnum, "set %s up", link->name) : NULL;
}

struct error *vlan_ensure_gateway(struct netlink *nl, const struct config *config, const struct link *bridge,
                                  struct link *out)
{
        char name[16], own_port[16];
        struct link port;
        (void) vlan_gateway_name(config, name);
        (void) link_host_name(config->bridge, "gateway of a VLAN", name, own_port);
        TRY(link_get(nl, name, 0, out));
        if (!out->index) {
                TRY(make_pair(nl, bridge, own_port, name));
                TRY(link_get(nl, name, 0, out));
        }
        if (strcmp(out->kind, "veth") != 0)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "\"%s\" already exists but is not the gateway of a VLAN", name);
        TRY(link_get(nl, NULL, out->peer, &port));
        if (port.master != bridge->index)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "\"%s\" already exists but does not lead to bridge %s", name, bridge->name);
        /* What another plugin made is as that one has it; of ours a killed call may have left half. */
        if (strcmp(port.name, own_port) == 0) {
                TRY(set_vlans(nl, config, bridge, &port, false));
                TRY(link_sysctl("1", "ipv6/conf/%s/disable_ipv6", own_port));
                TRY(link_sysctl("0", "ipv6/conf/%s/accept_ra", name));
        }
        TRY(set_up(nl, &port));
        return set_up(nl, out);
}
