/* hosts.h - the operator's hosts.toml files: where a registry's images are really fetched from.
 *
 * DIR/HOST/hosts.toml (HOST as in references, "localhost:5000"; or "_default") in the first directory that has one.
 * Read anew for each pull. What is asked there and not built is an error, never ignored. Threads: any.
 * Source: containerd's docs/hosts.md, whose form this is. */
#pragma once
#include "base/error.h"
#include <stddef.h>

struct host_endpoint {
        char *url;
        unsigned flags; /* PULL_ENDPOINT_* */
        char *ca_pem;   /* beside the system's; "" for none more */
        char *cert_pem,
                *key_pem; /* the client's; "" for none; the key is where the certificate is when it is "" */
        char *headers;    /* "Name: value\n" each */
};

struct hosts {
        struct host_endpoint *endpoints; /* in the order to try */
        size_t n;                        /* 0: no file speaks of it */
};

/* dirs: colon-separated. Errors: FAILED_PRECONDITION naming the file and line. */
MUST_CHECK struct error *hosts_load(const char *dirs, const char *domain, struct hosts *out);
void hosts_done(struct hosts *hosts);

/* The same from a file's text; dir is where its relative paths lead from. */
MUST_CHECK struct error *hosts_parse(const char *text, size_t len_bytes, const char *dir, const char *domain,
                                     struct hosts *out);
