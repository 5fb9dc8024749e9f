/* strings.h - NULL-terminated arrays of strings, as images.h hands them out. Threads: any. */
#pragma once
#include "base/error.h"
#include "base/json.h"
#include <stdbool.h>
#include <stddef.h>

/* The strings of object[key]: a list of strings; absent or null is an empty array. Errors: INVALID_ARGUMENT naming the
 * key, also for more than max. */
MUST_CHECK struct error *strings_of_json(const struct json *object, const char *key, size_t max, char ***out);

/* The keys of object[key], an object; absent or null is an empty array. Errors as above. */
MUST_CHECK struct error *strings_of_keys(const struct json *object, const char *key, size_t max, char ***out);

char **strings_empty(void); /* owned by the caller */
char **strings_copy(char *const *strings);
size_t strings_length(char *const *strings);
void strings_add(char ***strings, const char *text); /* appends a copy */
bool strings_contain(char *const *strings, const char *text);
