#include "cni/bridge/result.h"
#include <string.h>
#include <sys/socket.h>

/* Makes room for one more in an array that doubles at powers of two. */
static void *grown(struct arena *arena, void *array, size_t n, size_t size_bytes)
{
        if (n & (n - 1))
                return array;
        void *more = arena_take(arena, (n ? 2 * n : 1) * size_bytes);
        if (n)
                memcpy(more, array, n * size_bytes);
        return more;
}

void result_add_interface(struct result *r, const char *name, const char *mac, const char *sandbox)
{
        r->interfaces = grown(r->arena, r->interfaces, r->n_interfaces, sizeof(*r->interfaces));
        r->interfaces[r->n_interfaces++] =
                (struct result_interface){ .name = name, .mac = mac, .sandbox = sandbox };
}

void result_add_ip(struct result *r, const struct result_ip *ip)
{
        r->ips = grown(r->arena, r->ips, r->n_ips, sizeof(*r->ips));
        r->ips[r->n_ips++] = *ip;
}

void result_add_route(struct result *r, const struct route *route)
{
        r->routes = grown(r->arena, r->routes, r->n_routes, sizeof(*r->routes));
        r->routes[r->n_routes++] = *route;
}

static struct error *read_routes(struct result *r, const struct jv *parent)
{
        const struct jv *list = NULL;
        TRY(jv_want(parent, "routes", JV_ARRAY, &list));
        for (const struct jv *v = list ? list->first : NULL; v; v = v->next) {
                struct route route;
                TRY(config_read_route(v, &route));
                result_add_route(r, &route);
        }
        return NULL;
}

static struct error *read_ip(struct result *r, const struct jv *json, const char *key)
{
        const char *address = "", *gateway = "";
        struct result_ip ip = { .interface = -1 };
        TRY(jv_want_text(json, key, &address));
        TRY(jv_want_text(json, "gateway", &gateway));
        TRY(jv_want_integer(json, "interface", 0, 100000, &ip.interface));
        TRY(address_parse_cidr(address, &ip.address));
        if (*gateway)
                TRY(address_parse(gateway, &ip.gateway));
        result_add_ip(r, &ip);
        return NULL;
}

/* 0.1.0 and 0.2.0. */
static struct error *read_old(struct result *r, const struct jv *json)
{
        static const char *const keys[] = { "ip4", "ip6" };
        for (size_t i = 0; i < LENGTH(keys); i++) {
                const struct jv *one = NULL;
                TRY(jv_want(json, keys[i], JV_OBJECT, &one));
                if (!one)
                        continue;
                TRY_WRAP(read_ip(r, one, "ip"), "%s", keys[i]);
                TRY_WRAP(read_routes(r, one), "%s", keys[i]);
        }
        return NULL;
}

static struct error *read_new(struct result *r, const struct jv *json)
{
        const struct jv *interfaces = NULL, *ips = NULL;
        TRY(jv_want(json, "interfaces", JV_ARRAY, &interfaces));
        TRY(jv_want(json, "ips", JV_ARRAY, &ips));
        for (const struct jv *v = interfaces ? interfaces->first : NULL; v; v = v->next) {
                struct result_interface one = { .name = "" };
                TRY(jv_want_text(v, "name", &one.name));
                TRY(jv_want_text(v, "mac", &one.mac));
                TRY(jv_want_text(v, "sandbox", &one.sandbox));
                result_add_interface(r, one.name, one.mac, one.sandbox);
        }
        for (const struct jv *v = ips ? ips->first : NULL; v; v = v->next)
                TRY_WRAP(read_ip(r, v, "address"), "ips");
        return read_routes(r, json);
}

struct error *result_parse(struct arena *arena, const struct jv *json, enum cni_version otherwise,
                           struct result *out)
{
        const char *version = cni_version_text(otherwise);
        const struct jv *dns = NULL;
        struct result r = { .arena = arena };
        if (json->type != JV_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "a result is not an object");
        TRY(jv_want_text(json, "cniVersion", &version));
        TRY(cni_version_parse(version, &otherwise));
        TRY(otherwise < CNI_0_3_0 ? read_old(&r, json) : read_new(&r, json));
        TRY(jv_want(json, "dns", JV_OBJECT, &dns));
        TRY(config_read_dns(arena, dns, &r.dns));
        *out = r;
        return NULL;
}

static struct error *put_member(struct buf *out, const char *key, const char *text)
{
        if (!text || !*text)
                return NULL;
        TRY(buf_append_format(out, "\"%s\":", key));
        TRY(jv_put_text(out, text));
        return buf_append_text(out, ",");
}

/* Ends an object or array whose members each have a comma behind them. */
static struct error *put_end(struct buf *out, const char *closing)
{
        if (out->len_bytes && out->bytes[out->len_bytes - 1] == ',')
                out->len_bytes--;
        return buf_append_text(out, closing);
}

static struct error *put_number(struct buf *out, const char *key, int64_t value)
{
        return value < 0 ? NULL : buf_append_format(out, "\"%s\":%lld,", key, (long long) value);
}

static struct error *put_route(const struct route *route, enum cni_version version, struct buf *out)
{
        char text[ADDRESS_TEXT_BYTES];
        TRY(buf_append_text(out, "{"));
        TRY(put_member(out, "dst", address_cidr(&route->dst, text)));
        if (route->gateway.family)
                TRY(put_member(out, "gw", address_text(&route->gateway, text)));
        if (version >= CNI_1_1_0) {
                TRY(put_number(out, "mtu", route->mtu));
                TRY(put_number(out, "advmss", route->advmss));
                TRY(put_number(out, "priority", route->priority));
                TRY(put_number(out, "table", route->table));
                TRY(put_number(out, "scope", route->scope));
        }
        return put_end(out, "},");
}

/* Those of one family, or of all (0). Nothing where there is none. */
static struct error *put_routes(const struct result *r, int family, enum cni_version version, struct buf *out)
{
        size_t n = 0;
        for (size_t i = 0; i < r->n_routes; i++) {
                if (family && r->routes[i].dst.family != family)
                        continue;
                if (n++ == 0)
                        TRY(buf_append_text(out, "\"routes\":["));
                TRY(put_route(&r->routes[i], version, out));
        }
        return n ? put_end(out, "],") : NULL;
}

static struct error *put_texts(struct buf *out, const char *key, const char *const *texts)
{
        if (!texts || !*texts)
                return NULL;
        TRY(buf_append_format(out, "\"%s\":[", key));
        for (; *texts; texts++) {
                TRY(jv_put_text(out, *texts));
                TRY(buf_append_text(out, ","));
        }
        return put_end(out, "],");
}

static struct error *put_dns(const struct dns *dns, struct buf *out)
{
        TRY(buf_append_text(out, "\"dns\":{"));
        TRY(put_texts(out, "nameservers", dns->nameservers));
        TRY(put_member(out, "domain", dns->domain));
        TRY(put_texts(out, "search", dns->search));
        TRY(put_texts(out, "options", dns->options));
        return put_end(out, "},");
}

static struct error *put_old(const struct result *r, enum cni_version version, struct buf *out)
{
        static const struct {
                const char *key;
                int family;
        } families[] = { { "ip4", AF_INET }, { "ip6", AF_INET6 } };
        char text[ADDRESS_TEXT_BYTES];
        for (size_t f = 0; f < LENGTH(families); f++)
                for (size_t i = 0; i < r->n_ips; i++) {
                        const struct result_ip *ip = &r->ips[i];
                        if (ip->address.family != families[f].family)
                                continue;
                        TRY(buf_append_format(out, "\"%s\":{", families[f].key));
                        TRY(put_member(out, "ip", address_cidr(&ip->address, text)));
                        TRY(put_member(out, "gateway", address_text(&ip->gateway, text)));
                        TRY(put_routes(r, families[f].family, version, out));
                        TRY(put_end(out, "},"));
                        break;
                }
        return NULL;
}

static struct error *put_interfaces(const struct result *r, struct buf *out)
{
        if (r->n_interfaces == 0)
                return NULL;
        TRY(buf_append_text(out, "\"interfaces\":["));
        for (size_t i = 0; i < r->n_interfaces; i++) {
                TRY(buf_append_text(out, "{"));
                TRY(put_member(out, "name", r->interfaces[i].name));
                TRY(put_member(out, "mac", r->interfaces[i].mac));
                TRY(put_member(out, "sandbox", r->interfaces[i].sandbox));
                TRY(put_end(out, "},"));
        }
        return put_end(out, "],");
}

static struct error *put_ips(const struct result *r, enum cni_version version, struct buf *out)
{
        char text[ADDRESS_TEXT_BYTES];
        if (r->n_ips == 0)
                return NULL;
        TRY(buf_append_text(out, "\"ips\":["));
        for (size_t i = 0; i < r->n_ips; i++) {
                const struct result_ip *ip = &r->ips[i];
                TRY(buf_append_text(out, "{"));
                if (version < CNI_1_0_0)
                        TRY(put_member(out, "version", ip->address.family == AF_INET ? "4" : "6"));
                TRY(put_number(out, "interface", ip->interface));
                TRY(put_member(out, "address", address_cidr(&ip->address, text)));
                TRY(put_member(out, "gateway", address_text(&ip->gateway, text)));
                TRY(put_end(out, "},"));
        }
        return put_end(out, "],");
}

struct error *result_write(const struct result *r, enum cni_version version, struct buf *out)
{
        TRY(buf_append_format(out, "{\"cniVersion\":\"%s\",", cni_version_text(version)));
        if (version < CNI_0_3_0) {
                TRY(put_old(r, version, out));
        } else {
                TRY(put_interfaces(r, out));
                TRY(put_ips(r, version, out));
                TRY(put_routes(r, 0, version, out));
        }
        TRY(put_dns(&r->dns, out));
        return put_end(out, "}\n");
}

struct error *result_write_error(int code, const char *msg, struct buf *out)
{
        TRY(buf_append_format(out, "{\"code\":%d,\"msg\":", code));
        TRY(jv_put_text(out, msg));
        return buf_append_text(out, "}\n");
}
