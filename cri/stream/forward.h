/* forward.h - port-forward: connections into a pod's network, many over one client's. Threads: one. */
#pragma once
#include "cri/stream/purpose.h"

#define FORWARD_STREAMS_MAX 2000

/* A purpose of what common says, whose token it takes. */
struct purpose *forward_new(const struct purpose *common);
