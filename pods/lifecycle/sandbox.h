/* sandbox.h - a sandbox's steps, private to pods/. Threads: any; what happens to one sandbox is ordered by its operation. */
#pragma once
#include "pods/state.h"

#define POD_NETNS_PREFIX "skiff-"

/* Undoes what an interrupted RunPodSandbox did and forgets the pod. For recovery; takes the operation. */
MUST_CHECK struct error *sandbox_undo_make(struct sandbox *pod);

/* Stops it, whatever state it is in; takes the operation. Not bounded by any caller's deadline. */
MUST_CHECK struct error *sandbox_stop(struct sandbox *pod);
MUST_CHECK struct error *sandbox_remove(struct sandbox *pod);
/* The same for a request; trace NULL: nobody's. */
MUST_CHECK struct error *sandbox_stop_for(struct sandbox *pod, const struct trace *trace);
MUST_CHECK struct error *sandbox_remove_for(struct sandbox *pod, const struct trace *trace);

/* Sets paths and names that follow from the record. Errors: INVALID_ARGUMENT for a bad cgroup_parent. */
MUST_CHECK struct error *sandbox_derive(struct node *node, struct sandbox *pod);
