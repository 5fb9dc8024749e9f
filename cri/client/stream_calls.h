/* stream_calls.h - Exec and Attach, and the session that they are asked for.
 *
 * Threads: one. */
#pragma once
#include "cri/client/command.h"
#include "cri/client/stream_session.h"

/* Asks for a session with the options (but url) and connects to it. Errors: the call's and upgrade.h's; where their words say
 * that a command cannot be run, context->error_exit_code is 126 or 127. */
MUST_CHECK struct error *exec_open(struct context *context, const char *container_id, char **command,
                                   size_t n_command, struct stream_session_options *options,
                                   struct stream_session **out);
MUST_CHECK struct error *attach_open(struct context *context, const char *container_id,
                                     struct stream_session_options *options, struct stream_session **out);

/* Runs an exec's session to its end; *exit_code is the command's. A signal that ends programs ends this one, with the terminal
 * as it was. Errors: as exec_open. */
MUST_CHECK struct error *exec_finish(struct context *context, struct stream_session **session,
                                     int *exit_code);
