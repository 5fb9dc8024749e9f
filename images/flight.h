/* flight.h - of many who want the same at once one does it, and the others get what it came to. Threads: any, at once. */
#pragma once
#include "base/error.h"
#include "base/wait.h"

struct flights; /* what is under way, by key */
struct flight;  /* one of it, to who does it */

/* Nothing under way. */
struct flights *flights_new(void);
void flights_free(struct flights *flights); /* when nothing is under way; NULL is fine */

/* asked_ns: when the caller was asked for it, on CLOCK_MONOTONIC: what was under way then counts for it too, if it has
 * ended since, as it may have waited in line for long. *lead: nobody does it; the caller does, and calls flight_end. *lead
 * NULL: somebody else has done it; *result is a copy of what it gave, the caller's, or its error is returned. One that was
 * cancelled, or ran out of its own time, has not done it: one of who waited does it then. Errors: the wait's besides. */
MUST_CHECK struct error *flight_enter(struct flights *flights, const char *key, int64_t asked_ns,
                                      const struct wait *wait, struct flight **lead, char **result);

/* Tells those who wait: e (borrowed), or where that is NULL the result. */
void flight_end(struct flights *flights, struct flight *flight, const struct error *e, const char *result);
