/* running.h - what is asked of a container that runs. Private to pods/. Threads: any. */
#pragma once
#include "pods/state.h"

/* A reference (table.h). Errors: NOT_FOUND; FAILED_PRECONDITION when it does not run; UNAVAILABLE when its supervisor cannot
 * be reached now. */
MUST_CHECK struct error *running_find(struct node *node, const char *id, struct container **out);
