/* pool.h - a growing, capped pool of threads with small stacks, queued fairly between kinds.
 *
 * Operations wait (for plugins, exits, downloads), so each runs on a thread of its own while the caps allow; what is over
 * the cap of its kind waits in line without holding up other kinds: probes and lists never wait for pulls. Idle threads
 * end after a while. Threads: any. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

/* LISTEN is for what waits for a client to take it; SERVER for who hands out the others: it is never behind a cap. */
enum pool_kind { POOL_QUICK, POOL_POD, POOL_EXEC, POOL_PULL, POOL_LISTEN, POOL_SERVER, POOL_KINDS };

struct pool;
/* A pool whose kinds run on at most caps[kind] threads at once. They start when there is work. */
MUST_CHECK struct error *pool_open(const size_t caps[POOL_KINDS], struct pool **out);

/* Runs what is queued to its end, then ends the threads. */
void pool_free(struct pool *pool);
DEFINE_FREEP(struct pool, pool_free)

/* run(argument) will be called once on one of the threads. Errors: RESOURCE_EXHAUSTED when more than 16384 wait. */
MUST_CHECK struct error *pool_run(struct pool *pool, enum pool_kind kind, void (*run)(void *),
                                  void *argument);

/* For work that a thread of the pool can do here and now, without the wake of another: true when the kind is below its cap
 * and nothing waits in line; pool_leave then follows, on the same thread, before its own work returns. */
MUST_CHECK bool pool_enter(struct pool *pool, enum pool_kind kind);
void pool_leave(struct pool *pool, enum pool_kind kind);
