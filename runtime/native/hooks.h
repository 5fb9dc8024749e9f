/* hooks.h - programs that a container's spec wants run around its start, by skiffd. Private to runtime/native.
 *
 * They are the host's, run as skiffd is, with none of its descriptors, its environment or its signals. Those before the
 * container's program see the host's files with the container's root among them, at BUNDLE/rootfs. Its mounts there are peers
 * of the container's own (skiff-pod's child_hooks.c), so what they mount there is mounted in it; but the namespace is one for
 * them alone: the container never has the host's files in its own, and what a hook leaves running never has the container's
 * root as its own. Those of createContainer have its network, IPC and UTS namespaces too. A hook has HOOK_TIMEOUT_S, or less when it says so, and is then killed.
 * Source: the OCI runtime spec, runtime.md, "Lifecycle" and "State". */
#pragma once
#include "base/wait.h"
#include "runtime/container_spec.h"
#include "runtime/handler.h"

/* Where the bundle really is, without links. */
struct hook_place {
        char *bundle;
        const char *annotations; /* borrowed */
};
MUST_CHECK struct error *hook_place_find(const struct hook_surroundings *surroundings,
                                         struct hook_place *out);
void hook_place_done(struct hook_place *place);

/* Whether there is one that wants the container's root among the host's files; and whether there is any of a stage. */
bool hooks_of_host_in(const struct container_spec *spec);
bool hooks_have(const struct container_spec *spec, enum hook_stage stage);

/* The state that a hook is told, up to its last member, the process id, which goes behind it with a brace: the caller's. */
char *hooks_state_begin(const struct container_spec *spec, const char *status,
                        const struct hook_place *place);

/* Makes that namespace: the host's mounts as they are now, and tree_fd, a detached mount, at the bundle's rootfs. *out is the
 * caller's (hook_view_done). Errors: FAILED_PRECONDITION where what holds the bundle is no mount. */
struct hook_view {
        int mounts_fd, root_fd; /* the namespace; skiffd's root in it */
};
MUST_CHECK struct error *hook_view_make(int tree_fd, const struct hook_place *place, struct hook_view *out);
void hook_view_done(struct hook_view *view);

struct hooks_for {
        pid_t pid;  /* of the container's process, 0 when it has ended */
        int pid_fd; /* its pidfd, for the stages before its program runs; else -1 */
        const struct hook_place *place;
};
/* Runs those of a stage in their order, until one fails; in the view, or skiffd's own namespace (NULL). Errors:
 * FAILED_PRECONDITION with the hook's words; those of wait. */
MUST_CHECK struct error *hooks_run(const struct container_spec *spec, enum hook_stage stage,
                                   const char *status, const struct hooks_for *for_it,
                                   const struct hook_view *view, const struct wait *wait);
