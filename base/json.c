#include "base/json.h"
#include <inttypes.h>
#include <string.h>
#include <yajl/yajl_parse.h>

/* An array's values, or an object's values with their keys, lie in one block that doubles as it grows. */
struct json {
        enum json_type type;
        bool boolean;
        union {
                char *text; /* a string, or a number as it was written */
                struct {
                        struct json *values;
                        char **keys; /* NULL for an array */
                        size_t n;
                };
        };
};

enum { DEPTH_MAX = 64, VALUES_MAX = 500000 };

/* The containers that are open; a child is appended to the innermost. A container's address stays valid while it
 * is open, since nothing is appended to its parent meanwhile. */
struct parse {
        struct json root;
        struct json *open[DEPTH_MAX];
        size_t depth, n_values;
        char *key; /* read, its value is still to come */
        bool root_seen;
        const char *fault; /* what a callback refused, or NULL */
};

static void json_done(struct json *json)
{
        if (json->type == JSON_STRING || json->type == JSON_NUMBER) {
                free(json->text);
        } else if (json->type == JSON_ARRAY || json->type == JSON_OBJECT) {
                for (size_t i = 0; i < json->n; i++) {
                        json_done(&json->values[i]);
                        if (json->keys)
                                free(json->keys[i]);
                }
                free(json->values);
                free(json->keys);
        }
}

/* Length of the UTF-8 character at s, 0 when it is none: overlong forms, surrogates and what is past U+10FFFF are
 * refused, since protobuf peers refuse them too. Source: RFC 3629. */
static size_t utf8_length(const unsigned char *s, size_t left_bytes)
{
        if (s[0] < 0x80)
                return 1;
        size_t n_bytes = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
        if (s[0] < 0xc2 || s[0] > 0xf4 || n_bytes > left_bytes)
                return 0;
        for (size_t i = 1; i < n_bytes; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
            (s[0] == 0xf4 && s[1] > 0x8f))
                return 0;
        return n_bytes;
}

static bool text_is_clean(struct parse *parse, const unsigned char *text, size_t len_bytes)
{
        for (size_t i = 0; i < len_bytes;) {
                size_t n_bytes = utf8_length(text + i, len_bytes - i);
                if (n_bytes == 0 || text[i] == '\0') {
                        parse->fault = n_bytes ? "a NUL in a string" : "a string that is not UTF-8";
                        return false;
                }
                i += n_bytes;
        }
        return true;
}

/* Grows both arrays of a container when it is full: at 0 and at each power of two from 4 on. */
static void container_grow(struct json *to)
{
        if (to->n != 0 && (to->n < 4 || (to->n & (to->n - 1)) != 0))
                return;
        size_t room = to->n ? to->n * 2 : 4;
        to->values = grow_array(to->values, room, sizeof(*to->values));
        if (to->type == JSON_OBJECT)
                to->keys = grow_array(to->keys, room, sizeof(*to->keys));
}

/* A place for the next value, or NULL with a fault. */
static struct json *value_add(struct parse *parse, enum json_type type)
{
        if (++parse->n_values > VALUES_MAX) {
                parse->fault = "too many values";
                return NULL;
        }
        struct json *to = parse->depth ? parse->open[parse->depth - 1] : NULL;
        struct json *value = &parse->root;
        if (to) {
                container_grow(to);
                value = &to->values[to->n];
                if (to->keys)
                        to->keys[to->n] = TAKE(parse->key);
                to->n++;
        }
        *value = (struct json){ .type = type };
        parse->root_seen = true;
        return value;
}

static int on_null(void *parse)
{
        return value_add(parse, JSON_NULL) != NULL;
}

static int on_boolean(void *parse, int boolean)
{
        struct json *value = value_add(parse, JSON_BOOL);
        if (value)
                value->boolean = boolean;
        return value != NULL;
}

static int on_number(void *parse, const char *text, size_t len_bytes)
{
        struct json *value = value_add(parse, JSON_NUMBER);
        if (value)
                value->text = dup_bytes(text, len_bytes);
        return value != NULL;
}

static int on_string(void *parse, const unsigned char *text, size_t len_bytes)
{
        if (!text_is_clean(parse, text, len_bytes))
                return 0;
        struct json *value = value_add(parse, JSON_STRING);
        if (value)
                value->text = dup_bytes(text, len_bytes);
        return value != NULL;
}

static int container_open(struct parse *parse, enum json_type type)
{
        if (parse->depth == DEPTH_MAX) {
                parse->fault = "more than 64 levels";
                return 0;
        }
        struct json *value = value_add(parse, type);
        if (value)
                parse->open[parse->depth++] = value;
        return value != NULL;
}

static int on_array(void *parse)
{
        return container_open(parse, JSON_ARRAY);
}

static int on_array_end(void *context)
{
        struct parse *parse = context;
        parse->depth--;
        return 1;
}

static int on_object(void *parse)
{
        return container_open(parse, JSON_OBJECT);
}

static int on_key(void *context, const unsigned char *text, size_t len_bytes)
{
        struct parse *parse = context;
        if (!text_is_clean(parse, text, len_bytes))
                return 0;
        free(parse->key);
        parse->key = dup_bytes(text, len_bytes);
        return 1;
}

/* By key, then by position: the addresses are those of entries in one array. */
static int compare_keys(const void *a, const void *b)
{
        char *const *x = *(char *const *const *) a, *const *y = *(char *const *const *) b;
        int order = strcmp(*x, *y);
        return order ? order : (x > y) - (x < y);
}

/* Drops all but the last of equal keys. Sorted, not pairwise: an object of many keys must not cost their square. */
static void drop_duplicates(struct json *object)
{
        if (object->n < 2)
                return;
        _cleanup_(freep) char ***sorted = NEW_ARRAY(char **, object->n);
        for (size_t i = 0; i < object->n; i++)
                sorted[i] = &object->keys[i];
        qsort(sorted, object->n, sizeof(*sorted), compare_keys);
        _cleanup_(freep) bool *drop = NEW_ARRAY(bool, object->n);
        for (size_t i = 1; i < object->n; i++)
                if (strcmp(*sorted[i - 1], *sorted[i]) == 0)
                        drop[sorted[i - 1] - object->keys] = true;
        size_t kept = 0;
        for (size_t i = 0; i < object->n; i++) {
                if (drop[i]) {
                        free(object->keys[i]);
                        json_done(&object->values[i]);
                        continue;
                }
                object->keys[kept] = object->keys[i];
                object->values[kept++] = object->values[i];
        }
        object->n = kept;
}

static int on_object_end(void *context)
{
        struct parse *parse = context;
        drop_duplicates(parse->open[--parse->depth]);
        return 1;
}

static const yajl_callbacks callbacks = {
        .yajl_null = on_null,
        .yajl_boolean = on_boolean,
        .yajl_number = on_number,
        .yajl_string = on_string,
        .yajl_start_map = on_object,
        .yajl_map_key = on_key,
        .yajl_end_map = on_object_end,
        .yajl_start_array = on_array,
        .yajl_end_array = on_array_end,
};

static struct error *parse_error(yajl_handle yajl, const struct parse *parse, const char *bytes,
                                 size_t len_bytes)
{
        size_t at = yajl_get_bytes_consumed(yajl);
        unsigned line = 1;
        for (size_t i = 0; i < at && i < len_bytes; i++)
                line += bytes[i] == '\n';
        if (parse->fault)
                return error_new(ERROR_INVALID_ARGUMENT, "line %u: %s", line, parse->fault);
        unsigned char *text = yajl_get_error(yajl, 0, (const unsigned char *) bytes, len_bytes);
        struct error *e = error_new(ERROR_INVALID_ARGUMENT, "line %u: %.*s", line,
                                    (int) strcspn((const char *) text, "\n"), (const char *) text);
        yajl_free_error(yajl, text);
        return e;
}

struct error *json_parse(const char *bytes, size_t len_bytes, struct json **out)
{
        struct parse parse = { .depth = 0 };
        yajl_handle yajl = yajl_alloc(&callbacks, NULL, &parse);
        if (!yajl)
                return error_errno(ENOMEM, "parse JSON");
        yajl_status status = yajl_parse(yajl, (const unsigned char *) bytes, len_bytes);
        if (status == yajl_status_ok)
                status = yajl_complete_parse(yajl);
        struct error *e = NULL;
        if (status != yajl_status_ok)
                e = parse_error(yajl, &parse, bytes, len_bytes);
        else if (!parse.root_seen)
                e = error_new(ERROR_INVALID_ARGUMENT, "line 1: no JSON value");
        yajl_free(yajl);
        free(parse.key);
        if (e) {
                json_done(&parse.root);
                return e;
        }
        struct json *json = NEW(struct json);
        *json = parse.root;
        *out = json;
        return NULL;
}

void json_free(struct json *json)
{
        if (!json)
                return;
        json_done(json);
        free(json);
}

enum json_type json_type_of(const struct json *json)
{
        return json ? json->type : JSON_NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
        for (size_t i = 0; json_type_of(object) == JSON_OBJECT && i < object->n; i++)
                if (strcmp(object->keys[i], key) == 0)
                        return &object->values[i];
        return NULL;
}

const struct json *json_at(const struct json *array, size_t i)
{
        return json_type_of(array) == JSON_ARRAY && i < array->n ? &array->values[i] : NULL;
}

size_t json_length(const struct json *json)
{
        enum json_type type = json_type_of(json);
        return type == JSON_ARRAY || type == JSON_OBJECT ? json->n : 0;
}

const char *json_key_at(const struct json *object, size_t i)
{
        return json_type_of(object) == JSON_OBJECT && i < object->n ? object->keys[i] : NULL;
}

const struct json *json_value_at(const struct json *object, size_t i)
{
        return json_type_of(object) == JSON_OBJECT && i < object->n ? &object->values[i] : NULL;
}

const char *json_text(const struct json *json, const char *otherwise)
{
        return json_type_of(json) == JSON_STRING ? json->text : otherwise;
}

static bool number_to_integer(const struct json *json, int64_t *out)
{
        if (json_type_of(json) != JSON_NUMBER)
                return false;
        char *end = NULL;
        errno = 0;
        intmax_t value = strtoimax(json->text, &end, 10);
        if (errno || *end)
                return false;
        *out = value;
        return true;
}

int64_t json_integer(const struct json *json, int64_t otherwise)
{
        int64_t value = otherwise;
        return number_to_integer(json, &value) ? value : otherwise;
}

bool json_boolean(const struct json *json, bool otherwise)
{
        return json_type_of(json) == JSON_BOOL ? json->boolean : otherwise;
}

struct error *json_need_text(const struct json *object, const char *key, const char **out)
{
        const struct json *value = json_get(object, key);
        if (!value)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is missing", key);
        if (value->type != JSON_STRING)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a string", key);
        *out = value->text;
        return NULL;
}

struct error *json_need_integer(const struct json *object, const char *key, int64_t *out)
{
        const struct json *value = json_get(object, key);
        if (!value)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is missing", key);
        if (value->type != JSON_NUMBER)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a number", key);
        if (!number_to_integer(value, out))
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not an integer of 64 bits", key);
        return NULL;
}

static struct error *put_escape(struct buf *out, unsigned char c)
{
        static const char *const shorts[] = {
                ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t",
        };
        if (c < LENGTH(shorts) && shorts[c])
                return buf_append_text(out, shorts[c]);
        return buf_append_format(out, "\\u%04x", c);
}

struct error *json_put_text(struct buf *out, const char *text)
{
        if (!text)
                return buf_append_text(out, "null");
        const unsigned char *s = (const unsigned char *) text;
        size_t len_bytes = strlen(text), plain = 0, n_bytes;
        TRY(buf_append(out, "\"", 1));
        for (size_t i = 0; i < len_bytes; i += n_bytes ? n_bytes : 1) {
                n_bytes = utf8_length(s + i, len_bytes - i);
                if (n_bytes && s[i] >= 0x20 && s[i] != '"' && s[i] != '\\' && s[i] != 0x7f)
                        continue;
                TRY(buf_append(out, text + plain, i - plain));
                if (n_bytes)
                        TRY(put_escape(out, s[i]));
                else
                        TRY(buf_append_text(out, "\\ufffd")); /* not UTF-8: JSON cannot carry the byte */
                plain = i + 1;
        }
        TRY(buf_append(out, text + plain, len_bytes - plain));
        return buf_append(out, "\"", 1);
}

struct error *json_write(const struct json *json, struct buf *out)
{
        switch (json_type_of(json)) {
        case JSON_NULL:
                return buf_append_text(out, "null");
        case JSON_BOOL:
                return buf_append_text(out, json->boolean ? "true" : "false");
        case JSON_NUMBER:
                return buf_append_text(out, json->text);
        case JSON_STRING:
                return json_put_text(out, json->text);
        case JSON_ARRAY:
        case JSON_OBJECT:
                break;
        }
        bool is_object = json->type == JSON_OBJECT;
        TRY(buf_append_text(out, is_object ? "{" : "["));
        for (size_t i = 0; i < json->n; i++) { /* recursion is bounded by the parser: 64 levels */
                if (i)
                        TRY(buf_append_text(out, ","));
                if (is_object) {
                        TRY(json_put_text(out, json->keys[i]));
                        TRY(buf_append_text(out, ":"));
                }
                TRY(json_write(&json->values[i], out));
        }
        return buf_append_text(out, is_object ? "}" : "]");
}
