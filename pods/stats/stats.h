/* stats.h - what stats and metrics both look up, private to pods/. Threads: any; the lock is taken. */
#pragma once
#include "pods/state.h"

struct netns_link;

/* The container's writable layer, walked at most every ten seconds: *out says when. False when there is none any more. */
bool stats_layer(struct container *c, int64_t now_ns, struct layer_sample *out);

/* The pod's own interfaces; *out is an array of *n, the caller's to free. On the host's network, and after a stop, it has
 * none. */
void stats_links(struct sandbox *pod, struct netns_link **out, size_t *n);
