/* trash.h - removal that costs a rename: trees go to ROOT/trash at once and a background thread empties it.
 *
 * What lies there at a start is emptied too, so a removal that was begun is always finished. The thread runs one more
 * chore after each wake: the caller's (checkpoints, sampling of usage). Threads: any. */
#pragma once
#include "base/error.h"

struct trash;

/* root_fd is borrowed. chore may be NULL. */
MUST_CHECK struct error *trash_open(int root_fd, void (*chore)(void *context), void *context,
                                    struct trash **out);
void trash_free(struct trash *trash); /* ends the thread; what is left is emptied at the next start */
DEFINE_FREEP(struct trash, trash_free)

/* Moves name below dir_fd (of the same filesystem) there; on a disk that has no room even for that it is removed at once.
 * Succeeds where there is none. */
MUST_CHECK struct error *trash_put(struct trash *trash, int dir_fd, const char *name);

void trash_wake(struct trash *trash); /* the chore soon */
