#include "cni/bridge/commands.h"
#include "cni/bridge/ipam.h"
#include "cni/bridge/link.h"
#include <string.h>

struct sweep {
        const struct config *config;
        struct link *links; /* those that nobody has, in the arena */
        size_t n;
};

static bool somebody_has(const struct config *config, const struct link *link)
{
        for (size_t i = 0; i < config->n_valid; i++) {
                const struct attachment *valid = &config->valid[i];
                char name[16];
                if (*link->alias ? link_owner_is(link, config->name, valid->container_id, valid->ifname)
                                 : strcmp(link->name, link_host_name(config->name, valid->container_id,
                                                                     valid->ifname, name)) == 0)
                        return true;
        }
        return false;
}

/* Only what this plugin made for this network: its group says so. */
static void collect(const struct link *link, void *context)
{
        struct sweep *sweep = context;
        if (link->group != link_group(sweep->config->name) || strcmp(link->kind, "veth") != 0 ||
            somebody_has(sweep->config, link))
                return;
        if ((sweep->n & (sweep->n - 1)) == 0) {
                size_t room = sweep->n ? 2 * sweep->n : 1;
                struct link *more = arena_take(sweep->config->arena, room * sizeof(*more));
                if (sweep->n)
                        memcpy(more, sweep->links, sweep->n * sizeof(*more));
                sweep->links = more;
        }
        sweep->links[sweep->n++] = *link;
}

static struct error *sweep_links(const struct config *config, struct netlink *nl, struct rules *rules)
{
        struct sweep sweep = { .config = config };
        TRY(link_each(nl, 0, collect, &sweep));
        int *indexes = arena_take(config->arena, sweep.n * sizeof(*indexes));
        for (size_t i = 0; i < sweep.n; i++) {
                indexes[i] = sweep.links[i].index;
                TRY(link_close_port(nl, &sweep.links[i], *sweep.links[i].alias ? sweep.links[i].alias : ""));
        }
        return leave_links(nl, rules, indexes, sweep.n);
}

static struct error *sweep_rules(const struct config *config, struct rules **rules)
{
        struct error *e = rules_open(rules);
        if (e && error_code_of(e) == ERROR_FAILED_PRECONDITION) {
                error_ignore(e); /* without nftables there are no rules */
                return NULL;
        }
        return e ? e : rules_keep_only(*rules, config->name, config->valid, config->n_valid);
}

struct error *command_gc(const struct environment *env, const struct config *config)
{
        _cleanup_(netlink_freep) struct netlink *nl = NULL;
        struct rules *rules = NULL;
        TRY(netlink_open(&nl));
        struct error *errors[3] = { sweep_rules(config, &rules), NULL, NULL };
        errors[1] = sweep_links(config, nl, rules);
        errors[2] = ipam_gc(env, config);
        rules_free(rules);
        struct error *first = NULL;
        for (size_t i = 0; i < LENGTH(errors); i++) {
                if (first)
                        error_free(errors[i]);
                else
                        first = errors[i];
        }
        return first;
}
