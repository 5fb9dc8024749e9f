/* spdy.h - the server's end of a SPDY/3.1 connection as Kubernetes speaks it, plain or in the tunnel of WebSocket messages.
 *
 * Kubernetes keeps no windows: neither side sends SETTINGS or WINDOW_UPDATE or heeds them, and who waits for one waits for ever. So we
 * send without a window until the peer itself sends one of the two; from then on its windows count, as if from the beginning.
 *
 * Threads: one. Source: SPDY Protocol Draft 3.1; moby/spdystream. */
#pragma once
#include "cri/stream/mux.h"

/* A mux on the transport, which it borrows; at most streams_max streams at once. NULL when there is no memory. */
struct mux *spdy_new(struct transport *transport, struct scratch *scratch, size_t streams_max,
                     bool in_tunnel);
