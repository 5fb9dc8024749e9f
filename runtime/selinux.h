/* selinux.h - SELinux contexts of containers: what the node's policy has for them, and what a pod asks of that.
 *
 * A context is USER:ROLE:TYPE:LEVEL. The policy's own for containers, of processes and of files, are in
 * ETC/SELINUXTYPE/contexts/lxc_contexts, as container-selinux and other policies have it; without that file, or without SELinux,
 * nothing is labelled. So that no pod reaches another's files, each has a pair of categories (s0:c5,c811) of its own, numbered
 * from 1 to SELINUX_PAIRS; its containers share it.
 *
 * No library: contexts are plain texts, set by attr files, mount options and extended attributes.
 * Threads: any, at once. Source: selinux(8), lxc_contexts(5), the kernel's security/selinux. */
#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define SELINUX_CONTEXT_MAX 255 /* bytes: what fsconfig(2) takes as one value */
#define SELINUX_CATEGORIES 1024
#define SELINUX_PAIRS (SELINUX_CATEGORIES * (SELINUX_CATEGORIES - 1) / 2)

struct selinux;
struct selinux_config {
        const char *fs_dir;  /* "/sys/fs/selinux" */
        const char *etc_dir; /* "/etc/selinux" */
};

/* Looks whether the kernel has SELinux and a policy, and what that says of containers. Never fails: what is not there or cannot
 * be read counts as not there. */
void selinux_open(const struct selinux_config *config, struct selinux **out);
void selinux_free(struct selinux *selinux); /* NULL is fine */
DEFINE_FREEP(struct selinux, selinux_free)

bool selinux_is_on(const struct selinux *selinux);  /* the kernel has it, and a policy is loaded */
bool selinux_labels(const struct selinux *selinux); /* and that policy has contexts for containers */

/* What is asked of a context; NULL or "": as the policy has it. */
struct selinux_asked {
        const char *user, *role, *type, *level;
};

struct selinux_contexts {
        char *process, *file; /* the caller's: selinux_contexts_done */
};
void selinux_contexts_done(struct selinux_contexts *contexts);

/* The contexts of processes, and of files that they may use, with what is asked for; pair: of the pod's, where no level is asked
 * for, 0 for none. Errors: FAILED_PRECONDITION when there are no contexts for containers; INVALID_ARGUMENT for what the policy does
 * not have. */
MUST_CHECK struct error *selinux_contexts(const struct selinux *selinux, const struct selinux_asked *asked,
                                          uint32_t pair, struct selinux_contexts *out);

/* Gives path and all that is below it the context of files, links themselves and not what they lead to; what its filesystem
 * cannot keep is left as it is. What belongs to the machine (/, /etc, /usr, /home, ... and homes) is refused: INVALID_ARGUMENT. */
MUST_CHECK struct error *selinux_relabel(const char *path, const char *context);
