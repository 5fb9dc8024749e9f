/* fault.h - named points at which a test can make the process die or fail.
 *
 * In a build with SKIFF_FAULTS the environment variable SKIFF_FAULT=NAME=ACTION (ACTION: kill, fail, hang) arms one
 * point; a file named by SKIFF_FAULT_FILE with the same content does so too and is read at each point, so a running
 * daemon can be armed. "kill" is SIGKILL to the process itself, "fail" returns an ABORTED error, "hang" waits for
 * a SIGKILL. A point that was armed is reached once: the file is removed first. In other builds a point is nothing.
 *
 * Threads: any. Part of base_core. */
#pragma once
#include "base/error.h"

#ifdef SKIFF_FAULTS
/* Does what is armed for the point of this name; NULL when nothing is. */
MUST_CHECK struct error *fault_point(const char *fmt, ...) PRINTF_LIKE(1, 2);
#else
#define fault_point(...) ((struct error *) NULL)
#endif
