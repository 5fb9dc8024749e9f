/* pull_protocol.h - what skiffd and skiff-pull say to each other.
 *
 * skiffd starts skiff-pull with a SOCK_SEQPACKET socket as descriptor 3 and the uid to become as its argument. The first
 * message is a PULL_START_*; then each request carries a socket of its own (its first descriptor) on which its answers
 * come, so that several are under way at once: PULL_DATA for what a read gives, then one PULL_END or PULL_FAILED. The
 * content of a PULL_STREAM_* goes into the pipe that is its second descriptor. skiff-pull ends when descriptor 3 does.
 *
 * A message is a struct pull_message, its texts (each with its NUL) and, for PULL_DATA, bytes. Credentials travel here and
 * nowhere else. skiffd trusts nothing that comes back: it is bounded here and verified by digest there. */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <stddef.h>
#include <stdint.h>

enum {
        PULL_FD_SOCKET = 3,
        PULL_FD_HOLDER = 4, /* never used: who holds it is known to be skiffd's (base/holders.h) */
        PULL_VERSION = 2,
        PULL_TEXTS_MAX = 16,
        PULL_DATA_MAX = 128 << 10,
        PULL_FDS_MAX = 2
};

enum pull_type {
        PULL_START_ARCHIVE = 1, /* descriptor: the archive, seekable */
        PULL_START_REGISTRY, /* texts: PULL_TEXT_*; code: seconds without a byte to give a registry up after, 0: as usual */
        PULL_ENDPOINT, /* texts: as below; code: PULL_ENDPOINT_* bits; size: milliseconds to connect, 0: as usual. In
                             * order, after the start */
        PULL_READ_FILE,     /* text: a name in the archive; size: the most that it may have */
        PULL_READ_MANIFEST, /* text: a tag or digest; size likewise */
        PULL_READ_BLOB,     /* text: a digest; size likewise */
        PULL_STREAM_FILE,   /* text: a name */
        PULL_STREAM_BLOB,   /* text: a digest; size: what it has, or 0. code 1, for both: tell the progress */
        PULL_REST, /* nothing is under way: when nothing more is asked in five seconds, skiff-pull ends */
        PULL_DATA = 100,
        PULL_END,      /* text: the media type, or "" */
        PULL_FAILED,   /* code, text: the message */
        PULL_PROGRESS, /* of a stream, now and then before its end; size: bytes so far */
};

/* The texts of PULL_START_REGISTRY, in this order; what is not known is "". */
enum {
        PULL_TEXT_DOMAIN,
        PULL_TEXT_PATH,
        PULL_TEXT_USERNAME,
        PULL_TEXT_PASSWORD,
        PULL_TEXT_AUTH,
        PULL_TEXT_IDENTITY_TOKEN,
        PULL_TEXT_REGISTRY_TOKEN,
        PULL_TEXT_HTTP_PROXY, /* as the environment has them */
        PULL_TEXT_HTTPS_PROXY,
        PULL_TEXT_NO_PROXY,
        PULL_TEXTS_REGISTRY
};

/* The texts of PULL_ENDPOINT; "" where there is none. */
enum {
        PULL_TEXT_URL,     /* the API's root, without a slash at its end */
        PULL_TEXT_CA,      /* PEM, beside the system's */
        PULL_TEXT_CERT,    /* the client's, PEM */
        PULL_TEXT_KEY,     /* its key, where it is not with the certificate */
        PULL_TEXT_HEADERS, /* "Name: value\n" each */
        PULL_TEXT_PROXY,   /* in place of the environment's; "-": none */
        PULL_TEXTS_ENDPOINT
};

enum { PULL_ENDPOINTS_MAX = 32 };
enum {
        PULL_ENDPOINT_RESOLVE = 1,
        PULL_ENDPOINT_PULL = 2,
        PULL_ENDPOINT_SKIP_VERIFY = 4,
        PULL_ENDPOINT_EITHER_SCHEME = 8, /* where the URL's is not spoken the other is tried */
        PULL_ENDPOINT_CREDENTIALS = 16,  /* it is the registry itself, or stands for it: it may have them */
};

struct pull_message {
        uint32_t version, type, code, n_texts;
        uint64_t size_bytes;
};

/* fds stay the caller's. */
MUST_CHECK struct error *pull_send(int fd, const struct pull_message *message, const char *const *texts,
                                   const void *data, size_t data_bytes, const int *fds, size_t n_fds,
                                   const struct wait *wait);

struct pull_received {
        struct pull_message message;
        const char *texts[PULL_TEXTS_MAX]; /* into bytes; message.n_texts of them */
        const char *data;
        size_t data_bytes;
        int fds[PULL_FDS_MAX]; /* owned, -1 where none came */
        size_t len_bytes;      /* 0: the other end is gone */
        char bytes[sizeof(struct pull_message) + PULL_DATA_MAX];
};

/* Room for one message, without one. */
struct pull_received *pull_received_new(void);
void pull_received_free(struct pull_received *received); /* closes what it still owns */
DEFINE_FREEP(struct pull_received, pull_received_free)

/* Receives one message, in place of the last. Errors: INTERNAL for one that is malformed; the wait's. */
MUST_CHECK struct error *pull_receive(int fd, struct pull_received *into, const struct wait *wait);
