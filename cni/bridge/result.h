/* result.h - what the plugin answers: results of all versions of CNI, errors.
 *
 * A result is kept in the form of 1.1.0 and written in the version that is asked: before 0.3.0 one address a family and no
 * interfaces. What is read lives in its arena. Threads: one at a time.
 * Source: CNI SPEC.md 1.1.0 section 5, SPEC.md 0.2.0. */
#pragma once
#include "base/buf.h"
#include "cni/bridge/config.h"

struct result_interface {
        const char *name, *mac, *sandbox; /* mac and sandbox may be NULL */
};

struct result_ip {
        struct address address, gateway; /* gateway.family 0: none */
        int64_t interface;               /* index into interfaces; -1: none */
};

struct result {
        struct arena *arena;
        struct result_interface *interfaces;
        struct result_ip *ips;
        struct route *routes;
        struct dns dns;
        size_t n_interfaces, n_ips, n_routes;
};

/* Reads a result of any version, told by its cniVersion or by otherwise where it has none. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *result_parse(struct arena *arena, const struct jv *json, enum cni_version otherwise,
                                      struct result *out);

/* Append; what the texts point at must live as long as the result. */
void result_add_interface(struct result *result, const char *name, const char *mac, const char *sandbox);
void result_add_ip(struct result *result, const struct result_ip *ip);
void result_add_route(struct result *result, const struct route *route);

/* Writes a result, or an error with CNI's code; msg is one sentence. */
MUST_CHECK struct error *result_write(const struct result *result, enum cni_version version, struct buf *out);
MUST_CHECK struct error *result_write_error(int code, const char *msg, struct buf *out);
