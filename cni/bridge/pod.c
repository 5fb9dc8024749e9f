#include "cni/bridge/pod.h"
#include "base/fault.h"
#include "base/wait.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define LOOPBACK_INDEX 1 /* of every namespace */
#define DAD_MS 10000

struct error *pod_own_netns(int *out_fd)
{
        *out_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        return *out_fd < 0 ? error_errno(errno, "open this process's network namespace") : NULL;
}

struct error *pod_open_netns(const char *path, int *out_fd)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), own_fd = -1;
        struct statfs fs;
        struct stat st, own;
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return error_new(ERROR_NOT_FOUND, "no network namespace at %s", path);
        if (fd < 0)
                return error_errno(errno, "open network namespace %s", path);
        if (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
                return error_new(ERROR_NOT_FOUND, "%s is not a network namespace", path);
        TRY(pod_own_netns(&own_fd));
        if (fstat(fd, &st) == 0 && fstat(own_fd, &own) == 0 && st.st_ino == own.st_ino)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "CNI_NETNS %s is the network namespace of the plugin itself", path);
        *out_fd = TAKE_FD(fd);
        return NULL;
}

struct error *pod_enter(int netns_fd)
{
        return setns(netns_fd, CLONE_NEWNET) < 0 ? error_errno(errno, "enter a network namespace") : NULL;
}

static void put_up(struct netlink *nl, int index)
{
        struct ifinfomsg info = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
        netlink_begin(nl, RTM_NEWLINK, NLM_F_ACK, &info, sizeof(info));
}

/* The gateway of a route: its own, else the first of the addresses of its family; family 0: none, on the link. */
static struct address gateway_of(const struct route *route, const struct result *result, size_t first_ip)
{
        if (route->gateway.family)
                return route->gateway;
        for (size_t i = first_ip; i < result->n_ips; i++)
                if (result->ips[i].gateway.family == route->dst.family)
                        return result->ips[i].gateway;
        return (struct address){ 0 };
}

static void put_metrics(struct netlink *nl, const struct route *route)
{
        if (route->mtu <= 0 && route->advmss <= 0)
                return;
        size_t metrics = netlink_nest(nl, RTA_METRICS);
        if (route->mtu > 0)
                netlink_put_u32(nl, RTAX_MTU, (uint32_t) route->mtu);
        if (route->advmss > 0)
                netlink_put_u32(nl, RTAX_ADVMSS, (uint32_t) route->advmss);
        netlink_nest_end(nl, metrics);
}

static void put_route(struct netlink *nl, int index, const struct route *route, const struct address *gateway)
{
        struct rtmsg info = { .rtm_family = route->dst.family,
                              .rtm_dst_len = route->dst.prefix,
                              .rtm_table = route->table > 0 && route->table < 256 ? (uint8_t) route->table
                                                                                  : RT_TABLE_MAIN,
                              .rtm_protocol = RTPROT_BOOT,
                              .rtm_scope = route->scope > 0 ? (uint8_t) route->scope : RT_SCOPE_UNIVERSE,
                              .rtm_type = RTN_UNICAST };
        netlink_begin(nl, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
        if (route->dst.prefix)
                netlink_put(nl, RTA_DST, route->dst.bytes, address_length(&route->dst));
        if (gateway->family)
                netlink_put(nl, RTA_GATEWAY, gateway->bytes, address_length(gateway));
        netlink_put_u32(nl, RTA_OIF, (uint32_t) index);
        if (route->priority > 0)
                netlink_put_u32(nl, RTA_PRIORITY, (uint32_t) route->priority);
        if (route->table > 0)
                netlink_put_u32(nl, RTA_TABLE, (uint32_t) route->table);
        put_metrics(nl, route);
}

static struct error *sysctls(const struct config *config, const char *ifname, const struct result *result,
                             size_t first_ip)
{
        bool ipv6 = false;
        for (size_t i = first_ip; i < result->n_ips; i++)
                ipv6 |= result->ips[i].address.family == AF_INET6;
        if (ipv6)
                TRY(link_sysctl("0", "ipv6/conf/%s/disable_ipv6", ifname));
        TRY(link_sysctl(config->enable_dad ? "1" : "0", "ipv6/conf/%s/accept_dad", ifname));
        return link_sysctl("1", "ipv4/conf/%s/arp_notify", ifname);
}

struct settling {
        int index;
        bool tentative, failed;
};

static void note_tentative(const struct nlmsghdr *message, void *context)
{
        struct settling *s = context;
        const struct ifaddrmsg *info = (const void *) (message + 1);
        if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < sizeof(*message) + sizeof(*info) ||
            info->ifa_index != (uint32_t) s->index || info->ifa_scope == RT_SCOPE_LINK)
                return;
        s->tentative |= (info->ifa_flags & IFA_F_TENTATIVE) != 0;
        s->failed |= (info->ifa_flags & IFA_F_DADFAILED) != 0;
}

/* Waits for the kernel to have looked whether somebody has these addresses. */
static struct error *settle(struct netlink *nl, int index, const char *ifname)
{
        struct wait wait = wait_of_ms(DAD_MS);
        for (;;) {
                struct ifaddrmsg filter = { .ifa_family = AF_INET6, .ifa_index = (uint32_t) index };
                struct settling s = { .index = index };
                int errnum = 0;
                netlink_begin(nl, RTM_GETADDR, NLM_F_DUMP, &filter, sizeof(filter));
                TRY(netlink_ask(nl, note_tentative, &s, &errnum));
                if (s.failed)
                        return error_new(ERROR_ALREADY_EXISTS, "an IPv6 address of %s is in use by another",
                                         ifname);
                if (errnum || !s.tentative)
                        return errnum ? error_errno(errnum, "list addresses of %s", ifname) : NULL;
                TRY(wait_delay(&wait, 20, "an IPv6 address that stays tentative"));
        }
}

static struct error *send_all(struct netlink *nl, const struct config *config, int index, const char *ifname,
                              const struct result *result, size_t first_ip, size_t first_route)
{
        size_t n_ips = result->n_ips - first_ip, n_routes = result->n_routes - first_route;
        size_t n = n_ips + n_routes + 2;
        int *errnums = arena_take(config->arena, n * sizeof(*errnums));
        char text[ADDRESS_TEXT_BYTES];
        for (size_t i = 0; i < n_ips; i++)
                link_put_address(nl, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, index,
                                 &result->ips[first_ip + i].address, config->enable_dad);
        put_up(nl, index);
        put_up(nl, LOOPBACK_INDEX);
        for (size_t i = 0; i < n_routes; i++) {
                const struct route *route = &result->routes[first_route + i];
                struct address gateway = gateway_of(route, result, first_ip);
                put_route(nl, index, route, &gateway);
        }
        TRY(netlink_talk(nl, errnums, n));
        for (size_t i = 0; i < n; i++) {
                if (!errnums[i])
                        continue;
                if (i < n_ips)
                        return error_errno(errnums[i], "give %s address %s%s", ifname,
                                           address_cidr(&result->ips[first_ip + i].address, text),
                                           netlink_reason(nl));
                if (i < n_ips + 2)
                        return error_errno(errnums[i], "set %s up", i == n_ips ? ifname : "lo");
                return error_errno(errnums[i], "add route %s%s",
                                   address_cidr(&result->routes[first_route + i - n_ips - 2].dst, text),
                                   netlink_reason(nl));
        }
        return NULL;
}

struct error *pod_configure(const struct config *config, const char *ifname, const struct result *result,
                            size_t first_ip, size_t first_route)
{
        _cleanup_(netlink_freep) struct netlink *nl = NULL;
        struct link link;
        if (config->disable_container_interface)
                return NULL;
        TRY(netlink_open(&nl));
        TRY(link_get(nl, ifname, 0, &link));
        if (!link.index)
                return error_new(ERROR_FAILED_PRECONDITION, "%s has gone from the pod", ifname);
        if (config->ipam.type)
                TRY(sysctls(config, ifname, result, first_ip));
        TRY(fault_point("bridge.pod.sysctls"));
        TRY(send_all(nl, config, link.index, ifname, result, first_ip, first_route));
        TRY(fault_point("bridge.pod.configured"));
        return config->enable_dad ? settle(nl, link.index, ifname) : NULL;
}

struct wanted {
        int index;
        struct address address; /* or the destination of a route */
        bool found;
};

static void match_address(const struct nlmsghdr *message, void *context)
{
        struct wanted *wanted = context;
        const struct ifaddrmsg *info = (const void *) (message + 1);
        size_t fixed_bytes = sizeof(*message) + sizeof(*info), len_bytes = address_length(&wanted->address);
        if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < fixed_bytes ||
            info->ifa_index != (uint32_t) wanted->index || info->ifa_prefixlen != wanted->address.prefix)
                return;
        const struct nlattr *a = netlink_attribute(info + 1, message->nlmsg_len - fixed_bytes, IFA_ADDRESS);
        wanted->found |= info->ifa_family == wanted->address.family && a && netlink_length(a) == len_bytes &&
                         memcmp(netlink_value(a), wanted->address.bytes, len_bytes) == 0;
}

static void match_route(const struct nlmsghdr *message, void *context)
{
        struct wanted *wanted = context;
        const struct rtmsg *info = (const void *) (message + 1);
        size_t fixed_bytes = sizeof(*message) + sizeof(*info), len_bytes = address_length(&wanted->address);
        if (message->nlmsg_type != RTM_NEWROUTE || message->nlmsg_len < fixed_bytes ||
            info->rtm_family != wanted->address.family || info->rtm_dst_len != wanted->address.prefix)
                return;
        const struct nlattr *a = netlink_attribute(info + 1, message->nlmsg_len - fixed_bytes, RTA_DST);
        wanted->found |=
                !info->rtm_dst_len || (a && netlink_length(a) == len_bytes &&
                                       memcmp(netlink_value(a), wanted->address.bytes, len_bytes) == 0);
}

static struct error *must_have(struct netlink *nl, const char *ifname, int index, const struct address *a,
                               bool route)
{
        char text[ADDRESS_TEXT_BYTES];
        struct wanted wanted = { .index = index, .address = *a };
        struct ifaddrmsg addresses = { .ifa_family = a->family, .ifa_index = (uint32_t) index };
        struct rtmsg routes = { .rtm_family = a->family };
        int errnum = 0;
        if (route)
                netlink_begin(nl, RTM_GETROUTE, NLM_F_DUMP, &routes, sizeof(routes));
        else
                netlink_begin(nl, RTM_GETADDR, NLM_F_DUMP, &addresses, sizeof(addresses));
        TRY(netlink_ask(nl, route ? match_route : match_address, &wanted, &errnum));
        if (errnum)
                return error_errno(errnum, "list %s", route ? "routes" : "addresses");
        if (!wanted.found)
                return error_new(ERROR_FAILED_PRECONDITION, "%s has no %s %s", ifname,
                                 route ? "route" : "address", address_cidr(a, text));
        return NULL;
}

struct error *pod_check(const char *ifname, const struct result *result, struct link *out)
{
        _cleanup_(netlink_freep) struct netlink *nl = NULL;
        int64_t own = -1;
        char mac[18];
        TRY(netlink_open(&nl));
        TRY(link_get(nl, ifname, 0, out));
        if (!out->index || strcmp(out->kind, "veth") != 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the pod has no interface %s of kind veth",
                                 ifname);
        for (size_t i = 0; i < result->n_interfaces; i++)
                if (strcmp(result->interfaces[i].name, ifname) == 0 && result->interfaces[i].sandbox)
                        own = (int64_t) i;
        if (own < 0)
                return error_new(ERROR_FAILED_PRECONDITION, "prevResult has no interface %s", ifname);
        const char *want = result->interfaces[own].mac;
        if (want && *want && strcasecmp(want, link_mac_text(out->mac, mac)) != 0)
                return error_new(ERROR_FAILED_PRECONDITION, "%s has mac %s, not %s", ifname, mac, want);
        for (size_t i = 0; i < result->n_ips; i++)
                if (result->ips[i].interface == own)
                        TRY(must_have(nl, ifname, out->index, &result->ips[i].address, false));
        if (result->n_ips && !(out->flags & IFF_UP))
                return error_new(ERROR_FAILED_PRECONDITION, "%s is down", ifname);
        for (size_t i = 0; i < result->n_routes; i++)
                TRY(must_have(nl, ifname, out->index, &result->routes[i].dst, true));
        return NULL;
}
