/* pulls.h - pulls from a cold store, and what a removal does to others.
 *
 * Before each pull the images are removed, the runtime has come to rest (its cgroup takes no more processor time: trash is
 * emptied, collectors have ended) and all that is dirty is written out. Both modes take names with commas between them:
 * those are pulled at once. Threads: one. */
#pragma once
#include "tests/bench/modes.h"

/* plan->pull, plan->rounds times on each target in turns, after one that does not count: time, processor time, and the
 * highest PSS of all processes in the target's cgroup in two more pulls. */
MUST_CHECK struct error *mode_pull(const struct plan *plan, struct figures figures[TARGETS_MAX]);

/* plan->removal: RunPodSandbox on a quiet runtime, and again right after RemoveImage's answer. */
MUST_CHECK struct error *mode_removal(const struct plan *plan, struct figures figures[TARGETS_MAX]);
