/* bundle.h - what an OCI runtime has a directory for, and hooks look into: a container's config.json, and a place for its root.
 * Private to pods/.
 *
 * Only a container with hooks has one, in its pod's directory, from its start until it is removed; the root is there for those
 * alone who are shown it. Threads: one at a time for a container. */
#pragma once
#include "pods/state.h"

/* Makes it, and what hooks are told with it: *surroundings borrows from *bundle. Nothing for a container without hooks; its
 * spec is there. Idempotent. */
struct bundle {
        char *path, *annotations;
};
MUST_CHECK struct error *bundle_make(struct container *c, struct bundle *bundle,
                                     struct hook_surroundings *surroundings);
void bundle_done(struct bundle *bundle); /* the directory stays */

/* Removes the directory; there may be none. */
MUST_CHECK struct error *bundle_remove(struct container *c);

/* Runs, in the background, what is to run after the container's end. With no lock held. */
void bundle_poststop(struct container *c);
