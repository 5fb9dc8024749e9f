/* log.h - the CRI log of a container: "2026-08-24T10:00:00.000000000Z stdout F content".
 *
 * A line is written whole or cut back (ftruncate). While the disk is full, or the file as long as it may be, lines are dropped
 * and counted, and one marker line says so once there is room: the container never waits for its log. A file that has reached
 * its bound has room again when it is replaced or cut short; it may pass it by what is written at once, a hundred kilobytes. A line longer than line_max, and one
 * that stays without its newline for PARTIAL_FLUSH_NS or to the end, goes out as partial ("P"); the rest follows.
 *
 * Source: kubernetes/design-proposals, kubelet-cri-logging.md. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PARTIAL_FLUSH_NS 900000000 /* within a second, so that `logs -f` shows a prompt */

struct log_file {
        int fd;              /* -1: what is written is thrown away */
        uint64_t max_bytes;  /* of the file; 0: no bound */
        uint64_t size_bytes; /* as far as we know; looked at again when it is max_bytes or more */
        uint64_t dropped,
                dropped_bytes; /* lines since the last that went through, as they would stand in the file */
};

/* Another file instead, or -1: the one before is closed. */
void log_open(struct log_file *file, int fd);

/* One stream of a container: what came since the last newline. */
struct log_stream {
        const char *name; /* "stdout" */
        char *held;       /* NULL when nothing is held */
        size_t held_bytes, line_max_bytes;
};

/* Where lines are put together before they are written: the larger, the more of them at once. */
struct log_room {
        char *bytes;
        size_t size_bytes;
};

/* Takes what was read at wall_ns: whole lines are written, the rest is held. */
void log_take(struct log_file *file, struct log_stream *stream, const char *bytes, size_t len_bytes,
              const struct log_room *room, int64_t wall_ns);

/* Writes what is held, as partial: it has no newline yet, or at the end of the stream never gets one. */
void log_flush(struct log_file *file, struct log_stream *stream, int64_t wall_ns);
