/* banned.h - calls that this tree does not make: they cannot be used safely, or a better way is here. Each that is used
 * all the same does not compile, and the message names it. The build puts this before every C file. A test, which
 * ends soon and has a thread or two, may do more (SKIFF_TESTS).
 *
 * Source: the man page of each. It comes after the headers that declare them, so these are included here. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BANNED(call, instead) call##_is_banned__use_##instead

/* They write past a buffer's end, or leave it without one. */
#undef strcpy
#define strcpy(...) BANNED(strcpy, snprintf)
#undef strcat
#define strcat(...) BANNED(strcat, snprintf)
#undef strncpy
#define strncpy(...) BANNED(strncpy, snprintf)
#undef strncat
#define strncat(...) BANNED(strncat, snprintf)
#undef stpcpy
#define stpcpy(...) BANNED(stpcpy, snprintf)
#undef sprintf
#define sprintf(...) BANNED(sprintf, snprintf)
#undef vsprintf
#define vsprintf(...) BANNED(vsprintf, vsnprintf)
#undef gets
#define gets(...) BANNED(gets, getline)
#undef alloca
#define alloca(...) BANNED(alloca, malloc)

/* They keep their result, or their place, in memory that all threads share. */
#undef strtok
#define strtok(...) BANNED(strtok, strtok_r)
#undef asctime
#define asctime(...) BANNED(asctime, strftime)
#undef ctime
#define ctime(...) BANNED(ctime, strftime)
#undef gmtime
#define gmtime(...) BANNED(gmtime, gmtime_r)
#undef localtime
#define localtime(...) BANNED(localtime, localtime_r)

/* A name that is free when it is told may be taken when it is used. */
#undef mktemp
#define mktemp(...) BANNED(mktemp, mkostemp)
#undef tempnam
#define tempnam(...) BANNED(tempnam, mkostemp)
#undef tmpnam
#define tmpnam(...) BANNED(tmpnam, mkostemp)

/* Every program that is started inherits its descriptor. */
#undef mkstemp
#define mkstemp(...) BANNED(mkstemp, mkostemp)

#ifndef SKIFF_TESTS
/* They cannot tell a bad number from 0. */
#undef atoi
#define atoi(...) BANNED(atoi, strtol)
#undef atol
#define atol(...) BANNED(atol, strtol)
#undef atoll
#define atoll(...) BANNED(atoll, strtoll)
#undef atof
#define atof(...) BANNED(atof, strtod)

/* Every program that is started inherits their descriptors. */
#undef dup
#define dup(...) BANNED(dup, fcntl_F_DUPFD_CLOEXEC)
#undef pipe
#define pipe(...) BANNED(pipe, pipe2)

/* A shell. */
#undef system
#define system(...) BANNED(system, process_spawn)
#undef popen
#define popen(...) BANNED(popen, process_spawn)

/* It copies a large process's page tables, and gRPC's threads are not in the copy. */
#undef fork
#define fork(...) BANNED(fork, process_spawn)

/* Wait for the thing itself: wait.h. */
#undef sleep
#define sleep(...) BANNED(sleep, wait_delay)
#undef usleep
#define usleep(...) BANNED(usleep, wait_delay)
#endif
