/* json.h - a strict reader of JSON for the plugin, which links no library.
 *
 * Keys of objects are found without regard to the case of letters, as Go's plugins find them: containerd writes
 * "HostPort" where the convention has "hostPort". Of keys that are the same, the last counts. Strings have no NUL in them.
 * A tree lives in its arena. Threads: one at a time. Source: RFC 8259. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include "cni/bridge/arena.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jv_type { JV_NULL, JV_BOOL, JV_NUMBER, JV_STRING, JV_ARRAY, JV_OBJECT };

struct jv {
        enum jv_type type;
        bool boolean;
        const char *key;  /* where it is in an object */
        const char *text; /* a string, or a number as it was written */
        struct jv *first, *next;
        size_t n_children;
};

/* Reads exactly one value. Errors: INVALID_ARGUMENT "byte 12: ..."; more than 64 levels or 200,000 values too. */
MUST_CHECK struct error *jv_parse(struct arena *arena, const char *bytes, size_t len_bytes,
                                  const struct jv **out);

/* A member, or NULL when there is none, it is null, or object (which may be NULL) is no object. */
const struct jv *jv_get(const struct jv *object, const char *key);

/* Whether there is such a member, be it null. */
bool jv_has(const struct jv *object, const char *key);

/* A member with the type that it must have; absent and null leave *out as it is. The integer lies between min and max.
 * Errors: INVALID_ARGUMENT, with the key, when it is of another type. */
MUST_CHECK struct error *jv_want_text(const struct jv *object, const char *key, const char **out);
MUST_CHECK struct error *jv_want_bool(const struct jv *object, const char *key, bool *out);
MUST_CHECK struct error *jv_want_integer(const struct jv *object, const char *key, int64_t min, int64_t max,
                                         int64_t *out);
MUST_CHECK struct error *jv_want(const struct jv *object, const char *key, enum jv_type type,
                                 const struct jv **out);

/* An array of strings as a NULL-terminated array. */
MUST_CHECK struct error *jv_want_texts(struct arena *arena, const struct jv *object, const char *key,
                                       const char *const **out);

/* Appends a quoted, escaped string; bytes that are not UTF-8 become U+FFFD. */
MUST_CHECK struct error *jv_put_text(struct buf *out, const char *text);
