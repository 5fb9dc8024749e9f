/* log.h - the CRI log of a container: "2026-08-24T10:00:00.000000000Z stdout F content".
 *
 * A line is written whole or cut back (ftruncate). While the disk is full lines are dropped and counted, and one
 * marker line says so once there is room: the container never waits for its log. A line longer than line_max, and one
 * that stays without its newline for PARTIAL_FLUSH_NS or to the end, goes out as partial ("P"); the rest follows.
 *
 * Source: kubernetes/design-proposals, kubelet-cri-logging.md. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PARTIAL_FLUSH_NS 900000000 /* within a second, so that `logs -f` shows a prompt */

struct log_file {
        int fd;           /* -1: what is written is thrown away */
        uint64_t dropped; /* lines since the last that went through */
};

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
