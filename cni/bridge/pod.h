/* pod.h - the pod's side of its network: entering the namespace, addresses, routes, what CHECK finds there.
 *
 * Threads: one at a time; the calling thread changes its network namespace. Source: setns(2), rtnetlink(7). */
#pragma once
#include "cni/bridge/link.h"
#include "cni/bridge/result.h"

/* Opens a network namespace by path. Errors: NOT_FOUND when there is none there; INVALID_ARGUMENT when it is something
 * else, or the namespace of this process. */
MUST_CHECK struct error *pod_open_netns(const char *path, int *out_fd);

/* The namespace of this process, to come back to; and the change into one. */
MUST_CHECK struct error *pod_own_netns(int *out_fd);
MUST_CHECK struct error *pod_enter(int netns_fd);

/* In the pod's namespace: the interface gets the result's addresses and routes and is up, unless it is to be left alone.
 * Those of result before first_ip and first_route are others'. */
MUST_CHECK struct error *pod_configure(const struct config *config, const char *ifname,
                                       const struct result *result, size_t first_ip, size_t first_route);

/* In the pod's namespace: Errors: FAILED_PRECONDITION for an interface, address or route of result that is not there. */
MUST_CHECK struct error *pod_check(const char *ifname, const struct result *result, struct link *out);
