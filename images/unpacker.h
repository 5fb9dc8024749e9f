/* unpacker.h - skiffd's end of a skiff-unpack: one process, for one layer. See unpack_protocol.h.
 * Threads: one at a time an unpacker. */
#pragma once
#include "base/wait.h"
#include "images/unpack_protocol.h"
#include <stdbool.h>

struct unpacker;

struct unpacker_place {
        int holder_fd; /* inherited, so that the next skiffd finds it; -1 for none */
        int layer_fd;  /* an empty directory */
        int seams_fd;  /* a file for the layer's seams */
};

/* Starts the program at path with stream_fd as its input; all descriptors are borrowed. */
MUST_CHECK struct error *unpacker_start(const char *path, const struct unpacker_place *place, int stream_fd,
                                        const struct unpack_job *job, const struct wait *wait,
                                        struct unpacker **out);
void unpacker_free(struct unpacker *unpacker); /* kills it */
DEFINE_FREEP(struct unpacker, unpacker_free)

/* Called with a descriptor that becomes readable when the unpacker has said something: to do other things until then. */
struct unpacker_idle {
        struct error *(*until)(void *context, int fd);
        void *context;
};

struct unpacked {
        uint64_t bytes, inodes;
        uint64_t n_left_out; /* entries and attributes that could not be kept */
        char left_out[1024]; /* the first and why; printable */
};

/* idle may be NULL. Marks the opaque directories that it names and waits for its verdict. *at_end: it failed after
 * the stream had ended. Errors:
 * as skiff-unpack has them; INTERNAL when it died. */
MUST_CHECK struct error *unpacker_wait(struct unpacker *unpacker, const struct wait *wait,
                                       const struct unpacker_idle *idle, struct unpacked *out, bool *at_end);
