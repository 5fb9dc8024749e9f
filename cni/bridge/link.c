#include "cni/bridge/link.h"
#include "base/fault.h"
#include "cni/bridge/vlan.h"
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#define ALIAS "skiff-bridge "
#define NAME_TRIES 3
#define ALIAS_LEAVING "skiff-bridge leaving "

/* FNV-1a, with a byte between the words. Names only: who owns a link its alias says. */
static uint32_t hash(const char *const *words, size_t n)
{
        uint32_t value = 2166136261U;
        for (size_t i = 0; i < n; i++)
                for (const char *c = words[i];; c++) {
                        value = (value ^ (unsigned char) *c) * 16777619U;
                        if (!*c)
                                break;
                }
        return value;
}

uint32_t link_group(const char *network)
{
        return hash(&network, 1) % 0x40000000U +
               0x40000000U; /* positive, and never a group that people use */
}

char *link_host_name(const char *network, const char *container_id, const char *ifname, char out[16])
{
        const char *words[] = { network, container_id, ifname };
        (void) snprintf(out, 16, "veth%08x", hash(words, LENGTH(words)));
        return out;
}

char *link_alias(const char *network, const char *container_id, const char *ifname, bool leaving,
                 char out[256])
{
        (void) snprintf(out, 256, "%s%s %s %s", leaving ? ALIAS_LEAVING : ALIAS, container_id, ifname,
                        network);
        return out;
}

bool link_is_leaving(const struct link *link)
{
        return strncmp(link->alias, ALIAS_LEAVING, strlen(ALIAS_LEAVING)) == 0;
}

bool link_owner_is(const struct link *link, const char *network, const char *container_id, const char *ifname)
{
        char alias[256];
        (void) link_alias(network, container_id, ifname, link_is_leaving(link), alias);
        if (*link->alias)
                return strcmp(link->alias, alias) == 0;
        /* Killed between the two messages that make it. */
        return link->group == link_group(network);
}

char *link_mac_text(const uint8_t mac[6], char out[18])
{
        (void) snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                        mac[5]);
        return out;
}

static void copy_text(const struct nlattr *a, char *out, size_t size_bytes)
{
        if (a)
                (void) snprintf(out, size_bytes, "%.*s", (int) netlink_length(a),
                                (const char *) netlink_value(a));
}

static uint32_t u32_of(const struct nlattr *a)
{
        uint32_t value = 0;
        if (a && netlink_length(a) >= sizeof(value))
                memcpy(&value, netlink_value(a), sizeof(value));
        return value;
}

static const struct nlattr *inside(const struct nlattr *outer, uint16_t type)
{
        return outer ? netlink_attribute(netlink_value(outer), netlink_length(outer), type) : NULL;
}

static void read_kind(const struct nlattr *link_info, struct link *out)
{
        copy_text(inside(link_info, IFLA_INFO_KIND), out->kind, sizeof(out->kind));
        if (strcmp(out->kind, "bridge") != 0)
                return;
        const struct nlattr *data = inside(link_info, IFLA_INFO_DATA);
        const struct nlattr *vlan = inside(data, IFLA_BR_VLAN_DEFAULT_PVID),
                            *filtering = inside(data, IFLA_BR_VLAN_FILTERING);
        if (vlan && netlink_length(vlan) == sizeof(out->default_vlan))
                memcpy(&out->default_vlan, netlink_value(vlan), sizeof(out->default_vlan));
        out->filters_vlans =
                filtering && netlink_length(filtering) && *(const uint8_t *) netlink_value(filtering);
}

static void read_link(const struct nlmsghdr *message, struct link *out)
{
        const struct ifinfomsg *info = (const void *) (message + 1);
        const void *attributes = info + 1;
        size_t fixed_bytes = sizeof(*message) + sizeof(*info);
        *out = (struct link){ .peer_netns = -1 };
        if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < fixed_bytes)
                return;
        size_t len_bytes = message->nlmsg_len - fixed_bytes;
        out->index = info->ifi_index;
        out->flags = info->ifi_flags;
        out->master = (int) u32_of(netlink_attribute(attributes, len_bytes, IFLA_MASTER));
        out->peer = (int) u32_of(netlink_attribute(attributes, len_bytes, IFLA_LINK));
        const struct nlattr *peer_netns = netlink_attribute(attributes, len_bytes, IFLA_LINK_NETNSID);
        if (peer_netns)
                out->peer_netns = (int) u32_of(peer_netns);
        out->mtu = u32_of(netlink_attribute(attributes, len_bytes, IFLA_MTU));
        out->group = u32_of(netlink_attribute(attributes, len_bytes, IFLA_GROUP));
        copy_text(netlink_attribute(attributes, len_bytes, IFLA_IFNAME), out->name, sizeof(out->name));
        copy_text(netlink_attribute(attributes, len_bytes, IFLA_IFALIAS), out->alias, sizeof(out->alias));
        const struct nlattr *mac = netlink_attribute(attributes, len_bytes, IFLA_ADDRESS);
        if (mac && netlink_length(mac) == sizeof(out->mac))
                memcpy(out->mac, netlink_value(mac), sizeof(out->mac));
        read_kind(netlink_attribute(attributes, len_bytes, IFLA_LINKINFO), out);
}

static void take_link(const struct nlmsghdr *message, void *context)
{
        read_link(message, context);
}

struct error *link_get(struct netlink *nl, const char *name, int index, struct link *out)
{
        struct ifinfomsg info = { .ifi_index = name ? 0 : index };
        int errnum = 0;
        *out = (struct link){ 0 };
        netlink_begin(nl, RTM_GETLINK, 0, &info, sizeof(info));
        netlink_put_u32(nl, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        if (name)
                netlink_put_text(nl, IFLA_IFNAME, name);
        TRY(netlink_ask(nl, take_link, out, &errnum));
        if (errnum && errnum != ENODEV)
                return error_errno(errnum, "look for link %s", name ? name : "by index");
        return NULL;
}

static void take_number(const struct nlmsghdr *message, void *context)
{
        size_t fixed_bytes = NLMSG_LENGTH(NLMSG_ALIGN(sizeof(struct rtgenmsg)));
        if (message->nlmsg_type != RTM_NEWNSID || message->nlmsg_len < fixed_bytes)
                return;
        const struct nlattr *number = netlink_attribute((const char *) message + fixed_bytes,
                                                        message->nlmsg_len - fixed_bytes, NETNSA_NSID);
        if (number)
                *(int *) context = (int) u32_of(number);
}

struct error *link_netns_number(struct netlink *nl, int netns_fd, int *out)
{
        struct rtgenmsg any = { .rtgen_family = AF_UNSPEC };
        int errnum = 0;
        *out = -1;
        netlink_begin(nl, RTM_GETNSID, 0, &any, sizeof(any));
        netlink_put_u32(nl, NETNSA_FD, (uint32_t) netns_fd);
        TRY(netlink_ask(nl, take_number, out, &errnum));
        return errnum ? error_errno(errnum, "ask for the number of a network namespace") : NULL;
}

struct each {
        void (*found)(const struct link *, void *);
        void *context;
};

static void pass_link(const struct nlmsghdr *message, void *context)
{
        const struct each *each = context;
        struct link link;
        read_link(message, &link);
        if (link.index)
                each->found(&link, each->context);
}

struct error *link_each(struct netlink *nl, int bridge, void (*found)(const struct link *, void *),
                        void *context)
{
        struct each each = { .found = found, .context = context };
        struct ifinfomsg info = { 0 };
        int errnum = 0;
        netlink_begin(nl, RTM_GETLINK, NLM_F_DUMP, &info, sizeof(info));
        netlink_put_u32(nl, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        if (bridge)
                netlink_put_u32(nl, IFLA_MASTER, (uint32_t) bridge);
        TRY(netlink_ask(nl, pass_link, &each, &errnum));
        return errnum ? error_errno(errnum, "list links") : NULL;
}

struct error *link_sysctl(const char *value, const char *fmt, ...)
{
        char path[128], now[32];
        int prefix = snprintf(path, sizeof(path), "/proc/sys/net/");
        va_list args;
        va_start(args, fmt);
        (void) vsnprintf(path + prefix, sizeof(path) - (size_t) prefix, fmt, args);
        va_end(args);
        /* For reading first: where /proc/sys is read-only it may say already what is asked. */
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? NULL : error_errno(errno, "open %s", path);
        ssize_t n_bytes = read(fd, now, sizeof(now) - 1);
        if (n_bytes > 0) {
                now[n_bytes] = '\0';
                now[strcspn(now, "\n")] = '\0';
                if (strcmp(now, value) == 0)
                        return NULL;
        }
        _cleanup_(closep) int to_fd = open(path, O_WRONLY | O_CLOEXEC);
        if (to_fd < 0 || write(to_fd, value, strlen(value)) < 0)
                return error_errno(errno, "write %s to %s", value, path);
        return NULL;
}

static struct error *make_bridge(struct netlink *nl, const struct config *config)
{
        struct ifinfomsg info = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
        int errnum = 0;
        netlink_begin(nl, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
        netlink_put_text(nl, IFLA_IFNAME, config->bridge);
        if (config->mtu)
                netlink_put_u32(nl, IFLA_MTU, config->mtu);
        size_t link_info = netlink_nest(nl, IFLA_LINKINFO);
        netlink_put_text(nl, IFLA_INFO_KIND, "bridge");
        if (vlan_wanted(config)) {
                size_t data = netlink_nest(nl, IFLA_INFO_DATA);
                netlink_put_u8(nl, IFLA_BR_VLAN_FILTERING, 1);
                netlink_nest_end(nl, data);
        }
        netlink_nest_end(nl, link_info);
        TRY(netlink_talk(nl, &errnum, 1));
        if (errnum == EOPNOTSUPP && vlan_wanted(config))
                return vlan_error_unsupported();
        if (errnum && errnum != EEXIST)
                return error_errno(errnum, "make bridge %s%s", config->bridge, netlink_reason(nl));
        TRY(fault_point("bridge.made"));
        return link_sysctl("0", "ipv6/conf/%s/accept_ra", config->bridge);
}

struct error *link_ensure_bridge(struct netlink *nl, const struct config *config, struct link *out)
{
        int errnum = 0;
        TRY(link_get(nl, config->bridge, 0, out));
        if (!out->index) {
                TRY(make_bridge(nl, config));
                TRY(link_get(nl, config->bridge, 0, out));
        }
        if (strcmp(out->kind, "bridge") != 0)
                return error_new(ERROR_FAILED_PRECONDITION, "\"%s\" already exists but is not a bridge",
                                 config->bridge);
        unsigned want = IFF_UP | (config->promisc ? IFF_PROMISC : 0);
        if ((out->flags & want) == want)
                return NULL;
        struct ifinfomsg info = { .ifi_index = out->index, .ifi_flags = want, .ifi_change = want };
        netlink_begin(nl, RTM_NEWLINK, NLM_F_ACK, &info, sizeof(info));
        TRY(netlink_talk(nl, &errnum, 1));
        return errnum ? error_errno(errnum, "set bridge %s up", config->bridge) : NULL;
}

struct bridge_addresses {
        const struct link *bridge;
        const struct address *want;
        bool found, other;
        struct address conflict;
};

static void compare_address(const struct nlmsghdr *message, void *context)
{
        struct bridge_addresses *list = context;
        const struct ifaddrmsg *info = (const void *) (message + 1);
        size_t fixed_bytes = sizeof(*message) + sizeof(*info);
        if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < fixed_bytes ||
            info->ifa_index != (uint32_t) list->bridge->index || info->ifa_family != list->want->family ||
            info->ifa_scope == RT_SCOPE_LINK)
                return;
        size_t len_bytes = message->nlmsg_len - fixed_bytes;
        const struct nlattr *a = netlink_attribute(info + 1, len_bytes, IFA_LOCAL);
        if (!a)
                a = netlink_attribute(info + 1, len_bytes, IFA_ADDRESS);
        struct address has = { .family = info->ifa_family, .prefix = info->ifa_prefixlen };
        if (!a || netlink_length(a) > sizeof(has.bytes))
                return;
        memcpy(has.bytes, netlink_value(a), netlink_length(a));
        if (address_compare(&has, list->want) == 0 && has.prefix == list->want->prefix) {
                list->found = true;
        } else if (has.family == AF_INET || address_within(&has, list->want) ||
                   address_within(list->want, &has)) {
                list->other = true;
                list->conflict = has;
        }
}

void link_put_address(struct netlink *nl, uint16_t type, uint16_t flags, int index, const struct address *a,
                      bool detect_duplicates)
{
        struct ifaddrmsg info = { .ifa_family = a->family,
                                  .ifa_prefixlen = a->prefix,
                                  .ifa_index = (uint32_t) index };
        netlink_begin(nl, type, flags, &info, sizeof(info));
        netlink_put(nl, IFA_LOCAL, a->bytes, address_length(a));
        netlink_put(nl, IFA_ADDRESS, a->bytes, address_length(a));
        if (a->family == AF_INET6 && !detect_duplicates)
                netlink_put_u32(nl, IFA_FLAGS, IFA_F_NODAD);
        struct address broadcast = address_broadcast(a);
        if (a->family == AF_INET && type == RTM_NEWADDR && a->prefix < 31)
                netlink_put(nl, IFA_BROADCAST, broadcast.bytes, 4);
}

struct error *link_ensure_address(struct netlink *nl, const struct link *bridge,
                                  const struct address *address, bool force)
{
        struct bridge_addresses list = { .bridge = bridge, .want = address };
        struct ifaddrmsg filter = { .ifa_family = address->family, .ifa_index = (uint32_t) bridge->index };
        char text[ADDRESS_TEXT_BYTES];
        int errnums[3] = { 0 };
        netlink_begin(nl, RTM_GETADDR, NLM_F_DUMP, &filter, sizeof(filter));
        TRY(netlink_ask(nl, compare_address, &list, &errnums[0]));
        if (errnums[0] && errnums[0] != ENODEV)
                return error_errno(errnums[0], "list addresses of %s", bridge->name);
        if (list.found)
                return NULL;
        if (list.other && !force)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "\"%s\" already has an IP address different from %s", bridge->name,
                                 address_cidr(address, text));
        size_t n = 0;
        if (list.other) {
                link_put_address(nl, RTM_DELADDR, NLM_F_ACK, bridge->index, &list.conflict, false);
                n++;
        }
        link_put_address(nl, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, bridge->index, address,
                         false);
        /* By hand, so that the kernel does not change it whenever a port comes or goes. */
        struct ifinfomsg info = { .ifi_index = bridge->index };
        netlink_begin(nl, RTM_NEWLINK, NLM_F_ACK, &info, sizeof(info));
        netlink_put(nl, IFLA_ADDRESS, bridge->mac, sizeof(bridge->mac));
        TRY(netlink_talk(nl, errnums, LENGTH(errnums)));
        if (errnums[n] && errnums[n] != EEXIST)
                return error_errno(errnums[n], "give %s address %s", bridge->name,
                                   address_cidr(address, text));
        return fault_point("bridge.addressed");
}

/* One queue: the default is one a CPU, cut down to one at once, and the cut waits for a grace period of RCU. */
static void put_end(struct netlink *nl, const char *name, const uint8_t mac[6], uint32_t mtu)
{
        netlink_put_text(nl, IFLA_IFNAME, name);
        netlink_put(nl, IFLA_ADDRESS, mac, 6);
        netlink_put_u32(nl, IFLA_NUM_TX_QUEUES, 1);
        netlink_put_u32(nl, IFLA_NUM_RX_QUEUES, 1);
        if (mtu)
                netlink_put_u32(nl, IFLA_MTU, mtu);
}

static struct error *send_veth(struct netlink *nl, const struct config *config, const struct link *bridge,
                               const struct veth *veth, int *errnum)
{
        struct ifinfomsg info = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, peer = { 0 };
        netlink_begin(nl, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
        put_end(nl, veth->host_name, veth->host_mac, config->mtu);
        netlink_put_u32(nl, IFLA_MASTER, (uint32_t) bridge->index);
        netlink_put_u32(nl, IFLA_GROUP, link_group(veth->network));
        size_t link_info = netlink_nest(nl, IFLA_LINKINFO);
        netlink_put_text(nl, IFLA_INFO_KIND, "veth");
        size_t data = netlink_nest(nl, IFLA_INFO_DATA);
        size_t other = netlink_nest(nl, VETH_INFO_PEER);
        netlink_put_raw(nl, &peer, sizeof(peer));
        put_end(nl, veth->ifname, veth->mac, config->mtu);
        netlink_put_u32(nl, IFLA_NET_NS_FD, (uint32_t) veth->netns_fd);
        netlink_nest_end(nl, other);
        netlink_nest_end(nl, data);
        netlink_nest_end(nl, link_info);
        return netlink_talk(nl, errnum, 1);
}

/* Whose the port is, and how it behaves. */
static struct error *mark_port(struct netlink *nl, const struct config *config, const struct link *bridge,
                               const struct veth *veth)
{
        char alias[256];
        struct link link;
        int errnums[2] = { 0 };
        (void) link_alias(veth->network, veth->container_id, veth->ifname, false, alias);
        TRY(link_get(nl, veth->host_name, 0, &link));
        struct ifinfomsg named = { .ifi_index = link.index };
        netlink_begin(nl, RTM_SETLINK, NLM_F_ACK, &named, sizeof(named));
        netlink_put(nl, IFLA_IFALIAS, alias, strlen(alias));
        if (config->hairpin || config->port_isolation) {
                struct ifinfomsg port = { .ifi_family = AF_BRIDGE, .ifi_index = link.index };
                netlink_begin(nl, RTM_SETLINK, NLM_F_ACK, &port, sizeof(port));
                size_t info = netlink_nest(nl, IFLA_PROTINFO);
                if (config->hairpin)
                        netlink_put_u8(nl, IFLA_BRPORT_MODE, BRIDGE_MODE_HAIRPIN);
                if (config->port_isolation)
                        netlink_put_u8(nl, IFLA_BRPORT_ISOLATED, 1);
                netlink_nest_end(nl, info);
        }
        TRY(netlink_talk(nl, errnums, LENGTH(errnums)));
        for (size_t i = 0; i < LENGTH(errnums); i++)
                if (errnums[i])
                        return error_errno(errnums[i], "set up port %s%s", veth->host_name,
                                           netlink_reason(nl));
        TRY(fault_point("bridge.veth.marked"));
        TRY(vlan_set_port(nl, config, bridge, &link));
        /* A port carries frames and has no addresses. A link-local one each, with its routes, would have the kernel walk
         * those of all ports whenever one comes or goes. */
        TRY(link_sysctl("1", "ipv6/conf/%s/disable_ipv6", veth->host_name));
        return link_sysctl("0", "ipv6/conf/%s/accept_ra", veth->host_name);
}

static struct error *refused_veth(struct netlink *nl, const struct link *bridge, const struct veth *veth,
                                  int errnum)
{
        if (errnum == EEXIST)
                return error_new(ERROR_ALREADY_EXISTS, "container veth name provided (%s) already exists",
                                 veth->ifname);
        if (errnum == EXFULL)
                return error_new(ERROR_RESOURCE_EXHAUSTED,
                                 "bridge %s is full: it has 1023 ports, the most that Linux allows",
                                 bridge->name);
        return error_errno(errnum, "make %s and %s in bridge %s%s", veth->host_name, veth->ifname,
                           bridge->name, netlink_reason(nl));
}

/* The links that DELs have given up, with their other ends where the new one is to be. */
struct leaving {
        const struct veth *veth;
        int netns; /* its number */
        int indexes[8];
        size_t n;
};

static void note_leaving(const struct link *link, void *context)
{
        struct leaving *leaving = context;
        bool in_the_way = strcmp(link->name, leaving->veth->host_name) == 0 ||
                          (leaving->netns >= 0 && link->peer_netns == leaving->netns);
        if (in_the_way && link_is_leaving(link) && leaving->n < LENGTH(leaving->indexes))
                leaving->indexes[leaving->n++] = link->index;
}

/* A DEL's child may not have come to it yet, or was killed. */
static struct error *remove_leaving(struct netlink *nl, const struct veth *veth, bool *removed)
{
        struct leaving leaving = { .veth = veth };
        TRY(link_netns_number(nl, veth->netns_fd, &leaving.netns));
        TRY(link_each(nl, 0, note_leaving, &leaving));
        for (size_t i = 0; i < leaving.n; i++)
                TRY(link_remove(nl, leaving.indexes[i]));
        *removed = leaving.n != 0;
        return NULL;
}

struct error *link_make_veth(struct netlink *nl, const struct config *config, const struct link *bridge,
                             const struct veth *veth)
{
        int errnum = 0;
        TRY(send_veth(nl, config, bridge, veth, &errnum));
        for (unsigned i = 0; errnum == EEXIST && i < NAME_TRIES; i++) {
                bool removed = false;
                TRY(remove_leaving(nl, veth, &removed));
                if (removed || i == 0)
                        TRY(send_veth(nl, config, bridge, veth, &errnum));
        }
        if (errnum)
                return refused_veth(nl, bridge, veth, errnum);
        struct error *e = fault_point("bridge.veth.made");
        if (!e)
                e = mark_port(nl, config, bridge, veth);
        if (!e)
                return NULL;
        error_ignore(link_remove_named(nl, veth->host_name)); /* the first failure is what counts */
        return e;
}

struct error *link_close_port(struct netlink *nl, const struct link *link, const char *alias)
{
        int errnums[2] = { 0 };
        struct ifinfomsg named = { .ifi_index = link->index };
        netlink_begin(nl, RTM_SETLINK, NLM_F_ACK, &named, sizeof(named));
        netlink_put(nl, IFLA_IFALIAS, alias, strlen(alias));
        if (link->master) {
                struct ifinfomsg port = { .ifi_family = AF_BRIDGE, .ifi_index = link->index };
                netlink_begin(nl, RTM_SETLINK, NLM_F_ACK, &port, sizeof(port));
                size_t info = netlink_nest(nl, IFLA_PROTINFO);
                netlink_put_u8(nl, IFLA_BRPORT_STATE, BR_STATE_DISABLED);
                netlink_nest_end(nl, info);
        }
        /* A port that is down, or of a bridge with STP, cannot be set: it goes soon all the same. */
        return netlink_talk(nl, errnums, LENGTH(errnums));
}

struct error *link_remove(struct netlink *nl, int index)
{
        struct ifinfomsg info = { .ifi_index = index };
        int errnum = 0;
        netlink_begin(nl, RTM_DELLINK, NLM_F_ACK, &info, sizeof(info));
        TRY(netlink_talk(nl, &errnum, 1));
        return errnum && errnum != ENODEV ? error_errno(errnum, "remove link %d", index) : NULL;
}

struct error *link_remove_named(struct netlink *nl, const char *name)
{
        struct link link;
        TRY(link_get(nl, name, 0, &link));
        return link.index ? link_remove(nl, link.index) : NULL;
}
