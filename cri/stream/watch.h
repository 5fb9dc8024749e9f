/* watch.h - a descriptor in the event loop whose events are said anew before each wait.
 *
 * The loop is level-triggered, and epoll(7) tells hang-ups whether asked for or not: what nobody can act on now must be out of it,
 * or the loop turns for nothing. Threads: one. */
#pragma once
#include "base/loop.h"
#include <stdbool.h>

struct watch {
        struct source source; /* first the descriptor, borrowed; -1: none */
        uint32_t events;      /* that are watched for now */
};

/* Not in the loop yet. */
void watch_init(struct watch *watch, int fd, void (*ready)(struct source *source, uint32_t events));

/* Watches for these from now on; 0: for nothing at all. Nothing happens when they are the same as before. False when the kernel has
 * no memory for it. */
bool watch_set(struct loop *loop, struct watch *watch, uint32_t events);

/* Takes it out of the loop, before its descriptor is closed. Fine when it is not in it. */
void watch_stop(struct loop *loop, struct watch *watch);
