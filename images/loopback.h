/* loopback.h - which hosts are this machine's own loopback. Threads: no state. */
#pragma once
#include <stdbool.h>

/* Whether a host without its port ("localhost", "127.0.0.2", "[::1]") is there, whatever DNS says. */
bool is_loopback(const char *host);
