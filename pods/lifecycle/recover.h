/* recover.h - after a start: records against the kernel. Finishes or undoes what was under way. Private to pods/. */
#pragma once
#include "pods/state.h"

/* Fills the tables from the records, finds supervisors again, settles exits, and leaves the undoing and finishing to the
 * background. Errors are for what keeps skiffd from serving; a single pod's trouble is logged. */
MUST_CHECK struct error *recover(struct node *node);

/* What lies about that no record names: rootfs, network namespaces, directories. remove: takes it away, else lists it as
 * sentences (grow_array'ed, NULL-terminated, in *out). */
MUST_CHECK struct error *recover_sweep(struct node *node, bool remove, char ***out);
