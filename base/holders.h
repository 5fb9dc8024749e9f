/* holders.h - helper processes that outlive a killed skiffd are found and ended by what they hold.
 *
 * A CNI plugin that a dead skiffd started goes on, and what it adds after the recovery's DEL is leaked. So every helper
 * inherits a descriptor of one file that skiffd has flock'ed: while anybody holds it, the lock is taken, and who holds it
 * stands in /proc. holders_claim kills those and takes the lock.
 *
 * Threads: once, at the start. Source: flock(2) (the lock belongs to the open file description), proc(5). */
#pragma once
#include "base/error.h"
#include "base/wait.h"

/* Opens (or makes) DIR/name, ends every other process that holds it, and locks it. *out_fd is to be inherited by helpers.
 * Call it while holding the instance: then no living skiffd is among the holders. Errors: DEADLINE_EXCEEDED when a holder
 * does not die (stuck in the kernel); INTERNAL. */
MUST_CHECK struct error *holders_claim(int dir_fd, const char *name, const struct wait *wait, int *out_fd);
