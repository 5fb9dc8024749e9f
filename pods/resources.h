/* resources.h - what pods and containers may use, after it was changed. Private to pods/. */
#pragma once
#include "base/buf.h"
#include "pods/state.h"

/* What a pod's record has of it: as updated, else as it was made with; NULL: nothing was said. With node->lock held. */
const Cri__LinuxContainerResources *pod_resources_of(const struct sandbox *pod);
const Cri__LinuxContainerResources *pod_overhead_of(const struct sandbox *pod);

/* Checks those two of a pod's config. Errors: INVALID_ARGUMENT naming the field. */
MUST_CHECK struct error *pod_resources_check(const Cri__PodSandboxConfig *config);

/* Appends JSON with the field names of the schema; what was not set is left out; NULL is null. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK struct error *resources_put(const Cri__LinuxContainerResources *resources, struct buf *out);
