/* tar_headers.h - a tar in which entries that have no data say so, between the stream and libarchive.
 *
 * A hard link, symbolic link, device, directory or FIFO (types 1 to 6) has no data in a tar, says Go's archive/tar and with
 * it every other runtime, whatever its size is. libarchive obeys the size of a hard link when it takes the archive for pax
 * interchange, and a pax record "size" at all of them: it would read the next headers as data. So here the headers are
 * walked as both would walk them, and where such an entry has a size, the header's and the record's become 0. Everything
 * else is passed on as it is, byte for byte, and so is the length of the whole.
 *
 * The record comes before the header that says what it is of: a pax header is held back until the entry's own has come.
 * That is bounded. A pax header of more than 1 MiB, or more than 2 MiB before an entry, is passed on unchanged: libarchive
 * refuses the first, and nobody writes the second. So is all that follows a header that is not understood, or that the
 * two would read differently (a wrong checksum, a number that is none, records that do not add up, a Solaris header with
 * data behind a "size"): libarchive judges it then. Bodies are not looked at and not copied.
 *
 * Threads: one at a time. Source: POSIX pax; archive/tar/reader.go; archive_read_support_format_tar.c of libarchive 3.6. */
#pragma once
#include "base/cleanup.h"
#include <stddef.h>

struct tar_headers;

struct tar_headers *tar_headers_new(void);          /* never NULL */
void tar_headers_free(struct tar_headers *headers); /* NULL is fine */
DEFINE_FREEP(struct tar_headers, tar_headers_free)

/* The next bytes of the tar, borrowed until tar_headers_next says 0. Only then may more be fed. */
void tar_headers_feed(struct tar_headers *headers, const void *bytes, size_t len_bytes);

/* No more will come: what is held back is given out as it is. */
void tar_headers_end(struct tar_headers *headers);

/* How many bytes there are at *bytes, valid until the next call; 0 when more must be fed first, or after the end. */
size_t tar_headers_next(struct tar_headers *headers, const void **bytes);
