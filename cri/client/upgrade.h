/* upgrade.h - from the URL that Exec, Attach or PortForward gave to a connection that speaks SPDY.
 *
 * One HTTP request, POST with Upgrade: SPDY/3.1, and its answer. The protocol of the streams is the first of ours that the
 * server knows. Threads: any, at once. Source: RFC 9110 7.8, Kubernetes' remotecommand. */
#pragma once
#include "base/error.h"
#include <stddef.h>

#define UPGRADE_ANSWER_MAX 65536

struct stream_url {
        char *host, *port; /* an IPv6 address without its brackets */
        char *path;        /* with the query, if there is one */
};
void stream_url_done(struct stream_url *url); /* for _cleanup_ */

/* Takes http://HOST:PORT/PATH apart. Errors: INVALID_ARGUMENT for what is none; UNIMPLEMENTED for https. */
MUST_CHECK struct error *stream_url_parse(const char *text, struct stream_url *out);

/* What the head of an answer says: NULL when it is 101 to SPDY/3.1. Errors: NOT_FOUND for a URL that is used or too old,
 * UNAVAILABLE for another status, with the text behind the head; INVALID_ARGUMENT for what is no HTTP. */
MUST_CHECK struct error *upgrade_check(const char *answer, size_t len_bytes);

/* Connects and upgrades. *out_fd, nonblocking, is the caller's. What the server has sent behind its answer is not taken.
 * protocols: NULL-terminated, the best first. Errors: UNAVAILABLE, DEADLINE_EXCEEDED and those above. */
MUST_CHECK struct error *upgrade(const char *url, const char *const *protocols, int *out_fd);
