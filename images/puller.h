/* puller.h - skiffd's end of a skiff-pull: one process, for one pull or import. See pull_protocol.h.
 *
 * Threads: reads and streams from any, at once; start and free from one. */
#pragma once
#include "base/buf.h"
#include "images/hosts.h"
#include "images/images.h"
#include "images/pull_protocol.h"

struct puller;

/* Both start the program at path as uid; after images' errors INTERNAL. */
MUST_CHECK struct error *puller_start_archive(const char *path, uint32_t uid, int archive_fd,
                                              const struct wait *wait, struct puller **out);
MUST_CHECK struct error *puller_start_registry(const char *path, uint32_t uid, const char *domain,
                                               const char *repository, const struct image_auth *auth,
                                               const struct hosts *hosts, const struct wait *wait,
                                               struct puller **out);
void puller_free(struct puller *puller); /* kills it: that is how a pull is cancelled */
DEFINE_FREEP(struct puller, puller_free)

/* Reads what a PULL_READ_* names, at most limit_bytes, into *out; *media_type (may be NULL) is the caller's. Errors:
 * skiff-pull's own: NOT_FOUND, UNAUTHENTICATED, UNAVAILABLE, ... */
MUST_CHECK struct error *puller_read(struct puller *puller, enum pull_type type, const char *name,
                                     size_t limit_bytes, const struct wait *wait, struct buf *out,
                                     char **media_type);

/* Lets what a PULL_STREAM_* names flow into pipe_fd (borrowed); *reply_fd is for puller_stream_end. */
MUST_CHECK struct error *puller_stream(struct puller *puller, enum pull_type type, const char *name,
                                       int pipe_fd, const struct wait *wait, int *reply_fd);
/* Waits until all of it went into the pipe, or why not. Errors: ABORTED when the pipe's reader went away. */
MUST_CHECK struct error *puller_stream_end(int reply_fd, const struct wait *wait);
