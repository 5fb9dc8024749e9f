/* host_node.h - what a CDI file leaves out about a device node, from the host's. Private to pods/cdi. Threads: any. */
#pragma once
#include "pods/cdi/edits.h"

/* Sets type, major, minor and mode where they are not said; a node that says its type and number need not be on the host.
 * Errors: FAILED_PRECONDITION that names the node. */
MUST_CHECK struct error *cdi_host_node(struct cdi_device_node *node);
