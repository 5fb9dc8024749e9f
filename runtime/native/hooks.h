/* hooks.h - programs that a container's spec wants run around its start, by skiffd. Private to runtime/native.
 *
 * They are the host's, run as skiffd is, with none of its descriptors, its environment or its signals. Those before the
 * container's program see the host's files with the container's root among them, at BUNDLE/rootfs: the mount namespace is the
 * container's, so what they mount there is mounted in it (skiff-pod's child_hooks.c puts it so). Those of createContainer have
 * its network, IPC and UTS namespaces too. A hook has HOOK_TIMEOUT_S, or less when it says so, and is then killed.
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

/* Whether there is one that wants the host's files around the container's root; and whether there is any. */
bool hooks_want_view(const struct container_spec *spec);
bool hooks_have(const struct container_spec *spec, enum hook_stage stage);

/* The state that a hook is told, up to its last member, the process id, which goes behind it with a brace: the caller's. */
char *hooks_state_begin(const struct container_spec *spec, const char *status,
                        const struct hook_place *place);

/* Runs those of a stage in their order, until one fails. pid: of the container's process, 0 when it has ended; pid_fd: its
 * pidfd for the stages before its program runs, else -1. Errors: FAILED_PRECONDITION with the hook's words; those of wait. */
MUST_CHECK struct error *hooks_run(const struct container_spec *spec, enum hook_stage stage,
                                   const char *status, pid_t pid, int pid_fd, const struct hook_place *place,
                                   const struct wait *wait);
