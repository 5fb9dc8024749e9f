/* validate.h - the shape of requests: what is missing or malformed, by the field's path. What a request means is checked
 * by pods. Every function: INVALID_ARGUMENT, or NULL. Threads: any. */
#pragma once
#include "api/cri.pb-c.h"
#include "base/error.h"

MUST_CHECK struct error *validate_id(const char *field, const char *id);
MUST_CHECK struct error *validate_pod_config(const Cri__PodSandboxConfig *config);
MUST_CHECK struct error *validate_container_config(const Cri__ContainerConfig *config);
MUST_CHECK struct error *validate_image_spec(const Cri__ImageSpec *image);
MUST_CHECK struct error *validate_exec_sync(const Cri__ExecSyncRequest *request);
