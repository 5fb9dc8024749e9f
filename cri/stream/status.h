/* status.h - how a session ended, as clients read it on the error channel.
 *
 * From v4 on a JSON text of Kubernetes' metav1.Status, before that a plain message, and nothing for success. Text of any bytes
 * becomes valid JSON: what is not UTF-8 is replaced. Threads: no state. */
#pragma once
#include "base/buf.h"

#define STATUS_MAX (144 << 10) /* each byte of two texts may become six */

/* Each appends the text for the version, possibly none. Errors: those of buf_append. */
MUST_CHECK struct error *status_success(struct buf *out, unsigned version);

/* command: as Go prints it, "[sh -c exit 7]". code 0 is success. */
MUST_CHECK struct error *status_exit(struct buf *out, unsigned version, const char *command, int code);

/* Nothing was started: why. doing: "executing command in", "attaching to". */
MUST_CHECK struct error *status_failure(struct buf *out, unsigned version, const char *doing,
                                        const char *why);
