/* users.h - a user as an image names it: "name", "uid", "name:group", "uid:gid", by the image's own passwd and group.
 *
 * Those files are hostile: read only as regular files of at most 10 MiB, opened below the root, lines bounded; numbers
 * are parsed strictly and an overflow is an error, never root (CVE-2024-40635). Threads: any. */
#pragma once
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct user {
        uint32_t uid, gid;
        char *home;       /* from passwd, "/" when unknown; never has a newline or NUL */
        uint32_t *groups; /* groups of that user in the image's group file, the primary not among them; also
                           * where the text names a group, which then is the primary */
        size_t n_groups;
};
void user_done(struct user *user);

/* An image's passwd and group, as they are; empty where it has none. */
struct user_files {
        char *passwd, *group;
        size_t passwd_bytes, group_bytes;
};
void user_files_done(struct user_files *files);
/* Errors: INVALID_ARGUMENT when one is no regular file, or too large. */
MUST_CHECK struct error *user_files_read(int root_fd, struct user_files *out);

/* Errors: INVALID_ARGUMENT, as user_resolve's. */
MUST_CHECK struct error *user_find(const struct user_files *files, const char *text, struct user *out);

/* Both. root_fd: a directory (rootfs_view). Errors: INVALID_ARGUMENT: `unable to find user x: no matching entries in passwd
 * file`, ... */
MUST_CHECK struct error *user_resolve(int root_fd, const char *text, struct user *out);
