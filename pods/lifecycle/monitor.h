/* monitor.h - what happens in pods by itself: one thread that polls the supervisors' events, private to pods/.
 *
 * An exit is taken down at once; a supervisor or infra that died makes its pod NOTREADY, and the pod is stopped in the
 * background. Makes whose undo failed are retried here every few seconds. Threads: any. */
#pragma once
#include "pods/state.h"

struct monitor;
/* Starts its thread; monitor_free ends it. */
MUST_CHECK struct error *monitor_open(struct node *node, struct monitor **out);
void monitor_free(struct monitor *monitor); /* NULL is fine */

/* Polls pod->runtime from now on. The pod must be stopped (monitor_forget) before it is freed. */
MUST_CHECK struct error *monitor_watch(struct sandbox *pod);
void monitor_forget(struct sandbox *pod); /* harmless when it is not watched */

/* Runs work(pod) on the node's pool, with a reference held, counted among node->background. */
void background_run(struct sandbox *pod, struct error *(*work)(struct sandbox *pod), const char *what);
