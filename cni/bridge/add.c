#include "base/fault.h"
#include "cni/bridge/commands.h"
#include "cni/bridge/ipam.h"
#include "cni/bridge/pod.h"
#include "cni/bridge/vlan.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

/* An ADD on its way: what there is of it, and so what must be undone. */
struct adding {
        const struct environment *env;
        const struct config *config;
        struct netlink *nl;
        struct rules *rules;
        int netns_fd, own_fd;
        struct veth veth;
        struct link bridge, vlan_gateway; /* vlan_gateway.index 0: none */
        struct result result;
        size_t first_interface, first_ip, first_route; /* those before are of prevResult */
        bool has_veth, has_ipam, has_rules;
};

static struct error *random_mac(uint8_t mac[6])
{
        if (getrandom(mac, 6, 0) != 6)
                return error_errno(errno, "getrandom");
        mac[0] = (uint8_t) ((mac[0] & 0xfe) | 0x02); /* of one card, given by hand */
        return NULL;
}

static struct error *prepare(struct adding *a)
{
        const struct config *config = a->config;
        TRY(pod_open_netns(a->env->netns, &a->netns_fd));
        TRY(pod_own_netns(&a->own_fd));
        TRY(netlink_open(&a->nl));
        if (rules_wanted(config))
                TRY(rules_open(&a->rules));
        a->veth = (struct veth){ .network = config->name,
                                 .container_id = a->env->container_id,
                                 .ifname = a->env->ifname,
                                 .netns_fd = a->netns_fd };
        (void) link_host_name(config->name, a->env->container_id, a->env->ifname, a->veth.host_name);
        TRY(random_mac(a->veth.host_mac));
        TRY(random_mac(a->veth.mac));
        if (config->has_mac)
                memcpy(a->veth.mac, config->mac, sizeof(a->veth.mac));
        a->result.arena = config->arena;
        if (config->prev_result)
                TRY_WRAP(result_parse(config->arena, config->prev_result, config->version, &a->result),
                         "prevResult");
        a->first_interface = a->result.n_interfaces;
        a->first_ip = a->result.n_ips;
        a->first_route = a->result.n_routes;
        return NULL;
}

static bool has_default(const struct result *result, size_t first, uint8_t family)
{
        for (size_t i = first; i < result->n_routes; i++)
                if (result->routes[i].dst.family == family && result->routes[i].dst.prefix == 0)
                        return true;
        return false;
}

static void add_default_route(struct adding *a, const struct result_ip *ip)
{
        struct route route = { .dst = { .family = ip->address.family },
                               .gateway = ip->gateway,
                               .mtu = -1,
                               .advmss = -1,
                               .priority = -1,
                               .table = -1,
                               .scope = -1 };
        if (!has_default(&a->result, a->first_route, ip->address.family))
                result_add_route(&a->result, &route);
}

/* The addresses belong to the pod's end; each family's first gateway is the way out if it is to be. */
static struct error *add_addresses(struct adding *a)
{
        const struct config *config = a->config;
        if (!config->ipam.type)
                return NULL;
        TRY(ipam_add(a->env, config, &a->result, &a->has_ipam));
        TRY(fault_point("bridge.ipam.added"));
        for (size_t i = a->first_ip; i < a->result.n_ips; i++) {
                struct result_ip *ip = &a->result.ips[i];
                ip->interface = (int64_t) a->first_interface + 2;
                struct address network = address_network(&ip->address);
                if (!ip->gateway.family && config->is_gateway)
                        ip->gateway = address_next(&network);
                if (config->is_default_gateway)
                        add_default_route(a, ip);
        }
        return NULL;
}

static struct error *add_gateways(struct adding *a)
{
        const struct config *config = a->config;
        bool ipv4 = false, ipv6 = false;
        for (size_t i = a->first_ip; config->is_gateway && i < a->result.n_ips; i++) {
                const struct result_ip *ip = &a->result.ips[i];
                struct address address = ip->gateway;
                address.prefix = ip->address.prefix;
                if (config->vlan && !a->vlan_gateway.index)
                        TRY(vlan_ensure_gateway(a->nl, config, &a->bridge, &a->vlan_gateway));
                TRY(link_ensure_address(a->nl, config->vlan ? &a->vlan_gateway : &a->bridge, &address,
                                        config->force_address));
                ipv4 |= address.family == AF_INET;
                ipv6 |= address.family == AF_INET6;
        }
        if (ipv4)
                TRY(link_sysctl("1", "ipv4/ip_forward"));
        return ipv6 ? link_sysctl("1", "ipv6/conf/all/forwarding") : NULL;
}

static struct error *add_rules(struct adding *a)
{
        const struct rules_attachment attachment = { .config = a->config,
                                                     .env = a->env,
                                                     .result = &a->result,
                                                     .first_ip = a->first_ip,
                                                     .veth = &a->veth };
        if (!a->rules)
                return NULL;
        a->has_rules = true;
        TRY(rules_add(a->rules, &attachment));
        return fault_point("bridge.rules.added");
}

/* The bridge's mac may have gone with the first port, so it is read last. */
static struct error *add_interfaces(struct adding *a)
{
        struct arena *arena = a->config->arena;
        char bridge_mac[18], host_mac[18], mac[18];
        TRY(link_get(a->nl, a->config->bridge, 0, &a->bridge));
        if (!a->bridge.index)
                return error_new(ERROR_FAILED_PRECONDITION, "bridge %s has gone", a->config->bridge);
        result_add_interface(&a->result, a->config->bridge,
                             arena_copy(arena, link_mac_text(a->bridge.mac, bridge_mac), 17), NULL);
        result_add_interface(&a->result, a->veth.host_name,
                             arena_copy(arena, link_mac_text(a->veth.host_mac, host_mac), 17), NULL);
        result_add_interface(&a->result, a->env->ifname,
                             arena_copy(arena, link_mac_text(a->veth.mac, mac), 17), a->env->netns);
        if (a->vlan_gateway.index)
                result_add_interface(&a->result,
                                     arena_copy(arena, a->vlan_gateway.name, strlen(a->vlan_gateway.name)),
                                     arena_copy(arena, link_mac_text(a->vlan_gateway.mac, mac), 17), NULL);
        return NULL;
}

static struct error *configure_pod(struct adding *a)
{
        TRY(pod_enter(a->netns_fd));
        struct error *e = pod_configure(a->config, a->env->ifname, &a->result, a->first_ip, a->first_route);
        struct error *back = pod_enter(a->own_fd);
        if (e)
                error_free(back);
        return e ? e : back;
}

static struct error *add_all(struct adding *a)
{
        TRY(link_ensure_bridge(a->nl, a->config, &a->bridge));
        TRY(link_make_veth(a->nl, a->config, &a->bridge, &a->veth));
        a->has_veth = true;
        TRY(fault_point("bridge.linked"));
        TRY(add_addresses(a));
        TRY(add_gateways(a));
        TRY(add_rules(a));
        TRY(configure_pod(a));
        TRY(add_interfaces(a));
        if (!dns_is_empty(&a->config->dns))
                a->result.dns = a->config->dns;
        return fault_point("bridge.added");
}

/* What was made goes again, the last first. The failure that led here is what counts. */
static void undo(struct adding *a)
{
        if (a->has_rules)
                error_ignore(rules_remove(a->rules, a->config->name, a->env->container_id, a->env->ifname));
        if (a->has_ipam)
                error_ignore(ipam_del(a->env, a->config));
        if (a->has_veth)
                error_ignore(link_remove_named(a->nl, a->veth.host_name));
}

struct error *command_add(const struct environment *env, const struct config *config, struct buf *out)
{
        struct adding a = { .env = env, .config = config, .netns_fd = -1, .own_fd = -1 };
        struct error *e = prepare(&a);
        if (!e) {
                e = add_all(&a);
                if (!e)
                        e = result_write(&a.result, config->version, out);
                if (e)
                        undo(&a);
        }
        rules_free(a.rules);
        netlink_free(a.nl);
        closep(&a.netns_fd);
        closep(&a.own_fd);
        return e;
}
