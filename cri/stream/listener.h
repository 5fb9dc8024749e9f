/* listener.h - the socket that clients come to. Threads: one. */
#pragma once
#include "cri/stream/server.h"

/* Begins to accept on CONTROL_FD_LISTENER. */
MUST_CHECK struct error *listener_start(struct server *server);
void listener_stop(struct server *server); /* and closes it */
