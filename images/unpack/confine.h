/* confine.h - locks skiff-unpack into the directory it fills, before it reads a byte of the archive.
 *
 * Afterwards the process has that directory as its whole filesystem (pivot_root in a mount namespace of its own), an empty
 * network namespace, the six capabilities that writing a layer takes, no way to gain more, little memory, and only the
 * system calls below. The program is compiled here and not handed over: it must list what this very binary calls.
 * Threads: the only one. Source: pivot_root(2), capabilities(7), seccomp(2). */
#pragma once
#include "base/error.h"

/* layer_fd is a detached mount of the directory. Errors: INTERNAL; the process must end then. */
MUST_CHECK struct error *confine(int layer_fd);
