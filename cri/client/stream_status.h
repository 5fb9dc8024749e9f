/* stream_status.h - how an exec or attach ended, as the text on its error stream says.
 *
 * Threads: any, at once. Source: Kubernetes' remotecommand, v4: a metav1.Status as JSON. */
#pragma once
#include "base/error.h"
#include <stddef.h>

#define STREAM_STATUS_MAX ((size_t) 64 << 10)

/* *out: the command's exit code, 0 for success. Errors: INTERNAL with the server's words when it could not be run;
 * UNAVAILABLE when there is no text, for then the connection was lost; INVALID_ARGUMENT for what is no status. */
MUST_CHECK struct error *stream_status_parse(const char *text, size_t len_bytes, int *out);

/* What shells exit with when these words of a runtime say that a command cannot be run: 127 for one that is not there, 126 for
 * one that cannot be executed; 0: they say something else. */
int stream_status_not_run(const char *words);
