/* react.h - what follows from what happens in pods by itself (events.h): the one place that stands above the lifecycles of
 * containers and sandboxes. Private to pods/.
 *
 * An exit is taken down at once; a supervisor or infra that died makes its pod NOTREADY, and the pod is stopped in the
 * background. One that only does not answer, or whose connection has ended, is asked again, for as long as it lives. Makes
 * whose undo failed are retried every few seconds. */
#pragma once
#include "pods/events.h"

extern const struct events_subscriber react;
