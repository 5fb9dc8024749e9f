/* sink.h - where a client's input goes: a pipe, a terminal, a socket; what that does not take now is kept, within bounds.
 *
 * Who reads from the client looks at waiting and stops in time: one read's worth always fits. Threads: one. */
#pragma once
#include "base/buf.h"
#include <stdbool.h>

/* From here on nothing more is read for it. */
#define SINK_FULL_BYTES (32 << 10)
#define SINK_MAX (192 << 10)

struct sink {
        int fd; /* -1: not there yet, all is kept */
        struct buf waiting;
        bool is_broken; /* nobody reads there: all that comes is dropped */
};

void sink_init(struct sink *sink); /* without a descriptor */
void sink_done(struct sink *sink); /* closes, drops what waits */

/* Puts bytes in: writes them, or keeps them behind those that wait. */
void sink_put(struct sink *sink, const void *bytes, size_t len_bytes);

/* Writes what waits, as far as it is taken. */
void sink_flush(struct sink *sink);
