/* parking.h - calls that wait for a container's end hold no thread: they are parked with it. Private to pods/.
 *
 * While a stop's grace runs nothing is under way at the container but this: it is `asked` to end, an alarm is set for the
 * moment of SIGKILL, and the calls that wait are in a list. Its exit, a failure of the kill, or the closing of the node
 * settles them all; a call whose client leaves is taken out, and the stop goes on. A set alarm holds a reference.
 *
 * Threads: any; node->lock is taken here, and done is called without it. */
#pragma once
#include "pods/state.h"

/* Parks waiter until the end of c, which is to be killed at kill_at_ns (monotonic; INT64_MAX: never) by `due`; what was
 * due later is brought forward. *parked: false when c does not run: waiter->done is not called then. *first: nobody has
 * asked it to end yet. Errors: UNAVAILABLE when the node is closing. */
MUST_CHECK struct error *parking_enter(struct container *c, int64_t kill_at_ns,
                                       void (*due)(struct alarm *alarm), struct node_waiter *waiter,
                                       bool *parked, bool *first);

/* Tells all that wait for c: each gets a copy of e (NULL: it has ended), which is freed here. Drops the alarm. */
void parking_settle(struct container *c, struct error *e);
