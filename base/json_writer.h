/* json_writer.h - JSON text written member by member, with its commas. After a failure, which is kept in error, all does
 * nothing: so it is looked at once, at the end. key: the member's name; NULL for an element of an array, or the whole.
 *
 * Threads: one at a time on one writer. */
#pragma once
#include "base/buf.h"
#include "base/json.h"
#include <stdbool.h>
#include <stdint.h>

struct json_writer {
        struct buf *out;
        struct error *error;
        bool comma; /* before the next one */
};

/* An object or array, by its opening bracket; json_write_end has the closing one. */
void json_write_begin(struct json_writer *w, const char *key, const char *bracket);
void json_write_end(struct json_writer *w, const char *bracket);

/* A member or element of each kind. */
void json_write_text(struct json_writer *w, const char *key, const char *text);
void json_write_number(struct json_writer *w, const char *key, int64_t number);
void json_write_bool(struct json_writer *w, const char *key, bool value);
/* A parsed value as it is (NULL: null). */
void json_write_value(struct json_writer *w, const char *key, const struct json *value);
/* texts: NULL-terminated; NULL: none. */
void json_write_texts(struct json_writer *w, const char *key, char *const *texts);
