/* notify.h - tells the service manager that skiffd is ready. Source: sd_notify(3), which describes the protocol for
 * programs that do not link libsystemd (1 MB of memory for one datagram). Threads: any. */
#pragma once

/* Sends state ("READY=1") to $NOTIFY_SOCKET. Nobody listens: nothing happens. */
void notify_send(const char *state);
