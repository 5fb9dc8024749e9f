/* id.h - random ids: 64 lower-case hex digits, as CRI's users expect them.
 * Threads: any. Source: getrandom(2). */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

#define ID_LEN 64
/* A new one. Waits for the kernel's random bytes, which are there soon after boot; never fails. */
void id_make(char out[ID_LEN + 1]);

/* Whether s has the form of an id (so it is safe as a file name). */
bool id_is_valid(const char *s);
