/* delegate.h - runs another plugin for one command.
 * Threads: one at a time: CNI_COMMAND in this process's environment changes. */
#pragma once
#include "cni/bridge/config.h"

/* Runs the plugin of this type from CNI_PATH with the configuration on stdin. Its stdout goes to out. Errors: with the
 * plugin's name and its own message; FAILED_PRECONDITION when it is not there; UNAVAILABLE for its code 11. */
MUST_CHECK struct error *delegate_run(const struct environment *env, const struct config *config,
                                      const char *type, const char *command, struct buf *out);
