/* background.h - work that nobody waits for, on the node's pool. Private to pods/. Threads: any.
 *
 * What is under way is counted in node->background, so that an orderly end waits for it; once the node is closing nothing
 * new is begun: the next start does what is left. A failure is logged. */
#pragma once
#include "pods/state.h"

/* Runs work(pod) with a reference held. what: for the log, "stop a pod that died". */
void background_pod(struct sandbox *pod, struct error *(*work)(struct sandbox *pod), const char *what);

/* Runs work(container) likewise. The caller's reference goes along and is dropped at the end, begun or not. */
void background_container(struct container *container, struct error *(*work)(struct container *container),
                          const char *what);

/* Runs work(node). */
void background_node(struct node *node, struct error *(*work)(struct node *node), const char *what);
