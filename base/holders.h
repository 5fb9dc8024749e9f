/* holders.h - helper processes that outlive a killed skiffd are found and ended by what they hold.
 *
 * A CNI plugin that a dead skiffd started goes on, and what it adds after the recovery's DEL is leaked. So every helper
 * inherits a descriptor of one file that skiffd has flock'ed: while anybody holds it, the lock is taken, and who holds it
 * stands in /proc. holders_claim kills those and takes the lock. What must not be left half done (a DEL: the rules that it has
 * not come to are found by no later one) holds a file of its own, whose holders are given time to end by themselves.
 *
 * Threads: once, at the start. Source: flock(2) (the lock belongs to the open file description), proc(5). */
#pragma once
#include "base/error.h"
#include "base/wait.h"

/* Opens (or makes) DIR/name, ends every other process that holds it, and locks it. Holders are killed once they have had
 * patience_ms, 0 for at once, to end by themselves, or wait is over before. *out_fd is to be inherited by helpers.
 * Call it while holding the instance: then no living skiffd is among the holders. Errors: DEADLINE_EXCEEDED when a holder
 * does not die (stuck in the kernel); INTERNAL. */
MUST_CHECK struct error *holders_claim(int dir_fd, const char *name, int64_t patience_ms,
                                       const struct wait *wait, int *out_fd);
