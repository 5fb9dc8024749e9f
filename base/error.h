/* error.h - errors are values that carry their story.
 *
 * A function that can fail returns struct error *, NULL on success. An error has a code, which reaches the
 * client as the gRPC code of the same name, and a message that grows outward as it travels: "pull x: layer y:
 * connection reset". A function returns an error or logs it, never both. Codes say what the client should do:
 * a low-level failure is INTERNAL to its caller; only the failed lookup of a CRI object says NOT_FOUND.
 *
 * Making an error never fails: when memory is out a static RESOURCE_EXHAUSTED error is returned instead.
 * Built for glibc and for musl (base_core). Threads: no shared state but the fault counter of test builds. */
#pragma once
#include "base/cleanup.h"

enum error_code {
        ERROR_CANCELLED,
        ERROR_UNKNOWN,
        ERROR_INVALID_ARGUMENT,
        ERROR_DEADLINE_EXCEEDED,
        ERROR_NOT_FOUND,
        ERROR_ALREADY_EXISTS,
        ERROR_PERMISSION_DENIED,
        ERROR_RESOURCE_EXHAUSTED,
        ERROR_FAILED_PRECONDITION,
        ERROR_ABORTED,
        ERROR_OUT_OF_RANGE,
        ERROR_UNIMPLEMENTED,
        ERROR_INTERNAL,
        ERROR_UNAVAILABLE,
        ERROR_DATA_LOSS,
        ERROR_UNAUTHENTICATED,
};

struct error;

/* A new error; the caller owns it. error_errno adds ": " and the text of errnum, and its code is INTERNAL
 * (RESOURCE_EXHAUSTED for ENOSPC, EDQUOT and ENOMEM, which a retry elsewhere can cure). error_errnum_of tells
 * that errnum later, or 0. */
MUST_CHECK struct error *error_new(enum error_code code, const char *fmt, ...) PRINTF_LIKE(2, 3);
MUST_CHECK struct error *error_errno(int errnum, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Puts "fmt: " before e's message and returns e. */
MUST_CHECK struct error *error_wrap(struct error *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Gives e another code, where a boundary really means another; returns e. */
MUST_CHECK struct error *error_as(struct error *e, enum error_code code);

/* Of an error that stays the caller's. */
enum error_code error_code_of(const struct error *e);
const char *error_message(const struct error *e); /* valid until e is freed or wrapped */
int error_errnum_of(const struct error *e);
const char *error_code_name(enum error_code code); /* "NOT_FOUND" */

/* clang-tidy 14 heeds neither returns_nonnull nor what a function in another file does, and takes a failure for a success:
 * here it sees that these are never NULL. */
#if defined(__clang_analyzer__) && !defined(ERROR_DEFINES_)
#define ERROR_NEVER_NULL_(name, e)                                                                           \
        ({                                                                                                   \
                struct error *name = (e);                                                                    \
                if (!name)                                                                                   \
                        __builtin_unreachable();                                                             \
                name;                                                                                        \
        })
#define error_new(...) ERROR_NEVER_NULL_(never_null_new_, (error_new) (__VA_ARGS__))
#define error_errno(...) ERROR_NEVER_NULL_(never_null_errno_, (error_errno) (__VA_ARGS__))
#define error_wrap(...) ERROR_NEVER_NULL_(never_null_wrap_, (error_wrap) (__VA_ARGS__))
#define error_as(...) ERROR_NEVER_NULL_(never_null_as_, (error_as) (__VA_ARGS__))
#endif

void error_free(struct error *e); /* NULL is fine */
DEFINE_FREEP(struct error, error_free)

/* Says that a failure changes nothing here. Use it with the reason beside it. */
static inline void error_ignore(struct error *e)
{
        error_free(e);
}

/* In test builds: the nth TRY from now (1 = the next one) fails with ABORTED "injected"; 0 turns it off.
 * error_inject_hit says whether it came to that. In other builds TRY never fails by itself. */
void error_inject(unsigned nth);
int error_inject_hit(void);
MUST_CHECK struct error *error_injected_(void);

#ifdef SKIFF_FAULTS
#define ERROR_OR_INJECTED_(e)                                                                                \
        ({                                                                                                   \
                struct error *injected_ = error_injected_();                                                 \
                injected_ ? injected_ : (e);                                                                 \
        })
#else
#define ERROR_OR_INJECTED_(e) (e)
#endif

/* Returns the error of the expression, if it has one. With injection the expression is not evaluated. */
#define TRY(e)                                                                                               \
        do {                                                                                                 \
                struct error *try_ = ERROR_OR_INJECTED_(e);                                                  \
                if (try_)                                                                                    \
                        return try_;                                                                         \
        } while (0)

/* TRY with a prefix: use it once, where the noun is known. */
#define TRY_WRAP(e, ...)                                                                                     \
        do {                                                                                                 \
                struct error *try_ = ERROR_OR_INJECTED_(e);                                                  \
                if (try_)                                                                                    \
                        return error_wrap(try_, __VA_ARGS__);                                                \
        } while (0)

/* TRY with another code. */
#define TRY_AS(code, e)                                                                                      \
        do {                                                                                                 \
                struct error *try_ = ERROR_OR_INJECTED_(e);                                                  \
                if (try_)                                                                                    \
                        return error_as(try_, code);                                                         \
        } while (0)
