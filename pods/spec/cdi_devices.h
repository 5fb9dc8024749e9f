/* cdi_devices.h - the CDI devices that a container asks for. Private to pods/.
 *
 * What they change is settled when the container is created, and recorded with it: its start, and an exec after a restart of
 * skiffd, find the same whatever the files say by then. Threads: any. */
#pragma once
#include "pods/state.h"

/* Sets c->cdi from the config's CDI_devices and, after those, its annotations "cdi.k8s.io/...", of which each has a value of
 * names with commas between. A name counts once. Errors: INVALID_ARGUMENT naming every device that there is not; as
 * cdi_resolve. */
MUST_CHECK struct error *cdi_devices_resolve(struct container *c);
