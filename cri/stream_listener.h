/* stream_listener.h - the TCP socket of skiff-stream, and how clients are told of it. Threads: any. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* Listens at address (numeric) and port; 0: one that the kernel chooses. Nonblocking, close-on-exec. Errors: INVALID_ARGUMENT
 * for an address that is none; UNAVAILABLE when it cannot be had now. */
MUST_CHECK struct error *stream_listen(const char *address, uint16_t port, int *out_fd);

/* "http://127.0.0.1:41234" of that socket, the caller's; https with tls. For one that listens at all addresses the loopback's:
 * who asks over CRI is on this host. */
MUST_CHECK struct error *stream_url(int listener_fd, bool tls, char **out);
