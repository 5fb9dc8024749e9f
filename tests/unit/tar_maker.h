/* tar_maker.h - tars made by hand for tests, entry by entry, honest or hostile. Source: POSIX pax, ustar. */
#pragma once
#include "base/buf.h"
#include <stdint.h>

enum {
        TAR_FILE = '0',
        TAR_LINK = '1',
        TAR_SYMLINK = '2',
        TAR_CHAR = '3',
        TAR_BLOCK = '4',
        TAR_DIR = '5',
        TAR_FIFO = '6'
};

struct tar_entry {
        const char *name;
        int type; /* 0: TAR_FILE */
        unsigned mode, uid, gid, major, minor;
        long mtime;
        const char *link;
        const void *data;
        size_t len_bytes;  /* 0 with data: its strlen */
        const char *magic; /* NULL: ustar's; else 8 bytes */
        size_t said_bytes; /* what its header says instead of len_bytes */
};

void tar_put(struct buf *tar, const struct tar_entry *entry);
/* A pax record for the next entry. */
void tar_put_pax(struct buf *tar, const char *key, const void *value, size_t len_bytes);
void tar_end(struct buf *tar);

/* "sha256:..." of the bytes, in one of a few static buffers. */
const char *digest_text_of(const void *bytes, size_t len_bytes);
void gzip_bytes(const struct buf *from, struct buf *to);
void zstd_bytes(const struct buf *from, struct buf *to);
