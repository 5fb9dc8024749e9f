/* toml.h - TOML to trees, with the line of every value: a C face over toml11.
 *
 * A tree owns everything in it. Input is bounded here, in size and in nesting, since the parser below recurses. Threads:
 * a tree is read only; parses may run at once. Source: TOML 1.0. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum toml_type {
        TOML_NONE,
        TOML_BOOLEAN,
        TOML_INTEGER,
        TOML_FLOAT,
        TOML_STRING,
        TOML_DATE,
        TOML_ARRAY,
        TOML_TABLE
};
struct toml_value;

#define TOML_MAX_BYTES ((size_t) 256 << 10)
#define TOML_NESTING_MAX 24
#define TOML_DOTS_MAX 400 /* in one line: a.b.c nests too */

/* Parses a document. Errors: INVALID_ARGUMENT "line 3: ...". The root is a table. */
MUST_CHECK struct error *toml_parse(const char *bytes, size_t len_bytes, struct toml_value **out);
void toml_free(struct toml_value *toml);
DEFINE_FREEP(struct toml_value, toml_free)

/* TOML_NONE for NULL: lookups can be chained. */
enum toml_type toml_type_of(const struct toml_value *toml);
const char *toml_type_name(enum toml_type type);   /* "a string", for errors */
unsigned toml_line(const struct toml_value *toml); /* from 1; 0 for NULL */

/* Children, borrowed; NULL where there is none or toml is of another type. A table's are in the order of their lines. */
const struct toml_value *toml_get(const struct toml_value *table, const char *key);
const struct toml_value *toml_at(const struct toml_value *array_or_table, size_t i);
const char *toml_key_at(const struct toml_value *table, size_t i);
size_t toml_length(const struct toml_value *array_or_table); /* 0 for other types */

/* Values with a default where absent or of another type. A string is valid UTF-8 without NUL. A date is its text. */
const char *toml_text(const struct toml_value *toml, const char *otherwise);
int64_t toml_integer(const struct toml_value *toml, int64_t otherwise);
bool toml_boolean(const struct toml_value *toml, bool otherwise);
