/* log_reader.h - shows a container's log: the file's lines in CRI's format, taken apart again.
 *
 * What the container wrote to stdout goes to stdout, its stderr to stderr, partial lines are joined. A file that is
 * renamed away is read to its end, then the new one. Threads: one. Source: CRI's log format, inotify(7). */
#pragma once
#include "base/error.h"
#include <stdbool.h>

struct log_reader;

/* path need not exist yet. with_times: each line starts with its time. */
MUST_CHECK struct error *log_reader_open(const char *path, bool with_times, struct log_reader **out);
void log_reader_free(struct log_reader *reader);
DEFINE_FREEP(struct log_reader, log_reader_free)

/* From here on what is shown goes to `to`, borrowed, as the terminal that is logged had it. */
void log_reader_of_terminal(struct log_reader *reader, FILE *to);

/* Shows all that is there now. */
MUST_CHECK struct error *log_reader_show(struct log_reader *reader);

/* Readable when there may be more to show; log_reader_show makes it unreadable again. */
int log_reader_fd(const struct log_reader *reader);
