/* handshake.h - a connection's request, once it has come whole: its token, its framing, its purpose. Threads: one. */
#pragma once
#include "cri/stream/connection.h"

/* Answers the request in the connection's head, when it is all there: the connection is a session then, or ends. */
void handshake(struct connection *connection);
