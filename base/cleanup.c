#include "base/cleanup.h"
#include <stdarg.h>
#include <string.h>

/* skiffd restarts cleanly, so ending is the honest answer to a failed small allocation. */
static void *or_abort(void *p)
{
        if (!p)
                abort();
        return p;
}

void *new_zeroed(size_t n, size_t size_bytes)
{
        return or_abort(calloc(n ? n : 1, size_bytes));
}

char *dup_string(const char *s)
{
        return s ? or_abort(strdup(s)) : NULL;
}

char *dup_bytes(const void *bytes, size_t len_bytes)
{
        char *copy = or_abort(malloc(len_bytes + 1));
        if (len_bytes)
                memcpy(copy, bytes, len_bytes);
        copy[len_bytes] = '\0';
        return copy;
}

char *format_string(const char *fmt, ...)
{
        char *s = NULL;
        va_list args;
        va_start(args, fmt);
        int len_bytes = vasprintf(&s, fmt, args);
        va_end(args);
        return or_abort(len_bytes < 0 ? NULL : s);
}

void *grow_array(void *array, size_t n, size_t size_bytes)
{
        return or_abort(reallocarray(array, n ? n : 1, size_bytes));
}

void free_strings(char **strings)
{
        for (char **s = strings; s && *s; s++)
                free(*s);
        free(strings);
}
