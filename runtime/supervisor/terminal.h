/* terminal.h - the terminal of a container that has one, as skiff-pod keeps it: its master is the container's only stream.
 *
 * The process makes it, in the container's devpts (child_terminal.c), and sends it. A slave comes with it and is held as long
 * as the container runs: so one that closes its terminal and opens it again has it still, and meanwhile its master is not at
 * an end, which a loop would be told of without pause. */
#pragma once
#include "runtime/supervisor/pod.h"

/* A socket for the process to send on: *child_fd is the caller's. -1 and errno. It is in the loop from terminal_watch on. */
int terminal_socket(struct workload *c, int *child_fd);
void terminal_watch(struct workload *c);

/* Takes the terminal where it has come. Fine when there is none to come. */
void terminal_take(struct workload *c);

/* Nothing for a size of 0, or where there is no terminal. */
void terminal_resize(const struct workload *c, uint16_t rows, uint16_t columns);

/* The container has ended: its output ends too now. Closes what stdio_close does not. */
void terminal_release(struct workload *c);
