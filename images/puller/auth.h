/* auth.h - what a registry's challenge is answered with. Threads: any; the caller keeps what it got.
 * Source: RFC 7617, RFC 6750, distribution's token and oauth specifications. */
#pragma once
#include "images/puller/fetch.h"

struct credentials { /* "" where there is none; borrowed */
        const char *username, *password, *auth, *identity_token, *registry_token;
};

/* The value of an Authorization header that answers the challenge (a WWW-Authenticate value); the caller's. like: the
 * request that was refused, for its TLS settings. Errors: UNAUTHENTICATED; those of the token's fetch. No message repeats
 * a credential. */
MUST_CHECK struct error *auth_answer(const struct credentials *credentials, const char *challenge,
                                     const struct fetch *like, char **out);

/* One parameter of a challenge ("realm", ...), unquoted, or NULL; the caller's. */
char *auth_parameter(const char *challenge, const char *name);
