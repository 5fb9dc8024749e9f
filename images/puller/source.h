/* source.h - where a pull's bytes come from: an archive or a registry. Threads: fetch from any, at once. */
#pragma once
#include "base/wait.h"
#include "images/pull_protocol.h"

struct source;

/* Takes what a fetch gives, piece by piece. */
struct taker {
        struct error *(*take)(void *context, const void *bytes, size_t len_bytes);
        void *context;
};

struct source_request {
        enum pull_type type; /* a PULL_READ_* or PULL_STREAM_* */
        const char *name;
        /* Of a read the most that it may have: more is RESOURCE_EXHAUSTED. Of a PULL_STREAM_BLOB what it has, or 0: another
         * size is DATA_LOSS. */
        uint64_t size_bytes;
};

struct source_ops {
        /* *media_type is the caller's (may be NULL). Errors: NOT_FOUND, UNAUTHENTICATED, UNAVAILABLE, ...; the taker's. */
        struct error *(*fetch)(struct source *source, const struct source_request *request,
                               const struct taker *taker, char **media_type);
};

struct source {
        const struct source_ops *ops;
};

/* Reads the archive's table of contents. archive_fd is taken. Errors: INVALID_ARGUMENT for what is no tar. */
MUST_CHECK struct error *archive_source_open(int archive_fd, struct source **out);

/* texts and stall_s: as PULL_START_REGISTRY has them. It serves once endpoints are added. */
MUST_CHECK struct error *registry_source_open(const char *const texts[PULL_TEXTS_REGISTRY], unsigned stall_s,
                                              struct source **out);

/* As PULL_ENDPOINT has it; before the first fetch. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *registry_source_endpoint(struct source *source,
                                                  const char *const texts[PULL_TEXTS_ENDPOINT],
                                                  unsigned flags, unsigned connect_ms);
