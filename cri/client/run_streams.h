/* run_streams.h - what a foreground `run` shows of its container, and passes on to it.
 *
 * A container can be attached to only when it runs, and may have written by then. Without a terminal (-i) all output comes from
 * the log, which has every byte, and the attach takes the input alone. With one (-t), where a prompt must come as it is
 * written, output comes from the attach, and what came before it from the log. Neither says where the attach began, so its
 * first bytes are held until the log, which holds back a line without its end for up to a second, has come to the same point:
 *
 *     the log     | before the attach |    |
 *     the attach                      | ... |      is shown: the log up to where its end is the attach's beginning
 *
 * Threads: one. */
#pragma once
#include "cri/client/command.h"
#include "cri/client/run_spec.h"

struct run_streams;

/* Of a container that was started just now. A container that has ended already is no error. */
MUST_CHECK struct error *run_streams_open(struct context *context, struct run_spec *spec,
                                          const char *container_id, struct run_streams **out);
void run_streams_free(struct run_streams *streams); /* the terminal is as before. NULL is fine */
DEFINE_FREEP(struct run_streams, run_streams_free)

/* Shows what there is and waits for more, at most timeout_ms. *is_quiet: nothing came. */
MUST_CHECK struct error *run_streams_step(struct run_streams *streams, int timeout_ms, bool *is_quiet);

/* The container has ended: shows what is left. */
MUST_CHECK struct error *run_streams_finish(struct run_streams *streams);

bool run_streams_detached(const struct run_streams *streams); /* by the keys */
/* The connection to a terminal is gone, which is why; NULL: it is not. The caller's, once. */
MUST_CHECK struct error *run_streams_lost(struct run_streams *streams);

/* How many bytes of the log are not in the attach's bytes: the least so that the rest of the log is how these begin. */
size_t run_streams_before(const char *log, size_t log_bytes, const char *attached, size_t attached_bytes);
