/* The addresses that a configuration offers, checked as host-local checks them. */
#include "cni/bridge/config.h"
#include <string.h>
#include <sys/socket.h>

static struct error *check_subnet(const struct address *subnet)
{
        char text[ADDRESS_TEXT_BYTES], right[ADDRESS_TEXT_BYTES];
        struct address network = address_network(subnet);
        if (subnet->prefix + 2U > address_bits(subnet))
                return error_new(ERROR_INVALID_ARGUMENT, "subnet %s is too small to allocate from",
                                 address_cidr(subnet, text));
        if (address_compare(&network, subnet) != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "subnet %s has host bits set: the network is %s",
                                 address_cidr(subnet, text), address_cidr(&network, right));
        return NULL;
}

/* The last address that is given out: of IPv4 the one before the broadcast address. */
static struct address last_of(const struct address *subnet)
{
        struct address last = address_broadcast(subnet);
        if (last.family == AF_INET)
                last.bytes[3]--;
        return last;
}

static struct error *read_bound(const struct jv *json, const char *key, const struct address *subnet,
                                struct address *bound)
{
        const char *text = "";
        char net[ADDRESS_TEXT_BYTES];
        TRY(jv_want_text(json, key, &text));
        if (!*text)
                return NULL;
        TRY_WRAP(address_parse(text, bound), "%s", key);
        if (!address_within(subnet, bound))
                return error_new(ERROR_INVALID_ARGUMENT, "%s %s is not in subnet %s", key, text,
                                 address_cidr(subnet, net));
        return NULL;
}

static struct error *read_range(const struct jv *json, struct range *out)
{
        const char *subnet = "", *gateway = "";
        TRY(jv_want_text(json, "subnet", &subnet));
        TRY(jv_want_text(json, "gateway", &gateway));
        if (!*subnet)
                return error_new(ERROR_INVALID_ARGUMENT, "\"subnet\" is missing");
        TRY_WRAP(address_parse_cidr(subnet, &out->subnet), "subnet");
        TRY(check_subnet(&out->subnet));
        out->start = out->gateway = address_next(&out->subnet);
        out->end = last_of(&out->subnet);
        if (*gateway)
                TRY_WRAP(address_parse(gateway, &out->gateway), "gateway");
        if (out->gateway.family != out->subnet.family)
                return error_new(ERROR_INVALID_ARGUMENT, "gateway %s is of another family than subnet %s",
                                 gateway, subnet);
        TRY(read_bound(json, "rangeStart", &out->subnet, &out->start));
        TRY(read_bound(json, "rangeEnd", &out->subnet, &out->end));
        out->start.prefix = out->end.prefix = out->gateway.prefix = out->subnet.prefix;
        bool only_gateway = address_compare(&out->start, &out->end) == 0 &&
                            address_compare(&out->start, &out->gateway) == 0;
        if (address_compare(&out->start, &out->end) > 0 || only_gateway)
                return error_new(ERROR_INVALID_ARGUMENT, "the range in subnet %s has no address to give",
                                 subnet);
        return NULL;
}

static bool overlap(const struct range *a, const struct range *b)
{
        return a->subnet.family == b->subnet.family && address_compare(&a->start, &b->end) <= 0 &&
               address_compare(&b->start, &a->end) <= 0;
}

static struct error *check_apart(const struct range *a, const struct range *b)
{
        char a_text[ADDRESS_TEXT_BYTES], b_text[ADDRESS_TEXT_BYTES];
        if (!overlap(a, b))
                return NULL;
        return error_new(ERROR_INVALID_ARGUMENT, "the range in subnet %s overlaps with that in %s",
                         address_cidr(&a->subnet, a_text), address_cidr(&b->subnet, b_text));
}

static struct error *check_sets(const struct ipam *ipam)
{
        for (size_t s = 0; s < ipam->n_sets; s++)
                for (size_t i = 0; i < ipam->sets[s].n_ranges; i++) {
                        const struct range *range = &ipam->sets[s].ranges[i];
                        if (range->subnet.family != ipam->sets[s].ranges[0].subnet.family)
                                return error_new(ERROR_INVALID_ARGUMENT,
                                                 "range set %zu has IPv4 and IPv6: mismatched families", s);
                        for (size_t t = 0; t <= s; t++)
                                for (size_t k = 0; k < (t < s ? ipam->sets[t].n_ranges : i); k++)
                                        TRY(check_apart(range, &ipam->sets[t].ranges[k]));
                }
        return NULL;
}

/* Appends to config's sets those of a list of lists of ranges. */
static struct error *read_sets(struct config *config, const struct jv *list, const char *key)
{
        for (const struct jv *set = list ? list->first : NULL; set; set = set->next) {
                if (set->type != JV_ARRAY || set->n_children == 0)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "\"%s\" has an entry that is no list of ranges", key);
                struct range_set *out = &config->ipam.sets[config->ipam.n_sets++];
                out->ranges = arena_take(config->arena, set->n_children * sizeof(*out->ranges));
                for (const struct jv *v = set->first; v; v = v->next)
                        TRY_WRAP(read_range(v, &out->ranges[out->n_ranges++]), "%s", key);
        }
        return NULL;
}

static struct error *read_ranges(struct config *config, const struct jv *ipam, const struct jv *runtime)
{
        const struct jv *given = NULL, *own = NULL, *subnet = NULL;
        TRY(jv_want(runtime, "ipRanges", JV_ARRAY, &given));
        TRY(jv_want(ipam, "ranges", JV_ARRAY, &own));
        TRY(jv_want(ipam, "subnet", JV_STRING, &subnet));
        size_t n = (given ? given->n_children : 0) + (own ? own->n_children : 0) + 1;
        config->ipam.sets = arena_take(config->arena, n * sizeof(*config->ipam.sets));
        TRY(read_sets(config, given, "ipRanges"));
        if (subnet && *subnet->text) {
                struct range_set *set = &config->ipam.sets[config->ipam.n_sets++];
                set->ranges = arena_take(config->arena, sizeof(*set->ranges));
                set->n_ranges = 1;
                TRY_WRAP(read_range(ipam, &set->ranges[0]), "ipam");
        }
        TRY(read_sets(config, own, "ranges"));
        return check_sets(&config->ipam);
}

/* Before 0.3.0 a result has room for one address of a family. */
static struct error *check_version(const struct config *config)
{
        size_t n[2] = { 0 };
        for (size_t i = 0; i < config->ipam.n_sets; i++)
                n[config->ipam.sets[i].ranges[0].subnet.family == AF_INET6]++;
        if (config->version < CNI_0_3_0 && (n[0] > 1 || n[1] > 1))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "CNI version %s does not support more than 1 address per family",
                                 cni_version_text(config->version));
        return NULL;
}

struct error *config_read_route(const struct jv *json, struct route *out)
{
        const char *dst = "", *gateway = "";
        *out = (struct route){ .mtu = -1, .advmss = -1, .priority = -1, .table = -1, .scope = -1 };
        TRY(jv_want_text(json, "dst", &dst));
        TRY(jv_want_text(json, "gw", &gateway));
        if (!*dst)
                return error_new(ERROR_INVALID_ARGUMENT, "a route without \"dst\"");
        TRY_WRAP(address_parse_cidr(dst, &out->dst), "route");
        out->dst = address_network(&out->dst);
        if (*gateway)
                TRY_WRAP(address_parse(gateway, &out->gateway), "route to %s", dst);
        TRY(jv_want_integer(json, "mtu", 0, UINT32_MAX, &out->mtu));
        TRY(jv_want_integer(json, "advmss", 0, UINT32_MAX, &out->advmss));
        TRY(jv_want_integer(json, "priority", 0, UINT32_MAX, &out->priority));
        TRY(jv_want_integer(json, "table", 0, UINT32_MAX, &out->table));
        return jv_want_integer(json, "scope", 0, 255, &out->scope);
}

static struct error *read_routes(struct config *config, const struct jv *ipam)
{
        const struct jv *list = NULL;
        TRY(jv_want(ipam, "routes", JV_ARRAY, &list));
        config->ipam.routes =
                arena_take(config->arena, (list ? list->n_children : 0) * sizeof(*config->ipam.routes));
        for (const struct jv *v = list ? list->first : NULL; v; v = v->next)
                TRY(config_read_route(v, &config->ipam.routes[config->ipam.n_routes++]));
        return NULL;
}

static struct error *request(struct config *config, const char *text)
{
        struct ipam *ipam = &config->ipam;
        TRY_WRAP(address_parse_either(text, &ipam->requested[ipam->n_requested]), "requested address");
        ipam->n_requested++;
        return NULL;
}

/* Asked for by CNI_ARGS, by args and by the capability: all of them together. */
static struct error *read_requested(const struct environment *env, struct config *config,
                                    const struct jv *runtime)
{
        const char *const *args = NULL, *const *capability = NULL;
        size_t n = 1;
        TRY(jv_want_texts(config->arena, jv_get(jv_get(config->json, "args"), "cni"), "ips", &args));
        TRY(jv_want_texts(config->arena, runtime, "ips", &capability));
        for (const char *const *t = args; t && *t; t++)
                n++;
        for (const char *const *t = capability; t && *t; t++)
                n++;
        config->ipam.requested = arena_take(config->arena, n * sizeof(*config->ipam.requested));
        if (env->arg_ip && *env->arg_ip)
                TRY(request(config, env->arg_ip));
        for (const char *const *t = args; t && *t; t++)
                TRY(request(config, *t));
        for (const char *const *t = capability; t && *t; t++)
                TRY(request(config, *t));
        return NULL;
}

struct error *config_read_ipam(const struct environment *env, struct config *config)
{
        const struct jv *ipam = jv_get(config->json, "ipam"),
                        *runtime = jv_get(config->json, "runtimeConfig");
        TRY(jv_want_text(ipam, "resolvConf", &config->ipam.resolv_conf));
        TRY_WRAP(read_ranges(config, ipam, runtime), "ipam");
        TRY_WRAP(read_routes(config, ipam), "ipam");
        if (env->command == COMMAND_STATUS) {
                bool by_runtime = false; /* then they are not known here */
                TRY(jv_want_bool(jv_get(config->json, "capabilities"), "ipRanges", &by_runtime));
                if (by_runtime)
                        return NULL;
        }
        if (config->ipam.n_sets == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "ipam: no IP ranges specified");
        if (env->command == COMMAND_STATUS)
                return NULL;
        TRY(check_version(config));
        return read_requested(env, config, runtime);
}
