/* fetch.h - one HTTP GET done well: redirects that leak no credentials, retries of what may pass, a cut connection resumed
 * where it broke, a stalled one given up. Threads: any; one at a time a struct fetch. Source: RFC 9110, libcurl. */
#pragma once
#include "images/puller/source.h"
#include <stdbool.h>

/* What the environment says: URLs, and the hosts to reach without; "" where it says nothing. */
struct proxies {
        const char *http, *https, *none;
};

struct fetch {
        /* asked */
        const char *url;
        const char *accept;        /* NULL: anything */
        const char *authorization; /* the header's value, or NULL; never sent on to another host */
        const char *post;          /* a form to POST instead, or NULL */
        const char *headers; /* more headers, "Name: value\n" each, or NULL; not for other hosts either */
        const char *ca_pem;  /* NULL or "": the system's */
        const char *cert_pem, *key_pem; /* the client's, "" for none; shown to this host alone */
        bool skip_verify;               /* of this host's certificate */
        const char
                *proxy; /* for all that it takes, redirects too: a URL; "-": none; NULL or "": by proxies */
        const struct proxies *proxies; /* NULL: none */
        unsigned connect_ms;           /* so long for a connection; 0: 15,000 */
        bool either_scheme; /* the caller has another to try: what hints at that (other_scheme) is not tried again */
        unsigned stall_s;     /* so long without a byte and it is given up; 0: 30 */
        unsigned tries;       /* at most; 0: 4 */
        uint64_t limit_bytes; /* 0: none */
        uint64_t size_bytes;  /* what must come in all, where it is known; 0: not */
        uint64_t given_bytes; /* what the taker has had already: told too */
        const struct taker *taker;
        /* told; the strings are the caller's to free (fetch_done) */
        bool connected;    /* somebody answered */
        bool other_scheme; /* it seems that TLS is spoken there where the URL has none, or none where it has */
        long status;       /* of the last answer */
        char *media_type, *challenge;
};

/* 200 and 206 are NULL. Errors: NOT_FOUND (404), UNAUTHENTICATED (401), PERMISSION_DENIED (403), UNAVAILABLE (what a later
 * try may cure), RESOURCE_EXHAUSTED (past the limit), DATA_LOSS (another size than size_bytes); the taker's. */
MUST_CHECK struct error *fetch_run(struct fetch *fetch);
void fetch_done(struct fetch *fetch);

/* Whether both URLs have the same scheme, host and port. */
bool fetch_same_origin(const char *a, const char *b);
