/* cleanup.h - ownership that the reader can see.
 *
 * A variable declared with _cleanup_(f) is handed to f when it goes out of scope, on every path. TAKE hands
 * ownership on and leaves NULL behind. Nothing here allocates or reports errors.
 *
 * Threads: no state. Source: GCC manual, "Common Variable Attributes", cleanup. */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Hands the pointer on and leaves NULL. */
#define TAKE(pointer)                                                                                        \
        ({                                                                                                   \
                __auto_type take_from_ = &(pointer);                                                         \
                __auto_type taken_ = *take_from_;                                                            \
                *take_from_ = NULL;                                                                          \
                taken_;                                                                                      \
        })

/* Hands the descriptor on and leaves -1. */
#define TAKE_FD(fd)                                                                                          \
        ({                                                                                                   \
                int *take_fd_from_ = &(fd);                                                                  \
                int taken_fd_ = *take_fd_from_;                                                              \
                *take_fd_from_ = -1;                                                                         \
                taken_fd_;                                                                                   \
        })

/* Makes NAME_freep for a type whose NAME_free takes NULL. */
#define DEFINE_FREEP(type, name)                                                                             \
        static inline void name##p(type **p)                                                                 \
        {                                                                                                    \
                if (*p)                                                                                      \
                        name(*p);                                                                            \
                *p = NULL;                                                                                   \
        }

/* Frees what malloc gave. */
static inline void freep(void *p)
{
        free(*(void **) p);
        *(void **) p = NULL;
}

/* Closes unless -1 (or any negative value) and leaves -1; errno is kept. */
static inline void closep(int *fd)
{
        if (*fd >= 0) {
                int saved = errno;
                (void) close(*fd);
                errno = saved;
        }
        *fd = -1;
}

static inline void fclosep(FILE **f)
{
        if (*f)
                (void) fclose(*f);
        *f = NULL;
}

static inline void closedirp(DIR **d)
{
        if (*d)
                (void) closedir(*d);
        *d = NULL;
}

/* Zeroed memory for n elements; ends the process when memory is out, so: small sizes, never in skiff-pod.
 * Out of line since clang-tidy does not know the cleanup attribute and would call every early return a leak. */
void *new_zeroed(size_t n, size_t size_bytes) __attribute__((returns_nonnull));
#define NEW(type) ((type *) new_zeroed(1, sizeof(type)))
#define NEW_ARRAY(type, n) ((type *) new_zeroed((n), sizeof(type)))

/* strdup, strndup, asprintf and realloc-for-n-elements that end the process when memory is out. dup_string(NULL)
 * is NULL. */
char *dup_string(const char *s);
char *dup_bytes(const void *bytes, size_t len_bytes) __attribute__((returns_nonnull)); /* a NUL is added */
char *format_string(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));
void *grow_array(void *array, size_t n, size_t size_bytes) __attribute__((returns_nonnull));

/* Frees a NULL-terminated array of strings and the strings in it. */
void free_strings(char **strings);
DEFINE_FREEP(char *, free_strings)
