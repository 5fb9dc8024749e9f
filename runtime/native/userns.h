/* userns.h - a pod's user namespace, before there is anything else of the pod.
 *
 * A network, IPC or UTS namespace is owned by the user namespace that it was made in, for ever. So a process that does
 * nothing makes all four at once, its ids are mapped from outside, and skiff-pod, which stays the host's root, enters the
 * three. From then on the network namespace holds the user namespace, and tells which it is (ioctl_nsfs(2)): nothing has to
 * remember it. Threads: any. Source: user_namespaces(7). */
#pragma once
#include "runtime/handler.h"

struct userns_holder {
        pid_t pid;
        int pid_fd; /* of a process in the new namespaces; -1: none */
        int our_fd; /* which ends when this is closed */
        void *stack;
};
#define USERNS_HOLDER_NONE ((struct userns_holder){ .pid_fd = -1, .our_fd = -1 })

/* Makes the four. */
MUST_CHECK struct error *userns_hold(const struct userns_range *range, struct userns_holder *out);

/* Ends the process; the namespaces live on where something is in them. */
void userns_holder_done(struct userns_holder *holder);
