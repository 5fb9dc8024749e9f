#include "images/strings.h"
#include <string.h>

char **strings_empty(void)
{
        return NEW_ARRAY(char *, 1);
}

size_t strings_length(char *const *strings)
{
        size_t n = 0;
        while (strings && strings[n])
                n++;
        return n;
}

char **strings_copy(char *const *strings)
{
        size_t n = strings_length(strings);
        char **copy = NEW_ARRAY(char *, n + 1);
        for (size_t i = 0; i < n; i++)
                copy[i] = dup_string(strings[i]);
        return copy;
}

void strings_add(char ***strings, const char *text)
{
        size_t n = strings_length(*strings);
        *strings = grow_array(*strings, n + 2, sizeof(char *));
        (*strings)[n] = dup_string(text);
        (*strings)[n + 1] = NULL;
}

bool strings_contain(char *const *strings, const char *text)
{
        for (; strings && *strings; strings++)
                if (strcmp(*strings, text) == 0)
                        return true;
        return false;
}

static struct error *check_length(const struct json *list, const char *key, size_t max)
{
        if (json_length(list) > max)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" has %zu entries, more than %zu", key,
                                 json_length(list), max);
        return NULL;
}

struct error *strings_of_json(const struct json *object, const char *key, size_t max, char ***out)
{
        const struct json *list = json_get(object, key);
        enum json_type type = json_type_of(list);
        if (type != JSON_ARRAY && type != JSON_NULL)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a list", key);
        TRY(check_length(list, key, max));
        size_t n = json_length(list);
        _cleanup_(free_stringsp) char **strings = NEW_ARRAY(char *, n + 1);
        for (size_t i = 0; i < n; i++) {
                const char *text = json_text(json_at(list, i), NULL);
                if (!text)
                        return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" %zu is not a string", key, i);
                strings[i] = dup_string(text);
        }
        *out = TAKE(strings);
        return NULL;
}

struct error *strings_of_keys(const struct json *object, const char *key, size_t max, char ***out)
{
        const struct json *members = json_get(object, key);
        enum json_type type = json_type_of(members);
        if (type != JSON_OBJECT && type != JSON_NULL)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not an object", key);
        TRY(check_length(members, key, max));
        size_t n = json_length(members);
        char **strings = NEW_ARRAY(char *, n + 1);
        for (size_t i = 0; i < n; i++)
                strings[i] = dup_string(json_key_at(members, i));
        *out = strings;
        return NULL;
}
