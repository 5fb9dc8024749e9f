/* status.h - what is told of pods and containers, beside the calls that ask for it. Private to pods/. */
#pragma once
#include "base/buf.h"
#include "pods/state.h"

/* Packs a ContainerEventResponse of this moment for the container or pod of that id: node->lock held. Errors:
 * RESOURCE_EXHAUSTED when it has no room in out. */
MUST_CHECK struct error *status_event_pack(struct sandbox *pod, const char *id, Cri__ContainerEventType type,
                                           struct buf *out);
