/* validate.h - the shape of requests: what is missing or malformed, by the field's path. What a request means is checked
 * by pods. Every function: INVALID_ARGUMENT, or NULL; an
 * id that can be none is NOT_FOUND. Threads: any. */
#pragma once
#include "api/cri.pb-c.h"
#include "base/error.h"

/* field: how the error calls it. An id may be a start of one. */
MUST_CHECK struct error *validate_id(const char *field, const char *id);
/* message may be NULL: not set in the request, which is an error where CRI wants it. */
MUST_CHECK struct error *validate_pod_config(const Cri__PodSandboxConfig *config);
MUST_CHECK struct error *validate_container_config(const Cri__ContainerConfig *config);
MUST_CHECK struct error *validate_image_spec(const Cri__ImageSpec *image);
MUST_CHECK struct error *validate_exec_sync(const Cri__ExecSyncRequest *request);
