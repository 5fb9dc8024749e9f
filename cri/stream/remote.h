/* remote.h - exec and attach: a client's streams to and from one process.
 *
 *     STREAMS -> SIZE -> READY -> OPENING -> RUNNING -> ENDED
 *
 * STREAMS: not all that the client must open are there. SIZE: with a terminal, its first size is awaited for a moment, so that the
 * process finds it. READY: skiffd is to be asked. OPENING: it is. RUNNING: bytes go both ways. ENDED: the process has (or, in an attach, this client's
 * share of it): what it had written by then is sent, then how it ended.
 *
 * Threads: one. */
#pragma once
#include "cri/stream/purpose.h"

#define REMOTE_STREAMS_MAX 16

/* A purpose of what common says, whose token it takes. */
struct purpose *remote_new(const struct purpose *common);
