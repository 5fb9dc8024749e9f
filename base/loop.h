/* loop.h - an event loop: epoll, one event at a time, and a few timers. Part of base_core: skiff-pod and skiff-stream turn it.
 *
 * One event a call of epoll_wait(2), since what is run for an event may free what the next one would name. */
#pragma once
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

/* Embedded in what it wakes. CONTAINER_OF leads back to it. */
struct source {
        int fd; /* -1: not in the loop */
        void (*ready)(struct source *source, uint32_t events);
};

struct timer {
        int64_t due_ns; /* on CLOCK_MONOTONIC */
        void (*fire)(struct timer *timer);
        struct timer *next;
        int armed;
};

#define CONTAINER_OF(pointer, type, member) ((type *) (void *) ((char *) (pointer) -offsetof(type, member)))

struct loop {
        int epoll_fd;
        struct timer *timers; /* the nearest first */
};

/* An epoll descriptor and no timers. Threads: the loop's own alone, all of this header. */
MUST_CHECK struct error *loop_open(struct loop *loop);

/* source->fd is watched for events (EPOLLIN, ...) until loop_remove, which must come before the close. */
MUST_CHECK struct error *loop_add(struct loop *loop, struct source *source, uint32_t events);
void loop_remove(struct loop *loop, struct source *source);

/* What is in the loop is watched for other events from now on. */
MUST_CHECK struct error *loop_change(struct loop *loop, struct source *source, uint32_t events);

/* Arms it anew; it fires once. Never fails. */
void timer_arm(struct loop *loop, struct timer *timer, int64_t due_ns);
void timer_stop(struct loop *loop, struct timer *timer); /* fine when it is not armed */

/* Waits for one event or timer and runs it. */
MUST_CHECK struct error *loop_once(struct loop *loop);
