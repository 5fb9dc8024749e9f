/* container.h - a container's steps, private to pods/. container.c makes and starts, container_end.c stops and removes,
 * container_exit.c takes down that it has ended.
 * Threads: any; what happens to one container is ordered by its operation. */
#pragma once
#include "pods/state.h"

/* Sets paths that follow from the record; c->pod is set. */
MUST_CHECK struct error *container_derive(struct node *node, struct container *c);

/* Undoes an interrupted CreateContainer and forgets the container. For recovery; takes the operation. */
MUST_CHECK struct error *container_undo_make(struct container *c);

/* SIGKILL, now, and its end. Idempotent; takes the operation. Stops whose grace has not run out end with it. (With a
 * grace: node_stop_container.) */
MUST_CHECK struct error *container_kill(struct container *c);
/* Kills and forgets it; likewise. */
MUST_CHECK struct error *container_remove(struct container *c);

/* Steps that both an undone create and a remove have; object is the container. Idempotent. */
MUST_CHECK struct error *container_drop_rootfs(void *object, const struct wait *wait);
MUST_CHECK struct error *container_drop_cgroup(void *object, const struct wait *wait);

/* Takes down that the container has ended, once: locked fields, the record, who waits. Any thread. */
void container_exited(struct container *c, const struct runtime_exit *exit);

/* Its supervisor is gone: what ran in the pod and left no exit was killed with it. */
void containers_lost(struct sandbox *pod);

/* Opens the log file for appending, made where absent; *out_fd is -1 when the container has no log. */
MUST_CHECK struct error *container_open_log(const struct container *c, int *out_fd);
