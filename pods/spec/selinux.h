/* selinux.h - the SELinux contexts of pods and containers (runtime/selinux.h).
 *
 * A pod has a pair of categories of its own, which no other pod of the node has at the same time: it is in STATE/pods/ID/selinux as
 * well, for the next skiffd. Its containers have it too, whatever else they ask for, unless they ask for a level. Where SELinux is
 * not, or its policy has no contexts for containers, nobody has any, and what is asked for is passed over or refused.
 *
 * Private to pods/. Threads: any. */
#pragma once
#include "pods/state.h"

/* Errors: what selinux_options cannot be. */
MUST_CHECK struct error *selinux_check_pod(const struct node *node,
                                           const Cri__LinuxSandboxSecurityContext *security);

/* With pod->dir_fd open: picks the pair where there is none yet, and writes it down. Then the pod's files can have its label. */
MUST_CHECK struct error *selinux_pair_take(struct sandbox *pod);
/* As it was written down; without that the pod has none. */
void selinux_pair_restore(struct sandbox *pod);

/* The context of what belongs to the pod; NULL: none. The caller's. */
MUST_CHECK struct error *selinux_file_context(const struct sandbox *pod, char **out);
