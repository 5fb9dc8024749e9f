/* rw_layer.h - how much a container may write into its root. Private to pods/. Threads: any. */
#pragma once
#include "pods/state.h"

/* On a pod, or on a container, where it counts more: bytes, or with Ki, Mi or Gi behind them. */
#define RW_LAYER_ANNOTATION "skiff.io/rw-layer-max-bytes"

/* *out: what the annotation asks for and what the node sets, the smaller; 0: no bound. Errors: INVALID_ARGUMENT naming the
 * annotation. */
MUST_CHECK struct error *rw_layer_bound(const struct container *c, uint64_t *out);
