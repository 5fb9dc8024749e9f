/* stats.h - what stats and metrics both look up, private to pods/. Threads: any; the lock is taken. */
#pragma once
#include "pods/state.h"

struct netns_link;

/* The container's writable layer, walked at most every ten seconds, and while its processes use no processor every five
 * minutes: *out says for when it holds. cpu_usage_ns: what they have used until now; UINT64_MAX where there is no process. False
 * when there is none any more. */
bool stats_layer(struct container *c, int64_t now_ns, uint64_t cpu_usage_ns, struct layer_sample *out);

/* The pod's own interfaces; *out is an array of *n, the caller's to free. On the host's network, and after a stop, it has
 * none. */
void stats_links(struct sandbox *pod, struct netns_link **out, size_t *n);
