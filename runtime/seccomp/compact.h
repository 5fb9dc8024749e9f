/* compact.h - the same seccomp program, several times shorter.
 *
 * The kernel checks, converts and compiles each instruction anew for each process that loads a program, and what libseccomp
 * makes of a container's profile has over a thousand: most of an exec's time. Nearly all calls are decided by architecture
 * and number alone, so the program is asked for its answer to every number (between the constants that it compares with
 * the answer cannot change), and ranges of one answer become a search tree. Calls whose arguments count go on in
 * a copy of the program's own code, from where it first looks at an argument.
 *
 * Threads: no state. Source: seccomp(2), bpf(4) of the BSDs. */
#pragma once
#include "base/buf.h"
#include <linux/filter.h>

/* Appends n instructions' equal to *out. What it does not know how to shorten it appends as it is. */
MUST_CHECK struct error *bpf_compact(const struct sock_filter *program, size_t n, struct buf *out);
