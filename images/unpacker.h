/* unpacker.h - skiffd's end of a skiff-unpack: one process, for one layer. See unpack_protocol.h.
 * Threads: one at a time an unpacker. */
#pragma once
#include "base/wait.h"
#include "images/unpack_protocol.h"
#include <stdbool.h>

struct unpacker;

/* Starts the program at path on layer_fd (an empty directory) with stream_fd as its input; both borrowed, as is holder_fd
 * (-1 for none), which it inherits so that the next skiffd finds it. */
MUST_CHECK struct error *unpacker_start(const char *path, int holder_fd, int layer_fd, int stream_fd,
                                        const struct unpack_job *job, const struct wait *wait,
                                        struct unpacker **out);
void unpacker_free(struct unpacker *unpacker); /* kills it */
DEFINE_FREEP(struct unpacker, unpacker_free)

/* Called with a descriptor that becomes readable when the unpacker has said something: to do other things until then. */
struct unpacker_idle {
        struct error *(*until)(void *context, int fd);
        void *context;
};

/* idle may be NULL. Marks the opaque directories that it names and waits for its verdict. *at_end: it failed after
 * the stream had ended. Errors:
 * as skiff-unpack has them; INTERNAL when it died. */
MUST_CHECK struct error *unpacker_wait(struct unpacker *unpacker, const struct wait *wait,
                                       const struct unpacker_idle *idle, uint64_t *bytes, uint64_t *inodes,
                                       bool *at_end);
