/* attach.h - clients that have joined a running container: its output goes to each as it is read, beside the log.
 *
 * Nobody waits for a client: what its pipe has no room for is lost to it and counted, and where there is room again a line
 * says so. What it writes goes to the container's stdin past us, but to a terminal through us: whoever has a terminal's master
 * could make our own reading of it block. */
#pragma once
#include "runtime/supervisor/request.h"

request_handler attach_open_request; /* ATTACH_OPEN */

/* Hands on what the container has written to stdout, or to stderr. */
void attach_output(struct workload *c, bool is_err, const char *bytes, size_t len_bytes);

/* The container has ended, and all that it wrote has been handed on. */
void attach_end(struct workload *c);
