#define ERROR_DEFINES_ /* the functions that error.h wraps for clang-tidy */
#include "base/error.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

struct error {
        enum error_code code;
        int errnum;
        char *message;
};

/* What is said when there is no memory left to say anything: never freed, never changed. */
static struct error out_of_memory = { .code = ERROR_RESOURCE_EXHAUSTED, .message = (char *) "out of memory" };

static struct error *error_make(enum error_code code, int errnum, char *message)
{
        struct error *e = message ? malloc(sizeof(*e)) : NULL;
        if (!e) {
                free(message);
                return &out_of_memory;
        }
        *e = (struct error){ .code = code, .errnum = errnum, .message = message };
        return e;
}

static char *format_message(const char *fmt, va_list args)
{
        char *message = NULL;
        return vasprintf(&message, fmt, args) < 0 ? NULL : message;
}

struct error *error_new(enum error_code code, const char *fmt, ...)
{
        va_list args;
        va_start(args, fmt);
        struct error *e = error_make(code, 0, format_message(fmt, args));
        va_end(args);
        if (!e)
                __builtin_unreachable();
        return e;
}

static enum error_code code_of_errnum(int errnum)
{
        return errnum == ENOSPC || errnum == EDQUOT || errnum == ENOMEM ? ERROR_RESOURCE_EXHAUSTED
                                                                        : ERROR_INTERNAL;
}

struct error *error_errno(int errnum, const char *fmt, ...)
{
        va_list args;
        va_start(args, fmt);
        _cleanup_(freep) char *what = format_message(fmt, args);
        va_end(args);
        char *message = NULL;
        if (what && asprintf(&message, "%s: %s", what, strerror(errnum)) < 0)
                message = NULL;
        struct error *e = error_make(code_of_errnum(errnum), errnum, message);
        if (!e)
                __builtin_unreachable();
        return e;
}

struct error *error_wrap(struct error *e, const char *fmt, ...)
{
        if (!e)
                __builtin_unreachable();
        if (e == &out_of_memory)
                return e;
        va_list args;
        va_start(args, fmt);
        _cleanup_(freep) char *prefix = format_message(fmt, args);
        va_end(args);
        char *message = NULL;
        if (!prefix || asprintf(&message, "%s: %s", prefix, e->message) < 0)
                return e; /* the inner message alone is better than none */
        free(e->message);
        e->message = message;
        return e;
}

struct error *error_as(struct error *e, enum error_code code)
{
        if (!e)
                __builtin_unreachable();
        if (e != &out_of_memory)
                e->code = code;
        return e;
}

enum error_code error_code_of(const struct error *e)
{
        return e->code;
}

const char *error_message(const struct error *e)
{
        return e->message;
}

int error_errnum_of(const struct error *e)
{
        return e->errnum;
}

const char *error_code_name(enum error_code code)
{
        static const char *const names[] = {
                [ERROR_CANCELLED] = "CANCELLED",
                [ERROR_UNKNOWN] = "UNKNOWN",
                [ERROR_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
                [ERROR_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
                [ERROR_NOT_FOUND] = "NOT_FOUND",
                [ERROR_ALREADY_EXISTS] = "ALREADY_EXISTS",
                [ERROR_PERMISSION_DENIED] = "PERMISSION_DENIED",
                [ERROR_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
                [ERROR_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
                [ERROR_ABORTED] = "ABORTED",
                [ERROR_OUT_OF_RANGE] = "OUT_OF_RANGE",
                [ERROR_UNIMPLEMENTED] = "UNIMPLEMENTED",
                [ERROR_INTERNAL] = "INTERNAL",
                [ERROR_UNAVAILABLE] = "UNAVAILABLE",
                [ERROR_DATA_LOSS] = "DATA_LOSS",
                [ERROR_UNAUTHENTICATED] = "UNAUTHENTICATED",
        };
        return (size_t) code < LENGTH(names) ? names[code] : "UNKNOWN";
}

void error_free(struct error *e)
{
        if (!e || e == &out_of_memory)
                return;
        free(e->message);
        free(e);
}

static atomic_uint inject_countdown;
static atomic_int inject_hit;

void error_inject(unsigned nth)
{
        atomic_store(&inject_hit, 0);
        atomic_store(&inject_countdown, nth);
}

int error_inject_hit(void)
{
        return atomic_load(&inject_hit);
}

struct error *error_injected_(void)
{
        unsigned left = atomic_load_explicit(&inject_countdown, memory_order_relaxed);
        if (left == 0 || atomic_fetch_sub(&inject_countdown, 1) != 1)
                return NULL;
        atomic_store(&inject_hit, 1);
        return error_new(ERROR_ABORTED, "injected");
}
