/* calls.h - numbers of system calls that libseccomp may be too old to know by name.
 *
 * A kernel gets calls faster than distributions get libseccomp: Debian 12's knows none after Linux 6.7. Those after it are
 * here, up to Linux 6.18; they have one number on all machines that skiff is built for, but for a few of x86-64's own.
 * Threads: any. Source: the kernel's scripts/syscall.tbl and arch/x86/entry/syscalls/syscall_64.tbl. */
#pragma once
#include <stdbool.h>

#define CALL_UNKNOWN (-1)

/* The number of a call on this machine, by libseccomp or by our own list: *by_us then, and libseccomp knows no rule for it.
 * Negative numbers other than CALL_UNKNOWN are libseccomp's own, for calls that this machine does not have. */
int call_number(const char *name, bool *by_us);

/* The name of a number on this machine, by libseccomp or by our own list; NULL: neither knows it. Owned by the caller. */
char *call_name(int number);
