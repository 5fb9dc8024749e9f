/* log.h - one line an event on stderr: time, level, message, key=value pairs.
 *
 * Only the RPC layer and event loops log; everything else returns its error. Never hand a secret to it. When stderr
 * is journald (JOURNAL_STREAM matches it) the time is left out and each line starts with its <priority>, sd-daemon(3).
 *
 *     log_event(LOG_LEVEL_INFO, "pod started", "pod", id, "ms", "12", NULL);
 *
 * Values with spaces, quotes, control bytes or non-UTF-8 are quoted and escaped: a line is always one line.
 * Threads: any, at once; a line is written whole. */
#pragma once
#include "base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

void log_set_level(enum log_level level); /* the default is INFO */

/* "debug", "info", "warn", "error". Errors: INVALID_ARGUMENT naming the choices. */
MUST_CHECK struct error *log_parse_level(const char *text, enum log_level *out);

/* Pairs of const char * key and value, then NULL. A NULL value is left out with its key. */
void log_event(enum log_level level, const char *message, ...) __attribute__((sentinel));

/* Logs e's message under `message` as error="..." with one more pair (key may be NULL), and frees e. NULL e: does
 * nothing. */
void log_error(enum log_level level, struct error *e, const char *message, const char *key,
               const char *value);
