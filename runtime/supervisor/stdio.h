/* stdio.h - a container's pipes: from its stdout and stderr into its log, and to who is attached. */
#pragma once
#include "runtime/supervisor/pod.h"

/* No pipes yet; a line of the log is cut into parts of line_max_bytes. */
void stdio_init(struct workload *c, uint64_t line_max_bytes);

/* Makes the pipes; the child's ends are the caller's. -1 and errno on failure. */
int stdio_pipes(struct workload *c, bool stdin_open, int *in_fd, int *out_fd, int *err_fd);
void stdio_watch(struct workload *c);
void stdio_drain(struct workload *c);  /* reads what is there */
void stdio_finish(struct workload *c); /* the last of it, held lines too, and closes */
void stdio_close(struct workload *c);

/* In workload.c: a stream has come to its end. May free c. */
void workload_stream_ended(struct workload *c);
