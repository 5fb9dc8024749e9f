#include "cni/bridge/commands.h"
#include "cni/bridge/ipam.h"
#include "cni/bridge/pod.h"
#include <string.h>

static struct error *check_inside(int netns_fd, int own_fd, const char *ifname, const struct result *result,
                                  struct link *out)
{
        TRY(pod_enter(netns_fd));
        struct error *e = pod_check(ifname, result, out);
        struct error *back = pod_enter(own_fd);
        if (e)
                error_free(back);
        return e ? e : back;
}

static struct error *check_bridge(struct netlink *nl, const struct config *config, const struct link *inside,
                                  struct link *host)
{
        struct link bridge;
        TRY(link_get(nl, config->bridge, 0, &bridge));
        if (!bridge.index)
                return error_new(ERROR_FAILED_PRECONDITION, "bridge %s does not exist", config->bridge);
        if (strcmp(bridge.kind, "bridge") != 0)
                return error_new(ERROR_FAILED_PRECONDITION, "\"%s\" already exists but is not a bridge",
                                 config->bridge);
        TRY(link_get(nl, NULL, inside->peer, host));
        if (!host->index || host->master != bridge.index)
                return error_new(ERROR_FAILED_PRECONDITION, "the host end of %s is not a port of bridge %s",
                                 inside->name, config->bridge);
        return NULL;
}

static struct error *check_rules(const struct environment *env, const struct config *config,
                                 const struct result *result, const struct link *inside,
                                 const struct link *host)
{
        _cleanup_(rules_freep) struct rules *rules = NULL;
        struct veth veth = { .network = config->name,
                             .container_id = env->container_id,
                             .ifname = env->ifname };
        struct result own = { .arena = config->arena };
        if (!rules_wanted(config))
                return NULL;
        memcpy(veth.mac, inside->mac, sizeof(veth.mac));
        (void) snprintf(veth.host_name, sizeof(veth.host_name), "%s", host->name);
        for (size_t i = 0; i < result->n_ips; i++) {
                const struct result_ip *ip = &result->ips[i];
                if (ip->interface < (int64_t) result->n_interfaces && ip->interface >= 0 &&
                    strcmp(result->interfaces[ip->interface].name, env->ifname) == 0)
                        result_add_ip(&own, ip);
        }
        TRY(rules_open(&rules));
        const struct rules_attachment attachment = {
                .config = config, .env = env, .result = &own, .veth = &veth
        };
        return rules_check(rules, &attachment);
}

struct error *command_check(const struct environment *env, const struct config *config)
{
        _cleanup_(closep) int netns_fd = -1, own_fd = -1;
        _cleanup_(netlink_freep) struct netlink *nl = NULL;
        struct result result;
        struct link inside, host;
        if (!config->prev_result)
                return error_new(ERROR_INVALID_ARGUMENT, "Required prevResult missing");
        TRY_WRAP(result_parse(config->arena, config->prev_result, config->version, &result), "prevResult");
        TRY(ipam_check(env, config));
        TRY(pod_open_netns(env->netns, &netns_fd));
        TRY(pod_own_netns(&own_fd));
        TRY(netlink_open(&nl));
        TRY(check_inside(netns_fd, own_fd, env->ifname, &result, &inside));
        TRY(check_bridge(nl, config, &inside, &host));
        return check_rules(env, config, &result, &inside, &host);
}
