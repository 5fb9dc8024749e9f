#include "cni/result.h"
#include <arpa/inet.h>
#include <string.h>

#define ENTRIES_MAX 64

struct strings {
        char **string;
        size_t n;
};

static void strings_done(struct strings *strings)
{
        free_strings(strings->string);
}

/* Never NULL afterwards, and always NULL-terminated. */
static void strings_add(struct strings *strings, char *string)
{
        strings->string = grow_array(strings->string, strings->n + 2, sizeof(char *));
        if (string)
                strings->string[strings->n++] = string;
        strings->string[strings->n] = NULL;
}

/* "10.1.2.3/24" or "fd00::1/64" (or without a length) to the address alone. */
static struct error *read_address(const char *text, char **out)
{
        unsigned char binary[16];
        char *address = dup_bytes(text, strcspn(text, "/"));
        if (inet_pton(strchr(address, ':') ? AF_INET6 : AF_INET, address, binary) != 1) {
                free(address);
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is no IP address", text);
        }
        *out = address;
        return NULL;
}

enum place { ITS_OWN, OTHER_INSIDE, OUTSIDE };

/* Bridges and the host's ends of veths are in the list of interfaces too, without a sandbox; and a plugin may make
 * interfaces beside the pod's. */
static enum place place_of(const struct json *result, const struct json *ip, const char *ifname)
{
        const struct json *interfaces = json_get(result, "interfaces");
        int64_t i = json_integer(json_get(ip, "interface"), -1);
        if (i < 0 || (size_t) i >= json_length(interfaces))
                return ITS_OWN;
        const struct json *interface = json_at(interfaces, (size_t) i);
        if (!*json_text(json_get(interface, "sandbox"), ""))
                return OUTSIDE;
        return strcmp(json_text(json_get(interface, "name"), ""), ifname) == 0 ? ITS_OWN : OTHER_INSIDE;
}

/* Those of one place. */
static struct error *read_ips_at(const struct json *result, const char *ifname, enum place place,
                                 struct strings *ips)
{
        const struct json *list = json_get(result, "ips");
        for (size_t i = 0; i < json_length(list); i++) {
                const struct json *ip = json_at(list, i);
                const char *text;
                char *address = NULL;
                TRY_WRAP(json_need_text(ip, "address", &text), "address %zu", i + 1);
                TRY(read_address(text, &address));
                if (place_of(result, ip, ifname) == place)
                        strings_add(ips, address);
                else
                        free(address);
        }
        return NULL;
}

static struct error *read_ips(const struct json *result, const char *ifname, struct strings *ips)
{
        const struct json *list = json_get(result, "ips");
        if (list && json_type_of(list) != JSON_ARRAY && json_type_of(list) != JSON_NULL)
                return error_new(ERROR_INVALID_ARGUMENT, "\"ips\" is no list");
        if (json_length(list) > ENTRIES_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %d addresses", ENTRIES_MAX);
        TRY(read_ips_at(result, ifname, ITS_OWN, ips));
        return ips->n ? NULL : read_ips_at(result, ifname, OTHER_INSIDE, ips);
}

/* Before 0.3.0: {"ip4": {"ip": "..."}, "ip6": {...}}. */
static struct error *read_old_ip(const struct json *result, const char *key, struct strings *ips)
{
        const struct json *ip = json_get(result, key);
        const char *text;
        char *address = NULL;
        if (json_type_of(ip) != JSON_OBJECT)
                return NULL;
        TRY_WRAP(json_need_text(ip, "ip", &text), "%s", key);
        TRY(read_address(text, &address));
        strings_add(ips, address);
        return NULL;
}

static struct error *read_strings(const struct json *dns, const char *key, struct strings *strings)
{
        const struct json *list = json_get(dns, key);
        if (json_length(list) > ENTRIES_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "dns: more than %d of \"%s\"", ENTRIES_MAX, key);
        for (size_t i = 0; i < json_length(list); i++) {
                const char *text = json_text(json_at(list, i), NULL);
                /* They become lines of resolv.conf. */
                if (!text || strpbrk(text, "\n\r"))
                        return error_new(ERROR_INVALID_ARGUMENT, "dns: \"%s\" holds what is no name", key);
                strings_add(strings, dup_string(text));
        }
        return NULL;
}

struct error *result_read(const struct json *json, const char *ifname, struct cni_result *out)
{
        _cleanup_(strings_done) struct strings ips = { 0 }, nameservers = { 0 }, searches = { 0 },
                                               options = { 0 };
        struct strings *all[] = { &ips, &nameservers, &searches, &options };
        for (size_t i = 0; i < LENGTH(all); i++)
                strings_add(all[i], NULL);
        if (json_type_of(json) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "the result is no object");
        TRY(read_ips(json, ifname, &ips));
        TRY(read_old_ip(json, "ip4", &ips));
        TRY(read_old_ip(json, "ip6", &ips));
        const struct json *dns = json_get(json, "dns");
        TRY(read_strings(dns, "nameservers", &nameservers));
        TRY(read_strings(dns, "search", &searches));
        TRY(read_strings(dns, "options", &options));
        *out = (struct cni_result){ .ips = TAKE(ips.string),
                                    .dns_nameservers = TAKE(nameservers.string),
                                    .dns_searches = TAKE(searches.string),
                                    .dns_options = TAKE(options.string) };
        return NULL;
}

struct error *cni_result_parse(const char *json, const char *ifname, struct cni_result *out)
{
        _cleanup_(json_freep) struct json *tree = NULL;
        TRY_WRAP(json_parse(json, strlen(json), &tree), "CNI result");
        TRY_WRAP(result_read(tree, ifname, out), "CNI result");
        out->json = dup_string(json);
        return NULL;
}

void cni_result_done(struct cni_result *result)
{
        free(result->json);
        free_strings(result->ips);
        free_strings(result->dns_nameservers);
        free_strings(result->dns_searches);
        free_strings(result->dns_options);
        *result = (struct cni_result){ 0 };
}
