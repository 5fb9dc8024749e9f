/* unpack_protocol.h - what skiffd and skiff-unpack say to each other, over a SOCK_SEQPACKET pair.
 *
 * skiffd starts one skiff-unpack a layer with these descriptors: 0 the layer's bytes (a pipe), 3 the socket, 4 a
 * detached mount of the empty directory to fill, 5 what base/holders.h finds it by after skiffd's death, 6 a file for the
 * layer's seams (images/seams.h). It sends one unpack_job; skiff-unpack answers with an UNPACK_OPAQUE
 * for each opaque directory (its descriptor goes with it: the mark needs a capability that skiff-unpack must not have)
 * and one UNPACK_DONE or UNPACK_ERROR, then ends. Both are of one build, so the sizes are the version.
 *
 * skiffd believes nothing of an answer but that the digests it gave itself were verified. */
#pragma once
#include "base/digest.h"
#include <stdint.h>

enum {
        UNPACK_FD_STREAM = 0,
        UNPACK_FD_SOCKET = 3,
        UNPACK_FD_LAYER = 4,
        UNPACK_FD_HOLDER = 5,
        UNPACK_FD_SEAMS = 6
};

#define SEAMS_MAX_BYTES ((size_t) 16 << 20)

struct unpack_job {
        struct digest blob;  /* of the stream as it comes; not checked unless has_blob */
        struct digest diff;  /* of the tar: always checked */
        uint64_t blob_bytes; /* the stream's length; not checked unless has_blob */
        uint64_t max_tar_bytes, max_entries;
        uint32_t has_blob;
        uint32_t reserved;
};

enum unpack_reply_type { UNPACK_OPAQUE = 1, UNPACK_DONE, UNPACK_ERROR };

struct unpack_reply {
        uint32_t type;
        uint32_t code;   /* enum error_code, of an error */
        uint32_t at_end; /* of an error: the stream has ended, so its sender may know the reason */
        uint32_t reserved;
        uint64_t bytes; /* on the disk, in blocks of 4096 */
        uint64_t inodes;
        uint64_t n_left_out; /* entries and attributes that could not be kept; message is of the first */
        char message[1024];  /* of an error; bytes of hostile names are in it */
};
