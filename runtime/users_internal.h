/* users_internal.h - the parser by itself, for its tests and its fuzz target. */
#pragma once
#include "runtime/users.h"

/* The same as user_resolve on the files' bytes. */
MUST_CHECK struct error *user_of_files(const char *passwd, size_t passwd_bytes, const char *group,
                                       size_t group_bytes, const char *text, struct user *out);
