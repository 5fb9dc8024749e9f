/* network.h - the network steps of a sandbox, private to pods/. All succeed at once on the host's network. */
#pragma once
#include "pods/state.h"

/* Pins the pod's namespace at /run/netns/skiff-ID and brings lo up. */
MUST_CHECK struct error *network_pin(void *pod, const struct wait *wait);
MUST_CHECK struct error *network_unpin(void *pod, const struct wait *wait);

/* CNI ADD and DEL: the conflist is recorded before ADD, the result after it, and DEL gets just those. */
MUST_CHECK struct error *network_add(void *pod, const struct wait *wait);
MUST_CHECK struct error *network_del(void *pod, const struct wait *wait);

/* Sets pod->ips from the recorded result: after a restart. */
MUST_CHECK struct error *network_restore(struct sandbox *pod);

/* Whether what a pod asks of its network can be. Errors: INVALID_ARGUMENT naming the annotation. */
MUST_CHECK struct error *network_check(const Cri__PodSandboxConfig *config);

/* Tells plugins which pods have a network, so that they drop what they keep for others: at the start, before anything else adds
 * or deletes, and now and then. Without a configuration nothing is done. Errors: as cni_collect. */
MUST_CHECK struct error *network_collect(struct node *node);
