/* instance.h - one skiffd on a state directory.
 *
 * Two daemons on one directory would undo each other's pods. The claim is a flock(2) on DIR/lock: the kernel
 * drops it when its holder dies, however it dies, so no stale lock is ever left to clean up. The file holds
 * the holder's pid for people to read; only the lock decides.
 *
 * Threads: any, at once. Source: flock(2). */
#pragma once
#include "base/cleanup.h"
#include "base/error.h"

struct instance; /* owns the locked descriptor */

/* Claims dir for this process until instance_free. A holder that is dead already is waited for, for up to 5 s. Errors:
 * FAILED_PRECONDITION, with the holder's pid, if another process has it; INTERNAL if dir/lock cannot be opened or
 * written. */
MUST_CHECK struct error *instance_claim(const char *dir, struct instance **out);

void instance_free(struct instance *instance); /* gives the claim up; NULL is fine */
DEFINE_FREEP(struct instance, instance_free)
