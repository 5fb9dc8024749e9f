/* link.h - the node's side of a pod's network: the bridge, its ports, its addresses.
 *
 * The host end of an interface has a name that follows from network, container and interface, so DEL finds it without the
 * namespace, and an alias that says whose it is (link_alias), which is compared before anything is removed. One that DEL
 * has given up is closed as a port and has the alias of a link that is leaving; its name may be taken by the next ADD.
 *
 * Threads: one at a time. Source: rtnetlink(7), ip-link(8), net/bridge of Linux. */
#pragma once
#include "cni/bridge/config.h"
#include "cni/bridge/netlink.h"

struct link {
        int index, master, peer; /* master, peer: 0 without */
        int peer_netns; /* the number that its peer's namespace has here; -1: the peer is here too, or has none */
        unsigned flags; /* IFF_* */
        uint8_t mac[6];
        char name[16], kind[16], alias[256];
        uint32_t mtu, group;
        uint16_t default_vlan; /* of a bridge: which its ports are given by the kernel; 0: none */
        bool filters_vlans;    /* a bridge */
};

/* A link by name, or by index where name is NULL. out->index is 0 when there is none. */
MUST_CHECK struct error *link_get(struct netlink *nl, const char *name, int index, struct link *out);

/* The number that a namespace has in the caller's (netns_fd: of it); -1 when it has none. */
MUST_CHECK struct error *link_netns_number(struct netlink *nl, int netns_fd, int *out);

/* Calls found for each port of the bridge with this index, or each link (0). */
MUST_CHECK struct error *link_each(struct netlink *nl, int bridge, void (*found)(const struct link *, void *),
                                   void *context);

/* The network of an interface of a container, hashed, for names and groups of links. */
uint32_t link_group(const char *network);
char *link_host_name(const char *network, const char *container_id, const char *ifname, char out[16]);

/* What the alias of a host end is; leaving: once DEL has given it up. link_owner_is compares either. */
char *link_alias(const char *network, const char *container_id, const char *ifname, bool leaving,
                 char out[256]);
bool link_owner_is(const struct link *link, const char *network, const char *container_id,
                   const char *ifname);
bool link_is_leaving(const struct link *link);

/* Makes the bridge if it is missing, and has it up and promiscuous as asked. Errors: FAILED_PRECONDITION when the name is
 * of something else. */
MUST_CHECK struct error *link_ensure_bridge(struct netlink *nl, const struct config *config,
                                            struct link *out);

/* Gives the bridge a gateway's address, with force in place of another. Errors: FAILED_PRECONDITION when another is there. */
MUST_CHECK struct error *link_ensure_address(struct netlink *nl, const struct link *bridge,
                                             const struct address *address, bool force);

struct veth {
        const char *network, *container_id, *ifname;
        char host_name[16];
        uint8_t host_mac[6], mac[6];
        int netns_fd;
};

/* Makes the pair, the host end up and in the bridge, the other in the namespace; hairpin, isolation, VLANs. The host end has
 * no IPv6: it carries frames, and needs no address. Nothing is left when it fails. Errors: ALREADY_EXISTS for a name in use; RESOURCE_EXHAUSTED for a bridge that is full. */
MUST_CHECK struct error *link_make_veth(struct netlink *nl, const struct config *config,
                                        const struct link *bridge, const struct veth *veth);

/* Stops what goes through a port, and marks it as leaving: what is left to do may wait. One that is gone is no error. */
MUST_CHECK struct error *link_close_port(struct netlink *nl, const struct link *link, const char *alias);

/* Remove a link, and wait for the kernel to have done so. One that is gone is no error. */
MUST_CHECK struct error *link_remove(struct netlink *nl, int index);
MUST_CHECK struct error *link_remove_named(struct netlink *nl, const char *name);

/* Writes a file below /proc/sys/net, if there is one and it says something else. In the caller's namespace. */
MUST_CHECK struct error *link_sysctl(const char *value, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Appends a message that adds or removes an address; IPv6 ones with or without duplicate detection. */
void link_put_address(struct netlink *nl, uint16_t type, uint16_t flags, int index, const struct address *a,
                      bool detect_duplicates);

/* "aa:bb:cc:dd:ee:ff". */
char *link_mac_text(const uint8_t mac[6], char out[18]);
