/* fetch.h - one HTTP GET done well: redirects that leak no credentials, retries of what may pass, a cut connection resumed
 * where it broke, a stalled one given up. Threads: any; one at a time a struct fetch. Source: RFC 9110, libcurl. */
#pragma once
#include "images/puller/source.h"
#include <stdbool.h>

struct fetch {
        /* asked */
        const char *url;
        const char *accept;        /* NULL: anything */
        const char *authorization; /* the header's value, or NULL; never sent on to another host */
        const char *post;          /* a form to POST instead, or NULL */
        const char *ca_pem;        /* NULL: the system's */
        bool skip_verify;
        uint64_t limit_bytes; /* 0: none */
        const struct taker *taker;
        /* told; the strings are the caller's to free (fetch_done) */
        long status; /* of the last answer */
        char *media_type, *challenge;
};

/* 200 and 206 are NULL. Errors: NOT_FOUND (404), UNAUTHENTICATED (401), PERMISSION_DENIED (403), UNAVAILABLE (what a later
 * try may cure), RESOURCE_EXHAUSTED (past the limit); the taker's. */
MUST_CHECK struct error *fetch_run(struct fetch *fetch);
void fetch_done(struct fetch *fetch);
