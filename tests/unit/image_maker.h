/* image_maker.h - image archives made by hand for tests. */
#pragma once
#include "tests/unit/tar_maker.h"
#include <stdbool.h>
#include <stddef.h>

enum { MADE_PLAIN, MADE_GZIP, MADE_ZSTD };

struct made_layer {
        const struct buf *tar;
        int compression;
        const char *diff_id; /* NULL: the tar's own */
        int spoil;           /* 1: a byte of the blob is changed; 2: half of it is there; 3: none */
};

/* An OCI layout (a tar, not compressed) with one image. name: its ref.name, or NULL. */
void make_oci_archive(struct buf *out, const char *name, const struct made_layer *layers, size_t n);
/* The same with these members of the config's "config" ("\"Cmd\":[\"sh\"]"). */
void make_oci_archive_of(struct buf *out, const char *name, const char *members,
                         const struct made_layer *layers, size_t n);

/* A docker archive, its manifest last. */
void make_docker_archive(struct buf *out, const char *tag, const struct made_layer *layers, size_t n);
