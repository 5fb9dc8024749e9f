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

struct source_ops {
        /* type: a PULL_READ_* or PULL_STREAM_*. More than limit_bytes (0: no limit) is RESOURCE_EXHAUSTED. *media_type is the
         * caller's (may be NULL). Errors: NOT_FOUND, UNAUTHENTICATED, UNAVAILABLE, ...; the taker's. */
        struct error *(*fetch)(struct source *source, enum pull_type type, const char *name,
                               uint64_t limit_bytes, const struct taker *taker, char **media_type);
};

struct source {
        const struct source_ops *ops;
};

/* Reads the archive's table of contents. archive_fd is taken. Errors: INVALID_ARGUMENT for what is no tar. */
MUST_CHECK struct error *archive_source_open(int archive_fd, struct source **out);

/* texts: as PULL_START_REGISTRY has them. It serves from the registry itself until endpoints are added. */
MUST_CHECK struct error *registry_source_open(const char *const texts[PULL_TEXTS_REGISTRY],
                                              struct source **out);

/* As PULL_ENDPOINT has it; before the first fetch. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *registry_source_endpoint(struct source *source, const char *url, unsigned flags,
                                                  const char *ca_pem);
