/* stdio.h - a container's pipes: from its stdout and stderr into its log. */
#pragma once
#include "runtime/supervisor/pod.h"

/* No pipes yet; a line of the log is cut into parts of line_max_bytes. */
void stdio_init(struct container *c, uint64_t line_max_bytes);

/* Makes the pipes; the child's ends are the caller's. Without a log there are none (-1: the null device). -1 and errno on
 * failure. */
int stdio_pipes(struct container *c, bool stdin_open, int *in_fd, int *out_fd, int *err_fd);
void stdio_watch(struct container *c);
void stdio_drain(struct container *c);  /* reads what is there */
void stdio_finish(struct container *c); /* the last of it, held lines too, and closes */
void stdio_close(struct container *c);

/* In container.c: a stream has come to its end. May free c. */
void container_stream_ended(struct container *c);
