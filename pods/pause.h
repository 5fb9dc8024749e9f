/* pause.h - containers that stand still for a moment.
 *
 * Each has a file STATE/paused/ID before it is frozen, so that the next skiffd lets go on what a killed one had stopped, and
 * nothing that others froze. Threads: any; several at once for one container: it goes on with the last. */
#pragma once
#include "pods/state.h"

/* Errors: FAILED_PRECONDITION as cgroup_freeze; nothing is stopped then. What succeeds must be ended by pause_end. */
MUST_CHECK struct error *pause_begin(struct container *c);
void pause_end(struct container *c);

/* At the start, when all containers are known. */
void pauses_recover(struct node *node);
