/* settle.h - what a pod's supervisor and its exits file say about the pod's containers is taken over. Private to pods/.
 *
 * For recovery, and for a supervisor that has answered late, was asked anew, or cannot be driven. What neither of them knows
 * stays as it is recorded: nothing is taken for dead because nobody answers. */
#pragma once
#include "pods/state.h"

/* On the thread that reads the pod's events. */
void settle_containers(struct sandbox *pod);

/* By the exits file alone, of a pod whose supervisor cannot be asked. Any thread. */
void settle_exits(struct sandbox *pod);
