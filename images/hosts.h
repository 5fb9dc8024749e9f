/* hosts.h - where a registry's images are really fetched from: the operator's hosts.toml files, and what holds without one.
 *
 * In each of the directories, in their order, DIR/HOST_PORT_, DIR/HOST:PORT and DIR/_default are looked for; the first
 * that is there counts, alone. It holds a hosts.toml, or, where that is absent or empty, certificates as Docker has them:
 * *.crt of authorities, *.cert with *.key of ours. Read anew for each pull. Threads: any.
 *
 * Source: containerd's docs/hosts.md, whose form this is. Otherwise than there: a file that cannot be read as one is an
 * error, and is not passed over; `proxy` in a [host] table, or at the top for the server, is the proxy to reach that host
 * by ("" for none), in place of the environment's. */
#pragma once
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct host_endpoint {
        char *url;      /* the API's root, without a slash at its end: "https://mirror.example/v2" */
        unsigned flags; /* PULL_ENDPOINT_* */
        char *ca_pem;   /* beside the system's; "" for none more */
        char *cert_pem,
                *key_pem; /* the client's; "" for none; the key is where the certificate is when it is "" */
        char *headers;    /* "Name: value\n" each */
        char *proxy;      /* a URL; "-": none; "": as the environment says */
        uint32_t dial_timeout_ms; /* 0: as usual */
};

struct hosts {
        struct host_endpoint *endpoints; /* in the order to try; one at least after hosts_load */
        size_t n;
        char **warnings; /* "FILE: line 3: ..." each, NULL-terminated or NULL: what is passed over */
};

/* dirs: colon-separated. Where they say nothing of the domain it is the registry itself: https, or on the loopback what is
 * spoken there. Errors: FAILED_PRECONDITION naming the file and line. */
MUST_CHECK struct error *hosts_load(const char *dirs, const char *domain, struct hosts *out);
void hosts_done(struct hosts *hosts); /* harmless when zeroed */

/* The same from a file's text; dir is where its relative paths lead from. */
MUST_CHECK struct error *hosts_parse(const char *text, size_t len_bytes, const char *dir, const char *domain,
                                     struct hosts *out);
