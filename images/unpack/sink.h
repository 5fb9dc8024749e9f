/* sink.h - where the tar loop writes a layer to: a directory now, other forms later.
 *
 * Names are relative to the layer's root, without empty, "." or ".." components and without a slash at either end; ""
 * is the root itself. Borrowed strings are valid during the call. Threads: one at a time. */
#pragma once
#include "base/error.h"
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define SINK_PATH_MAX 4095
#define SINK_PLNK ".wh..wh.plnk" /* of AUFS: a directory that no layer keeps */

struct sink_xattr {
        const char *name;
        const void *value;
        size_t len_bytes;
};

struct sink_entry {
        const char *path;
        mode_t mode; /* with its S_IFMT bits */
        uid_t uid;
        gid_t gid;
        struct timespec mtime;
        dev_t rdev;          /* of a device */
        const char *symlink; /* the target of a symbolic link */
        uint64_t size_bytes; /* of a file */
        const struct sink_xattr *xattrs;
        size_t n_xattrs;
};

struct sink_usage {
        uint64_t bytes, inodes; /* on the disk, in blocks of 4096 bytes */
};

/* What of a layer was left out: odd input costs an entry or an attribute, never the image. */
struct sink_notes {
        uint64_t n;
        char first[512]; /* "\"path\": why" of the first; bytes of hostile names are in it */
};

/* Any of these may fail with INVALID_ARGUMENT: then the entry cannot be there and has left nothing behind, and the next
 * may come. Other errors are the layer's end. */
struct layer_sink {
        struct sink_notes notes;
        /* A file, directory, symbolic link or node; replaces what has the name (a directory only updates one). The data
         * of a file follows, then entry_end with the same entry. */
        struct error *(*entry)(struct layer_sink *sink, const struct sink_entry *entry);
        struct error *(*data)(struct layer_sink *sink, const void *bytes, size_t len_bytes,
                              uint64_t offset_bytes);
        struct error *(*entry_end)(struct layer_sink *sink, const struct sink_entry *entry);
        struct error *(*hardlink)(struct layer_sink *sink, const char *path, const char *target);
        struct error *(*whiteout)(struct layer_sink *sink,
                                  const char *path); /* hides what lower layers have there */
        struct error *(*opaque)(struct layer_sink *sink,
                                const char *path); /* of a directory, all they have in it */
        /* All entries have come: what must be done last. */
        struct error *(*finish)(struct layer_sink *sink, struct sink_usage *usage);
};

/* Takes down that something at path is left out, and why. */
void sink_note(struct layer_sink *sink, const char *path, const char *fmt, ...) PRINTF_LIKE(3, 4);
