#include "base/fault.h"
#include "cni/bridge/commands.h"
#include "cni/bridge/ipam.h"
#include "cni/bridge/pod.h"
#include <string.h>

/* The first failure, with the next one dropped. */
static struct error *first_of(struct error *first, struct error *next)
{
        if (first)
                error_free(next);
        return first ? first : next;
}

static struct error *look_inside(int netns_fd, int own_fd, const char *ifname, struct link *out)
{
        _cleanup_(netlink_freep) struct netlink *nl = NULL;
        TRY(pod_enter(netns_fd));
        struct error *e = netlink_open(&nl);
        struct error *back = pod_enter(own_fd);
        e = first_of(e, back);
        return e ? e : link_get(nl, ifname, 0, out);
}

/* The host end of what another bridge plugin made, which has a name of its own choice: by the pod's end. Only a veth whose
 * other end is a port of this bridge, or of none any more, is taken for the network's. */
static struct error *find_by_pod(const struct environment *env, const struct config *config,
                                 struct netlink *nl, struct link *out)
{
        _cleanup_(closep) int netns_fd = -1, own_fd = -1;
        struct link inside, bridge, host;
        int netns = -1;
        if (!*env->netns)
                return NULL;
        struct error *e = pod_open_netns(env->netns, &netns_fd);
        if (e) {
                error_ignore(e); /* the namespace is gone, and the pair with it */
                return NULL;
        }
        TRY(pod_own_netns(&own_fd));
        TRY(look_inside(netns_fd, own_fd, env->ifname, &inside));
        if (!inside.index || !inside.peer || strcmp(inside.kind, "veth") != 0)
                return NULL;
        TRY(link_get(nl, config->bridge, 0, &bridge));
        TRY(link_get(nl, NULL, inside.peer, &host));
        TRY(link_netns_number(nl, netns_fd, &netns));
        /* The pod chooses indexes; which namespace the other end is in the kernel says. */
        bool ours = host.index && strcmp(host.kind, "veth") == 0 && host.peer == inside.index && netns >= 0 &&
                    host.peer_netns == netns && (!host.master || host.master == bridge.index);
        if (ours && (!*host.alias || link_owner_is(&host, config->name, env->container_id, env->ifname)))
                *out = host;
        return NULL;
}

static struct error *find(const struct environment *env, const struct config *config, struct netlink *nl,
                          struct link *out)
{
        char name[16];
        struct link link;
        TRY(link_get(nl, link_host_name(config->name, env->container_id, env->ifname, name), 0, &link));
        if (link.index && link_owner_is(&link, config->name, env->container_id, env->ifname))
                *out = link;
        else
                TRY(find_by_pod(env, config, nl, out));
        return NULL;
}

static struct error *close_link(const struct environment *env, const struct config *config,
                                struct netlink *nl, struct link *link)
{
        char alias[256];
        TRY(find(env, config, nl, link));
        if (link->index)
                TRY(link_close_port(nl, link,
                                    link_alias(config->name, env->container_id, env->ifname, true, alias)));
        return fault_point("bridge.closed");
}

static struct error *remove_rules(const struct environment *env, const struct config *config,
                                  struct rules **rules)
{
        struct error *e = rules_open(rules);
        if (e && error_code_of(e) == ERROR_FAILED_PRECONDITION) {
                error_ignore(e); /* without nftables there are no rules */
                return NULL;
        }
        if (!e)
                e = rules_remove(*rules, config->name, env->container_id, env->ifname);
        return e ? e : fault_point("bridge.rules.removed");
}

struct error *command_del(const struct environment *env, const struct config *config)
{
        _cleanup_(netlink_freep) struct netlink *nl = NULL;
        struct rules *rules = NULL;
        struct link link = { 0 };
        TRY(netlink_open(&nl));
        /* One that fails must not keep the others from being done. The port is closed before its address is free. */
        struct error *e = remove_rules(env, config, &rules);
        e = first_of(e, close_link(env, config, nl, &link));
        e = first_of(e, ipam_del(env, config));
        e = first_of(e, leave_links(nl, rules, &link.index, link.index ? 1 : 0));
        rules_free(rules);
        return e;
}
