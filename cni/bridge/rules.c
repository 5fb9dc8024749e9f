#include "cni/bridge/rules.h"

/* Masquerade, port mappings and macspoofchk are not built yet: a configuration that asks for one is refused by its name. */
struct rules {
        char unused;
};

bool rules_wanted(const struct config *config)
{
        return config->ip_masq || config->n_ports || config->mac_spoof_check;
}

struct error *rules_open(struct rules **out)
{
        *out = NEW(struct rules);
        return NULL;
}

void rules_free(struct rules *rules)
{
        free(rules);
}

struct error *rules_add(struct rules *rules, const struct rules_attachment *attachment)
{
        (void) rules;
        const struct config *config = attachment->config;
        return error_new(ERROR_UNIMPLEMENTED, "\"%s\" is not supported by skiff-bridge",
                         config->ip_masq   ? "ipMasq"
                         : config->n_ports ? "portMappings"
                                           : "macspoofchk");
}

struct error *rules_check(struct rules *rules, const struct rules_attachment *attachment)
{
        return rules_add(rules, attachment);
}

struct error *rules_remove(struct rules *rules, const char *network, const char *container_id,
                           const char *ifname)
{
        (void) rules;
        (void) network;
        (void) container_id;
        (void) ifname;
        return NULL;
}

struct error *rules_keep_only(struct rules *rules, const char *network, const struct attachment *valid,
                              size_t n)
{
        (void) rules;
        (void) network;
        (void) valid;
        (void) n;
        return NULL;
}
