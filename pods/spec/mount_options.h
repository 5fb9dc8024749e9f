/* mount_options.h - the options of a mount by their names: mount(8)'s, as OCI and CRI use them. Private to pods/.
 *
 * A CDI file's are the host's own, and may lift what the source has ("exec"). A client's, in Mount.mount_options, may only
 * take rights away and set how access times are kept; they hold for what is mounted below the volume too. Threads: any. */
#pragma once
#include "api/cri.pb-c.h"
#include "runtime/container_spec.h"

/* Errors: INVALID_ARGUMENT naming every option that is none, or is none for a client; and "rw" of a mount that is readonly. */
MUST_CHECK struct error *mount_options_check(const Cri__Mount *mount);

/* Adds them to m; they were checked. */
void mount_options_add(struct container_mount *m, const Cri__Mount *mount);

/* Adds one of the host's; false when it is none. */
bool mount_option_add(struct container_mount *m, const char *option);
