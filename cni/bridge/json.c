#include "cni/bridge/json.h"
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 64
#define VALUES_MAX 200000

struct reader {
        struct arena *arena;
        const char *start, *at, *end;
        unsigned depth, n_values;
};

static struct error *refuse(const struct reader *r, const char *what)
{
        return error_new(ERROR_INVALID_ARGUMENT, "byte %zu: %s", (size_t) (r->at - r->start), what);
}

static void skip_blanks(struct reader *r)
{
        while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
                r->at++;
}

static bool next_is(struct reader *r, char c)
{
        skip_blanks(r);
        if (r->at == r->end || *r->at != c)
                return false;
        r->at++;
        return true;
}

static struct error *hex4(struct reader *r, uint32_t *out)
{
        uint32_t value = 0;
        if (r->end - r->at < 4)
                return refuse(r, "a \\u with less than four digits");
        for (int i = 0; i < 4; i++) {
                char c = *r->at++;
                char low = (char) (c | 0x20);
                if (c >= '0' && c <= '9')
                        value = value << 4 | (uint32_t) (c - '0');
                else if (low >= 'a' && low <= 'f')
                        value = value << 4 | (uint32_t) (low - 'a' + 10);
                else
                        return refuse(r, "a \\u with other than hex digits");
        }
        *out = value;
        return NULL;
}

static char *put_utf8(char *to, uint32_t c)
{
        if (c < 0x80) {
                *to++ = (char) c;
                return to;
        }
        if (c < 0x800) {
                *to++ = (char) (0xc0 | c >> 6);
        } else {
                if (c < 0x10000) {
                        *to++ = (char) (0xe0 | c >> 12);
                } else {
                        *to++ = (char) (0xf0 | c >> 18);
                        *to++ = (char) (0x80 | (c >> 12 & 0x3f));
                }
                *to++ = (char) (0x80 | (c >> 6 & 0x3f));
        }
        *to++ = (char) (0x80 | (c & 0x3f));
        return to;
}

/* Behind \u: one code point, of two escapes where the first is half of a pair; half a pair is U+FFFD. */
static struct error *read_code_point(struct reader *r, uint32_t *out)
{
        uint32_t c = 0, low = 0;
        TRY(hex4(r, &c));
        if (c == 0)
                return refuse(r, "a NUL in a string");
        if (c >= 0xd800 && c < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
                const char *before = r->at;
                r->at += 2;
                TRY(hex4(r, &low));
                if (low >= 0xdc00 && low < 0xe000)
                        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                else
                        r->at = before;
        }
        *out = c >= 0xd800 && c < 0xe000 ? 0xfffd : c;
        return NULL;
}

static struct error *read_escape(struct reader *r, char **to)
{
        static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
        if (r->at == r->end)
                return refuse(r, "a string without an end");
        char c = *r->at++;
        if (c == 'u') {
                uint32_t code = 0;
                TRY(read_code_point(r, &code));
                *to = put_utf8(*to, code);
                return NULL;
        }
        const char *found = c ? strchr(from, c) : NULL;
        if (!found)
                return refuse(r, "an unknown escape");
        *(*to)++ = into[found - from];
        return NULL;
}

/* The opening quote has been read. An escape is never shorter than what it stands for. */
static struct error *read_string(struct reader *r, const char **out)
{
        const char *close = r->at;
        while (close < r->end && *close != '"')
                close += *close == '\\' && close + 1 < r->end ? 2 : 1;
        char *text = arena_take(r->arena, (size_t) (close - r->at) + 1), *to = text;
        while (r->at < r->end && *r->at != '"') {
                unsigned char c = (unsigned char) *r->at++;
                if (c < 0x20)
                        return refuse(r, "a control character in a string");
                if (c == '\\')
                        TRY(read_escape(r, &to));
                else
                        *to++ = (char) c;
        }
        if (r->at == r->end)
                return refuse(r, "a string without an end");
        r->at++;
        *out = text;
        return NULL;
}

static size_t digits(struct reader *r)
{
        const char *from = r->at;
        while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
                r->at++;
        return (size_t) (r->at - from);
}

static struct error *read_number(struct reader *r, struct jv *v)
{
        const char *from = r->at;
        if (*r->at == '-')
                r->at++;
        const char *first = r->at;
        size_t n = digits(r);
        if (n == 0 || (n > 1 && *first == '0'))
                return refuse(r, "no value");
        if (r->at < r->end && *r->at == '.') {
                r->at++;
                if (digits(r) == 0)
                        return refuse(r, "a number that ends in a point");
        }
        if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
                r->at++;
                if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
                        r->at++;
                if (digits(r) == 0)
                        return refuse(r, "a number without an exponent");
        }
        v->type = JV_NUMBER;
        v->text = arena_copy(r->arena, from, (size_t) (r->at - from));
        return NULL;
}

static bool word(struct reader *r, const char *text)
{
        size_t len_bytes = strlen(text);
        if ((size_t) (r->end - r->at) < len_bytes || memcmp(r->at, text, len_bytes) != 0)
                return false;
        r->at += len_bytes;
        return true;
}

static struct error *read_value(struct reader *r, struct jv **out);

static struct error *read_children(struct reader *r, struct jv *parent)
{
        bool object = parent->type == JV_OBJECT;
        char closing = object ? '}' : ']';
        struct jv **end = &parent->first;
        if (next_is(r, closing))
                return NULL;
        do {
                const char *key = NULL;
                if (object) {
                        if (!next_is(r, '"'))
                                return refuse(r, "no key where one must be");
                        TRY(read_string(r, &key));
                        if (!next_is(r, ':'))
                                return refuse(r, "no colon behind a key");
                }
                struct jv *child = NULL;
                TRY(read_value(r, &child));
                child->key = key;
                *end = child;
                end = &child->next;
                parent->n_children++;
        } while (next_is(r, ','));
        return next_is(r, closing) ? NULL : refuse(r, "neither a comma nor the end of an object or array");
}

static struct error *read_value(struct reader *r, struct jv **out)
{
        skip_blanks(r);
        if (r->at == r->end)
                return refuse(r, "it ends where a value must be");
        if (++r->n_values > VALUES_MAX)
                return refuse(r, "too many values");
        struct jv *v = *out = arena_take(r->arena, sizeof(*v));
        char c = *r->at;
        if (c == '{' || c == '[') {
                r->at++;
                v->type = c == '{' ? JV_OBJECT : JV_ARRAY;
                if (++r->depth > DEPTH_MAX)
                        return refuse(r, "too many levels");
                TRY(read_children(r, v));
                r->depth--;
                return NULL;
        }
        if (c == '"') {
                r->at++;
                v->type = JV_STRING;
                return read_string(r, &v->text);
        }
        if (word(r, "null"))
                return NULL;
        v->type = JV_BOOL;
        v->boolean = word(r, "true");
        if (v->boolean || word(r, "false"))
                return NULL;
        return read_number(r, v);
}

struct error *jv_parse(struct arena *arena, const char *bytes, size_t len_bytes, const struct jv **out)
{
        struct reader r = { .arena = arena, .start = bytes, .at = bytes, .end = bytes + len_bytes };
        struct jv *v = NULL;
        TRY(read_value(&r, &v));
        skip_blanks(&r);
        if (r.at != r.end)
                return refuse(&r, "something behind the end");
        *out = v;
        return NULL;
}

const struct jv *jv_get(const struct jv *object, const char *key)
{
        const struct jv *found = NULL;
        if (!object || object->type != JV_OBJECT)
                return NULL;
        for (const struct jv *child = object->first; child; child = child->next)
                if (strcasecmp(child->key, key) == 0)
                        found = child;
        return found && found->type != JV_NULL ? found : NULL;
}

bool jv_has(const struct jv *object, const char *key)
{
        for (const struct jv *child = object && object->type == JV_OBJECT ? object->first : NULL; child;
             child = child->next)
                if (strcasecmp(child->key, key) == 0)
                        return true;
        return false;
}

static const char *type_name(enum jv_type type)
{
        static const char *const names[] = { "null", "true or false", "a number",
                                             "text", "a list",        "an object" };
        return names[type];
}

struct error *jv_want(const struct jv *object, const char *key, enum jv_type type, const struct jv **out)
{
        const struct jv *v = jv_get(object, key);
        if (v && v->type != type)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not %s", key, type_name(type));
        if (v)
                *out = v;
        return NULL;
}

struct error *jv_want_text(const struct jv *object, const char *key, const char **out)
{
        const struct jv *v = NULL;
        TRY(jv_want(object, key, JV_STRING, &v));
        if (v)
                *out = v->text;
        return NULL;
}

struct error *jv_want_bool(const struct jv *object, const char *key, bool *out)
{
        const struct jv *v = NULL;
        TRY(jv_want(object, key, JV_BOOL, &v));
        if (v)
                *out = v->boolean;
        return NULL;
}

struct error *jv_want_integer(const struct jv *object, const char *key, int64_t min, int64_t max,
                              int64_t *out)
{
        const struct jv *v = NULL;
        TRY(jv_want(object, key, JV_NUMBER, &v));
        if (!v)
                return NULL;
        char *end = NULL;
        errno = 0;
        long long value = strtoll(v->text, &end, 10);
        if (*end)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a whole number: %s", key, v->text);
        if (errno || value < min || value > max)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is %s, not between %lld and %lld", key,
                                 v->text, (long long) min, (long long) max);
        *out = value;
        return NULL;
}

struct error *jv_want_texts(struct arena *arena, const struct jv *object, const char *key,
                            const char *const **out)
{
        const struct jv *list = NULL;
        TRY(jv_want(object, key, JV_ARRAY, &list));
        if (!list)
                return NULL;
        const char **texts = arena_take(arena, (list->n_children + 1) * sizeof(*texts));
        size_t n = 0;
        for (const struct jv *v = list->first; v; v = v->next) {
                if (v->type != JV_STRING)
                        return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" has an entry that is not text", key);
                texts[n++] = v->text;
        }
        *out = texts;
        return NULL;
}

/* The length of the UTF-8 sequence at s, 0 where there is none. */
static size_t utf8_length(const unsigned char *s)
{
        size_t n = s[0] < 0x80   ? 1
                   : s[0] < 0xc2 ? 0
                   : s[0] < 0xe0 ? 2
                   : s[0] < 0xf0 ? 3
                   : s[0] < 0xf5 ? 4
                                 : 0;
        for (size_t i = 1; i < n; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
                return 0;
        return n;
}

struct error *jv_put_text(struct buf *out, const char *text)
{
        TRY(buf_append(out, "\"", 1));
        const unsigned char *s = (const unsigned char *) text;
        while (*s) {
                size_t n = utf8_length(s);
                if (n == 0)
                        TRY(buf_append_text(out, "\xef\xbf\xbd"));
                else if (*s == '"' || *s == '\\')
                        TRY(buf_append_format(out, "\\%c", *s));
                else if (*s < 0x20 || *s == 0x7f)
                        TRY(buf_append_format(out, "\\u%04x", *s));
                else
                        TRY(buf_append(out, s, n));
                s += n ? n : 1;
        }
        return buf_append(out, "\"", 1);
}
