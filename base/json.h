/* json.h - trees over yajl, with limits and positions in errors.
 *
 * A tree owns everything in it. Input is bounded by the caller; depth is bounded here. Strings are valid UTF-8 without
 * NUL, or the parse fails. Threads: a tree is read only. Source: RFC 8259. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
struct json;

/* Parses exactly one value. Duplicate keys: the last wins. Errors: INVALID_ARGUMENT "line 3: ...", also for more than 64
 * levels or 500,000 values. */
MUST_CHECK struct error *json_parse(const char *bytes, size_t len_bytes, struct json **out);
void json_free(struct json *json);
DEFINE_FREEP(struct json, json_free)

enum json_type json_type_of(const struct json *json); /* NULL is JSON_NULL */

/* Children, borrowed; NULL when absent or when json (which may be NULL) is of another type. */
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_at(const struct json *array, size_t i);
size_t json_length(const struct json *array_or_object); /* 0 for other types */
const char *json_key_at(const struct json *object, size_t i);
const struct json *json_value_at(const struct json *object, size_t i);

/* Values with a default where absent or of another type. */
const char *json_text(const struct json *json, const char *otherwise);
int64_t json_integer(const struct json *json, int64_t otherwise);
bool json_boolean(const struct json *json, bool otherwise);

/* Member lookups that say what is wrong: INVALID_ARGUMENT `"size" is missing`, `"size" is not a number`. */
MUST_CHECK struct error *json_need_text(const struct json *object, const char *key, const char **out);
MUST_CHECK struct error *json_need_integer(const struct json *object, const char *key, int64_t *out);

/* Writes. json_write gives the tree as compact text. json_put_text appends a quoted, escaped string (NULL: null);
 * bytes that are not UTF-8 become U+FFFD. */
MUST_CHECK struct error *json_write(const struct json *json, struct buf *out);
MUST_CHECK struct error *json_put_text(struct buf *out, const char *text);
