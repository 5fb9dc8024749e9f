/* puller.h - skiffd's end of a skiff-pull: one process, for one pull or import. See pull_protocol.h.
 *
 * To start one takes longer than all else of a pull that finds the image here already, and connecting again as long as
 * asking. So one that found an image here is kept for five seconds, for a pull of the same repository, over the same hosts,
 * with the same credentials, as kubelet makes them when it starts pods of one image: what it might have caught from that
 * registry it could only bring back there.
 *
 * Threads: reads and streams from any, at once; start and free from one. */
#pragma once
#include "base/buf.h"
#include "images/hosts.h"
#include "images/images.h"
#include "images/pull_protocol.h"
#include <stdatomic.h>

struct puller;

struct puller_shelf; /* those that are kept, four at most */
struct puller_shelf *puller_shelf_new(void);
void puller_shelf_free(struct puller_shelf *shelf); /* ends them; NULL is fine */
void puller_shelf_tidy(struct puller_shelf *shelf); /* takes down those that have ended since */

struct puller_config {
        const char *path;           /* of the program */
        uint32_t uid;               /* that it becomes */
        int holder_fd;              /* inherited, so that the next skiffd finds it; -1 for none */
        atomic_uint stall_s;        /* without a byte, and a registry is given up; 0: as usual */
        struct puller_shelf *shelf; /* NULL: none are kept */
};

/* Both start the program; after images' errors INTERNAL. */
MUST_CHECK struct error *puller_start_archive(const struct puller_config *config, int archive_fd,
                                              const struct wait *wait, struct puller **out);
MUST_CHECK struct error *puller_start_registry(const struct puller_config *config, const char *domain,
                                               const char *repository, const struct image_auth *auth,
                                               const struct hosts *hosts, const struct wait *wait,
                                               struct puller **out);
void puller_free(struct puller *puller); /* kills it: that is how a pull is cancelled */
/* Instead of puller_free, when all that was asked of it has been answered: it may be kept, and ends by itself. */
void puller_keep(const struct puller_config *config, struct puller *puller);
DEFINE_FREEP(struct puller, puller_free)

/* Reads what a PULL_READ_* names, at most limit_bytes, into *out; *media_type (may be NULL) is the caller's. Errors:
 * skiff-pull's own: NOT_FOUND, UNAUTHENTICATED, UNAVAILABLE, ... */
MUST_CHECK struct error *puller_read(struct puller *puller, enum pull_type type, const char *name,
                                     size_t limit_bytes, const struct wait *wait, struct buf *out,
                                     char **media_type);

/* Lets what a PULL_STREAM_* names flow into pipe_fd (borrowed); *reply_fd is for puller_stream_end. size_bytes: what it
 * has, where that is known, or 0. With progress the reply socket also tells how far it is. */
MUST_CHECK struct error *puller_stream(struct puller *puller, enum pull_type type, const char *name,
                                       uint64_t size_bytes, bool progress, int pipe_fd,
                                       const struct wait *wait, int *reply_fd);
/* Waits until all of it went into the pipe, or why not. Errors: ABORTED when the pipe's reader went away. */
MUST_CHECK struct error *puller_stream_end(int reply_fd, const struct wait *wait);

/* Takes a PULL_PROGRESS off the reply socket, if one is there: *bytes is left as it is otherwise. False once what comes
 * is the end (which stays there for puller_stream_end). */
bool puller_stream_progress(int reply_fd, uint64_t *bytes);
