/* apparmor.h - AppArmor profiles, as the kernel has them loaded: whether there are any, and ours.
 *
 * The profile of containers that ask for the default (deploy/apparmor/skiff-default) is in our own binary and is loaded when
 * this is opened, unless one of its name is there. All others are the node's. A profile that is loaded is a line of
 * SYS/kernel/security/apparmor/profiles; a process takes it on with its exec (supervisor/child_identity.c).
 *
 * Threads: any, at once. Source: apparmor_parser(8), the kernel's security/apparmor/apparmorfs.c. */
#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <stdbool.h>

#define APPARMOR_DEFAULT "skiff-default"
#define APPARMOR_NAME_MAX 1024 /* bytes, without the NUL */

struct apparmor;

struct apparmor_config {
        const char *sys_dir; /* "/sys" */
        const char *parser;  /* apparmor_parser(8), or NULL: where distributions have it */
};

/* Looks whether the kernel has AppArmor, and loads our profile where that is so and it is not there, which takes some ten
 * milliseconds. What keeps it from being loaded is *no_default: a sentence, owned by the caller; NULL when it is loaded or there
 * is no AppArmor. */
void apparmor_open(const struct apparmor_config *config, struct apparmor **out, struct error **no_default);
void apparmor_free(struct apparmor *apparmor); /* NULL is fine */
DEFINE_FREEP(struct apparmor, apparmor_free)

/* Whether the kernel has it and it is switched on. */
bool apparmor_is_on(const struct apparmor *apparmor);

/* Whether our profile was there when this was opened: it must not be missed then. */
bool apparmor_had_default(const struct apparmor *apparmor);

/* Errors: FAILED_PRECONDITION when there is no AppArmor, or no profile of this name is loaded now; with what to do about it when
 * it is ours. INVALID_ARGUMENT for what is no name. */
MUST_CHECK struct error *apparmor_check(const struct apparmor *apparmor, const char *name);
