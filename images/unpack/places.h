/* places.h - the directories of a layer that is being unpacked: where names lead to, and what is made on the way.
 *
 * A name resolves with the layer as its root: symbolic links of the layer in it are followed and stay inside, as chroot
 * has it. What is missing on the way is made, what is in the way (a file, a whiteout) gives way: the later entry counts.
 * Links of lower layers are not seen here, so a directory takes their place.
 *
 * What a layer says without saying it is kept for whoever sees the lower layers too (images/seams.h): directories that no
 * entry describes, and directories with whiteouts in them. Threads: one at a time. Source: openat2(2), image-spec
 * layer.md. */
#pragma once
#include "images/unpack/sink.h"
#include <stdbool.h>

/* Tells of an opaque directory by a descriptor, borrowed: only the caller's caller may set the mark. */
typedef struct error *sink_dir_opaque(void *context, int dir_fd);

struct places;

/* root_fd, opaque's context and usage, which is kept up to date, stay the caller's. */
struct places *places_new(int root_fd, sink_dir_opaque *opaque, void *context, struct sink_usage *usage);
void places_free(struct places *places);
DEFINE_FREEP(struct places, places_free)

/* The directory that path's last component is in, made where it is missing; borrowed until the next call of any function
 * here. *name points into path. Errors: INVALID_ARGUMENT for a circle of links. */
MUST_CHECK struct error *places_parent(struct places *places, const char *path, int *out_fd,
                                       const char **name);

/* mkdir for an entry of a directory, in what places_parent gave; *made is false for one that was there. One in the place of
 * a whiteout is opaque, for what lower layers have in it stays hidden. */
MUST_CHECK struct error *places_directory(struct places *places, int parent_fd, const char *name, mode_t mode,
                                          bool *made);

/* A directory that is there now has an entry. */
void places_described(struct places *places, int dir_fd);

/* Removes what stands at name, with all in it. What places_parent gave is void after it. */
MUST_CHECK struct error *places_make_room(struct places *places, int parent_fd, const char *name);

/* Opens an existing directory, or the directory that an existing name is in; its own last component is not followed.
 * Returns -1 and errno. */
int places_open(const struct places *places, const char *path, int flags);

/* Tells that what places_parent last gave has a whiteout in it. */
MUST_CHECK struct error *places_has_whiteout(struct places *places);

/* As sink_dir_opaque, of an existing directory in parent_fd. */
MUST_CHECK struct error *places_mark_opaque(struct places *places, int parent_fd, const char *name);

/* Writes what is kept for others to fd: for each directory 'd' (no entry describes it) or 'w' (it has whiteouts), its path
 * and a NUL. At most SEAMS_MAX_BYTES: what is more is not told. */
MUST_CHECK struct error *places_write_seams(const struct places *places, int fd);

/* An errno of this folder's system calls as an error. */
MUST_CHECK struct error *place_failure(int errnum, const char *what);
/* A whiteout in overlayfs's form. */
struct stat;
bool place_is_whiteout(const struct stat *st);
