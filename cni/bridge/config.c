#include "cni/bridge/config.h"
#include "cni/bridge/firewall_conditions.h"
#include <ctype.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

static const char *const versions[CNI_VERSIONS] = { "0.1.0", "0.2.0", "0.3.0", "0.3.1",
                                                    "0.4.0", "1.0.0", "1.1.0" };

const char *cni_version_text(enum cni_version version)
{
        return versions[version];
}

struct error *cni_version_parse(const char *text, enum cni_version *out)
{
        for (int i = 0; i < CNI_VERSIONS; i++)
                if (strcmp(text, versions[i]) == 0) {
                        *out = (enum cni_version) i;
                        return NULL;
                }
        return error_new(
                ERROR_OUT_OF_RANGE,
                "incompatible CNI versions: config is \"%.40s\", plugin supports 0.1.0, 0.2.0, 0.3.0, "
                "0.3.1, 0.4.0, 1.0.0, 1.1.0",
                text);
}

static struct error *read_version(const struct environment *env, struct config *config)
{
        const char *text = versions[CNI_0_1_0];
        TRY(jv_want_text(config->json, "cniVersion", &text));
        TRY(cni_version_parse(*text ? text : versions[CNI_0_1_0], &config->version));
        if (env->command == COMMAND_CHECK && config->version < CNI_0_4_0)
                return error_new(ERROR_OUT_OF_RANGE, "config version %s does not allow CHECK",
                                 versions[config->version]);
        if ((env->command == COMMAND_GC || env->command == COMMAND_STATUS) && config->version < CNI_1_1_0)
                return error_new(ERROR_OUT_OF_RANGE, "config version %s does not allow %s",
                                 versions[config->version], env->command_text);
        return NULL;
}

static struct error *read_basics(const struct environment *env, struct config *config)
{
        const char *name = "";
        TRY(jv_want_text(config->json, "name", &name));
        if (!*name)
                return error_new(ERROR_INVALID_ARGUMENT, "\"name\" is missing: the network has no name");
        if (!config_name_is_valid(name))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "\"name\" is no network's name (200 characters at most): %.200s", name);
        config->name = name;
        config->bridge = "";
        TRY(jv_want_text(config->json, "bridge", &config->bridge));
        if (!*config->bridge)
                config->bridge = "cni0";
        if (!config_ifname_is_valid(config->bridge))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "\"bridge\" is no interface's name (15 characters at most): %.200s",
                                 config->bridge);
        const struct jv *ipam = NULL;
        TRY(jv_want(config->json, "ipam", JV_OBJECT, &ipam));
        TRY(jv_want_text(ipam, "type", &config->ipam.type));
        if (config->ipam.type && !*config->ipam.type)
                config->ipam.type = NULL;
        if (config->ipam.type && !config_name_is_valid(config->ipam.type))
                return error_new(ERROR_INVALID_ARGUMENT, "ipam: \"type\" is no plugin's name: %.200s",
                                 config->ipam.type);
        config->ipam.is_local = config->ipam.type && strcmp(config->ipam.type, "host-local") == 0;
        config->ipam.data_dir = "";
        TRY(jv_want_text(ipam, "dataDir", &config->ipam.data_dir));
        if (!*config->ipam.data_dir)
                config->ipam.data_dir = "/var/lib/cni/networks";
        /* What a DEL does not need does not keep it from taking away what is there. */
        return env->command == COMMAND_DEL
                       ? NULL
                       : jv_want(config->json, "prevResult", JV_OBJECT, &config->prev_result);
}

static struct error *read_switches(struct config *c)
{
        int64_t mtu = 0;
        const char *backend = "";
        TRY(jv_want_bool(c->json, "isGateway", &c->is_gateway));
        TRY(jv_want_bool(c->json, "isDefaultGateway", &c->is_default_gateway));
        TRY(jv_want_bool(c->json, "forceAddress", &c->force_address));
        TRY(jv_want_bool(c->json, "ipMasq", &c->ip_masq));
        TRY(jv_want_bool(c->json, "hairpinMode", &c->hairpin));
        TRY(jv_want_bool(c->json, "promiscMode", &c->promisc));
        TRY(jv_want_bool(c->json, "macspoofchk", &c->mac_spoof_check));
        TRY(jv_want_bool(c->json, "enabledad", &c->enable_dad));
        TRY(jv_want_bool(c->json, "disableContainerInterface", &c->disable_container_interface));
        TRY(jv_want_bool(c->json, "portIsolation", &c->port_isolation));
        TRY(jv_want_integer(c->json, "mtu", 0, 65535, &mtu));
        TRY(jv_want_text(c->json, "ipMasqBackend", &backend));
        c->mtu = (uint32_t) mtu;
        c->is_gateway |= c->is_default_gateway;
        if (c->hairpin && c->promisc)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "cannot set hairpinMode and promiscMode at the same time");
        if (*backend && strcasecmp(backend, "nftables") != 0 && strcasecmp(backend, "iptables") != 0)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "\"ipMasqBackend\" is neither nftables nor iptables");
        if (c->disable_container_interface && c->ipam.type)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "ipam cannot be used with disableContainerInterface");
        return NULL;
}

static bool parse_mac(const char *text, uint8_t out[6])
{
        for (int i = 0; i < 6; i++) {
                char byte[3] = { text[0], text[0] ? text[1] : '\0', '\0' };
                if (!isxdigit((unsigned char) byte[0]) || !isxdigit((unsigned char) byte[1]))
                        return false;
                out[i] = (uint8_t) strtoul(byte, NULL, 16);
                text += 2;
                if (i < 5 && *text != ':' && *text != '-')
                        return false;
                text += i < 5;
        }
        return !*text && !(out[0] & 1) && memcmp(out, "\0\0\0\0\0", 6) != 0;
}

/* The capability goes before args, args before CNI_ARGS. */
static struct error *read_mac(const struct environment *env, const struct jv *runtime, struct config *c)
{
        const char *mac = env->arg_mac ? env->arg_mac : "";
        TRY(jv_want_text(jv_get(jv_get(c->json, "args"), "cni"), "mac", &mac));
        TRY(jv_want_text(runtime, "mac", &mac));
        if (!*mac)
                return NULL;
        if (!parse_mac(mac, c->mac))
                return error_new(ERROR_INVALID_ARGUMENT, "\"mac\" is no address of a network card: %.40s",
                                 mac);
        c->has_mac = true;
        return NULL;
}

static struct error *read_port(const struct jv *json, struct port *out)
{
        static const struct {
                const char *name;
                uint8_t number;
        } protocols[] = { { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "sctp", IPPROTO_SCTP } };
        int64_t host = 0, inside = 0;
        const char *protocol = "", *host_ip = "";
        TRY(jv_want_integer(json, "hostPort", 1, 65535, &host));
        TRY(jv_want_integer(json, "containerPort", 1, 65535, &inside));
        TRY(jv_want_text(json, "protocol", &protocol));
        TRY(jv_want_text(json, "hostIP", &host_ip));
        if (!host || !inside)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is missing",
                                 host ? "containerPort" : "hostPort");
        for (size_t i = 0; i < LENGTH(protocols); i++)
                if (strcasecmp(protocol, protocols[i].name) == 0)
                        out->protocol = protocols[i].number;
        if (!out->protocol)
                return error_new(ERROR_INVALID_ARGUMENT, "\"protocol\" is none of tcp, udp, sctp: \"%.40s\"",
                                 protocol);
        out->host_port = (uint16_t) host;
        out->container_port = (uint16_t) inside;
        return *host_ip ? address_parse(host_ip, &out->host) : NULL;
}

static struct error *read_ports(const struct jv *runtime, struct config *c)
{
        const struct jv *list = NULL;
        TRY(jv_want(runtime, "portMappings", JV_ARRAY, &list));
        size_t n = list ? list->n_children : 0;
        c->ports = arena_take(c->arena, n * sizeof(*c->ports));
        for (const struct jv *v = list ? list->first : NULL; v; v = v->next) {
                if (v->type != JV_OBJECT)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "portMappings has an entry that is no object");
                TRY_WRAP(read_port(v, &c->ports[c->n_ports]), "portMappings[%zu]", c->n_ports);
                c->n_ports++;
        }
        return NULL;
}

/* One list of conditions, in a language that the backend, where one is named, speaks. */
static struct error *read_conditions(struct config *c, const char *key, uint8_t family, const char *backend,
                                     const char *const **out)
{
        struct fw_conditions conditions;
        TRY(jv_want_texts(c->arena, c->json, key, out));
        const char *language = fw_conditions_language(*out);
        if (*backend && language && strcmp(language, backend) != 0)
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "%s backend was requested but configuration contains %s-specific options [%s]",
                        backend, language, key);
        TRY_WRAP(fw_conditions_parse(*out, family, &conditions), "%s", key);
        return NULL;
}

/* How ports are forwarded: portmap's keys that are not the runtime's. */
static struct error *read_forwarding(struct config *c)
{
        int64_t bit = -1;
        const char *chain = NULL, *backend = "";
        c->snat = true;
        TRY(jv_want_bool(c->json, "snat", &c->snat));
        TRY(jv_want_bool(c->json, "masqAll", &c->masq_all));
        TRY(jv_want_integer(c->json, "markMasqBit", 0, 31, &bit));
        TRY(jv_want_text(c->json, "externalSetMarkChain", &chain));
        TRY(jv_want_text(c->json, "backend", &backend));
        c->mark_masq_bit = (int) bit;
        if (chain && bit >= 0)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "cannot specify externalSetMarkChain and markMasqBit at once");
        if (chain)
                return error_new(
                        ERROR_UNIMPLEMENTED,
                        "\"externalSetMarkChain\" is a chain of iptables, which rules of nftables cannot "
                        "use: \"markMasqBit\" says which mark is set here");
        if (*backend && strcmp(backend, "nftables") != 0 && strcmp(backend, "iptables") != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "unrecognized backend \"%.40s\"", backend);
        TRY(read_conditions(c, "conditionsV4", AF_INET, backend, &c->conditions_v4));
        return read_conditions(c, "conditionsV6", AF_INET6, backend, &c->conditions_v6);
}

struct error *config_read_dns(struct arena *arena, const struct jv *json, struct dns *out)
{
        TRY(jv_want_text(json, "domain", &out->domain));
        TRY(jv_want_texts(arena, json, "nameservers", &out->nameservers));
        TRY(jv_want_texts(arena, json, "search", &out->search));
        return jv_want_texts(arena, json, "options", &out->options);
}

bool dns_is_empty(const struct dns *dns)
{
        return !(dns->domain && *dns->domain) && !(dns->nameservers && *dns->nameservers) &&
               !(dns->search && *dns->search) && !(dns->options && *dns->options);
}

/* cni.dev/valid-attachments, which GC must have: what is not in it goes. The specification called it cni.dev/attachments once, and
 * libcni (which gives both names since 1.2.3) writes null for a list of none. */
static struct error *read_valid(struct config *c)
{
        static const char *const keys[] = { "cni.dev/valid-attachments", "cni.dev/attachments" };
        const struct jv *list = NULL;
        size_t k = 0;
        while (k < LENGTH(keys) && !jv_has(c->json, keys[k]))
                k++;
        if (k == LENGTH(keys))
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is missing", keys[0]);
        TRY(jv_want(c->json, keys[k], JV_ARRAY, &list));
        if (!list)
                return NULL;
        c->valid = arena_take(c->arena, list->n_children * sizeof(*c->valid));
        for (const struct jv *v = list->first; v; v = v->next) {
                struct attachment *a = &c->valid[c->n_valid++];
                TRY(jv_want_text(v, "containerID", &a->container_id));
                TRY(jv_want_text(v, "ifname", &a->ifname));
                if (!a->container_id || !a->ifname)
                        return error_new(
                                ERROR_INVALID_ARGUMENT,
                                "cni.dev/valid-attachments has an entry without containerID or ifname");
        }
        return NULL;
}

struct error *config_read(const struct environment *env, const struct jv *json, struct config *out)
{
        out->json = json;
        TRY(read_version(env, out));
        TRY(read_basics(env, out));
        if (env->command == COMMAND_GC)
                return read_valid(out);
        if (env->command == COMMAND_DEL)
                return NULL;
        const struct jv *runtime = NULL, *dns = NULL;
        TRY(read_switches(out));
        TRY(config_read_vlans(out));
        TRY(jv_want(json, "runtimeConfig", JV_OBJECT, &runtime));
        TRY(read_mac(env, runtime, out));
        TRY(read_ports(runtime, out));
        TRY(read_forwarding(out));
        TRY(jv_want(json, "dns", JV_OBJECT, &dns));
        TRY_WRAP(config_read_dns(out->arena, dns, &out->dns), "dns");
        return out->ipam.is_local ? config_read_ipam(env, out) : NULL;
}
