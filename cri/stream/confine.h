/* confine.h - skiff-stream's walls: no files, no privilege, no network but the sockets it was given, few system calls.
 *
 * Threads: before any is started. Source: pivot_root(2), capabilities(7), seccomp(2), setresuid(2). */
#pragma once
#include "base/error.h"
#include <sys/types.h>

/* Locks this process in, as uid, which is not 0. */
MUST_CHECK struct error *confine(uid_t uid);
