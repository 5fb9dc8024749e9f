/* userns.h - the user namespace that CRI asks for: which ids of the host a pod's users are.
 *
 * kubelet gives each pod a range of its own, one mapping for users and one for groups, the same. Nothing else is taken: what
 * is checked here is what keeps a pod's root from being somebody of the host. Threads: any. */
#pragma once
#include "api/cri.pb-c.h"
#include "runtime/handler.h"

/* *out: the range; length 0 without one. Errors: INVALID_ARGUMENT that names the field; UNIMPLEMENTED together with a
 * namespace of the host's. */
MUST_CHECK struct error *userns_of_pod(const Cri__PodSandboxConfig *config, struct userns_range *out);

/* What a container says of it (options may be NULL: nothing) must be what its pod has. */
MUST_CHECK struct error *userns_check_container(const Cri__NamespaceOption *options,
                                                const struct userns_range *of_pod);

/* The same of a mount: without mappings it shows the host's ids. index is for messages. */
MUST_CHECK struct error *userns_check_mount(const Cri__Mount *mount, size_t index,
                                            const struct userns_range *of_pod);
