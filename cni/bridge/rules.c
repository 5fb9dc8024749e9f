#include "cni/bridge/rules.h"
#include "cni/bridge/firewall.h"
#include "cni/bridge/vlan.h"

struct rules {
        struct fw *fw;
};

bool rules_wanted(const struct config *config)
{
        return config->ip_masq || config->n_ports || config->mac_spoof_check;
}

struct error *rules_open(struct rules **out)
{
        struct fw *fw = NULL;
        TRY(fw_open(&fw));
        *out = NEW(struct rules);
        (*out)->fw = fw;
        return NULL;
}

void rules_free(struct rules *rules)
{
        if (rules)
                fw_free(rules->fw);
        free(rules);
}

/* The arrays are the configuration's arena's. */
static struct fw_attachment attachment_of(const struct rules_attachment *a)
{
        const struct config *c = a->config;
        size_t n = a->result->n_ips - a->first_ip;
        struct address *addresses = arena_take(c->arena, (n + 1) * sizeof(*addresses));
        struct fw_port *ports = arena_take(c->arena, (c->n_ports + 1) * sizeof(*ports));
        for (size_t i = 0; i < n; i++)
                addresses[i] = a->result->ips[a->first_ip + i].address;
        for (size_t i = 0; i < c->n_ports; i++)
                ports[i] = (struct fw_port){ .protocol = c->ports[i].protocol,
                                             .host_port = c->ports[i].host_port,
                                             .container_port = c->ports[i].container_port,
                                             .host = c->ports[i].host };
        struct fw_attachment out = { .network = c->name,
                                     .container_id = a->env->container_id,
                                     .ifname = a->env->ifname,
                                     .pod = a->env->pod,
                                     .addresses = addresses,
                                     .n_addresses = n,
                                     .masquerade = c->ip_masq,
                                     .ports = ports,
                                     .n_ports = c->n_ports,
                                     .snat = c->snat,
                                     .masq_all = c->masq_all,
                                     .mark_masq_bit = c->mark_masq_bit,
                                     .conditions_v4 = c->conditions_v4,
                                     .conditions_v6 = c->conditions_v6,
                                     .spoof_check = c->mac_spoof_check,
                                     .host_ifname = a->veth->host_name };
        for (size_t i = 0; i < sizeof(out.mac); i++)
                out.mac[i] = a->veth->mac[i];
        return out;
}

struct error *rules_add(struct rules *rules, const struct rules_attachment *attachment)
{
        const struct fw_attachment a = attachment_of(attachment);
        char gateway[16];
        if (fw_needs_route_localnet(&a)) /* a port on the node's 127.0.0.1 goes out by the bridge */
                TRY(link_sysctl("1", "ipv4/conf/%s/route_localnet",
                                vlan_gateway_name(attachment->config, gateway)));
        return fw_add(rules->fw, &a);
}

struct error *rules_check(struct rules *rules, const struct rules_attachment *attachment)
{
        const struct fw_attachment a = attachment_of(attachment);
        return fw_check(rules->fw, &a);
}

struct error *rules_remove(struct rules *rules, const char *network, const char *container_id,
                           const char *ifname)
{
        return fw_remove(rules->fw, network, container_id, ifname);
}

struct error *rules_keep_only(struct rules *rules, const char *network, const struct attachment *valid,
                              size_t n)
{
        _cleanup_(freep) struct fw_id *ids = NEW_ARRAY(struct fw_id, n);
        for (size_t i = 0; i < n; i++)
                ids[i] = (struct fw_id){ valid[i].container_id, valid[i].ifname };
        return fw_keep_only(rules->fw, network, ids, n);
}
