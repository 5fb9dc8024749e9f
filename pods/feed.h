/* feed.h - what becomes of pods and containers, for whoever listens: CRI's container events.
 *
 * An event has the statuses of its pod and of the pod's containers as they are when it happens, so it is packed then, once for
 * all listeners. Nobody is waited for: a listener that is too far behind is cut off, and loses what it had not taken.
 *
 * With node->lock held, all but node.h's own. Private to pods/. */
#pragma once
#include "pods/state.h"

struct feed;

struct feed *feed_new(void);        /* without listeners */
void feed_free(struct feed *feed);  /* its listeners have ended; NULL is fine */
void feed_close(struct node *node); /* listeners end with UNAVAILABLE, those that come too */

/* Tells that it happened to c, or to the pod itself (whose id is a container's then). Costs nothing without listeners. */
void feed_container(struct container *c, Cri__ContainerEventType type);
void feed_pod(struct sandbox *pod, Cri__ContainerEventType type);
