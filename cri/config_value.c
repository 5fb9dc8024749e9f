/* One option: its value from text or TOML, as TOML, and against another configuration's. */
#include "cri/config_internal.h"
#include <inttypes.h>
#include <string.h>

static char **text_at(const struct skiff_config *config, const struct option *option)
{
        return (char **) ((uintptr_t) config + option->offset);
}

/* OPTION_NUMBER and OPTION_SWITCH. */
static int64_t *number_at(const struct skiff_config *config, const struct option *option)
{
        return (int64_t *) ((uintptr_t) config + option->offset);
}

static char ***list_at(const struct skiff_config *config, const struct option *option)
{
        return (char ***) ((uintptr_t) config + option->offset);
}

static bool is_number(const struct option *option)
{
        return option->type == OPTION_NUMBER || option->type == OPTION_SWITCH;
}

static struct error *check_path(const char *text, size_t len)
{
        if (len == 0 || text[0] != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "\"%.*s\" is not an absolute path", (int) len, text);
        return NULL;
}

static struct error *set_text(struct skiff_config *config, const struct option *option, const char *text)
{
        char *copy = dup_string(text);
        size_t len = strlen(copy);
        if (option->type == OPTION_PATH)
                while (len > 1 && copy[len - 1] == '/')
                        copy[--len] = '\0';
        free(*text_at(config, option));
        *text_at(config, option) = copy;
        if (option->type == OPTION_PATH || (option->type == OPTION_FILE && len))
                return check_path(copy, len);
        for (const char *at = copy; option->type == OPTION_PATHS && at;) {
                size_t part = strcspn(at, ":");
                TRY(check_path(at, part));
                at = at[part] ? at + part + 1 : NULL;
        }
        return NULL;
}

static struct error *set_number(struct skiff_config *config, const struct option *option, int64_t number)
{
        if (number < option->least || number > option->most)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "%" PRId64 " is not between %" PRId64 " and %" PRId64, number, option->least,
                                 option->most);
        *number_at(config, option) = number;
        return NULL;
}

/* A number that is 0 or 1, so that there is one kind of member for both. */
static struct error *set_switch(struct skiff_config *config, const struct option *option, bool on)
{
        *number_at(config, option) = on;
        return NULL;
}

static void set_list(struct skiff_config *config, const struct option *option, const char *const *items,
                     size_t n)
{
        char ***list = list_at(config, option);
        free_strings(*list);
        *list = NEW_ARRAY(char *, n + 1);
        for (size_t i = 0; i < n; i++)
                (*list)[i] = dup_string(items[i]);
}

static struct error *set_list_from_text(struct skiff_config *config, const struct option *option,
                                        const char *text)
{
        _cleanup_(freep) char *copy = dup_string(text);
        _cleanup_(freep) const char **items = NEW_ARRAY(const char *, strlen(text) + 1);
        char *rest = copy;
        size_t n = 0;
        for (char *item; (item = strsep(&rest, ","));)
                if (*item)
                        items[n++] = item;
        set_list(config, option, items, n);
        return NULL;
}

/* From a flag, or a default. */
struct error *option_set_from_text(struct skiff_config *config, const struct option *option, const char *text)
{
        if (option->type == OPTION_LIST)
                return set_list_from_text(config, option, text);
        if (option->type == OPTION_SWITCH) {
                bool on = strcmp(text, "true") == 0;
                return on || strcmp(text, "false") == 0
                               ? set_switch(config, option, on)
                               : error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is neither true nor false", text);
        }
        if (option->type != OPTION_NUMBER)
                return set_text(config, option, text);
        char *end = NULL;
        errno = 0;
        int64_t number = strtoll(text, &end, 10);
        if (errno || end == text || *end)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a whole number", text);
        return set_number(config, option, number);
}

static struct error *wrong_type(const struct toml_value *value, const char *wanted)
{
        return error_new(ERROR_INVALID_ARGUMENT, "%s where %s should be", toml_type_name(toml_type_of(value)),
                         wanted);
}

struct error *option_set_from_toml(struct skiff_config *config, const struct option *option,
                                   const struct toml_value *value)
{
        if (option->type == OPTION_NUMBER)
                return toml_type_of(value) == TOML_INTEGER
                               ? set_number(config, option, toml_integer(value, 0))
                               : wrong_type(value, "a whole number");
        if (option->type == OPTION_SWITCH)
                return toml_type_of(value) == TOML_BOOLEAN
                               ? set_switch(config, option, toml_boolean(value, false))
                               : wrong_type(value, "true or false");
        if (option->type != OPTION_LIST)
                return toml_type_of(value) == TOML_STRING ? set_text(config, option, toml_text(value, ""))
                                                          : wrong_type(value, "a string");
        if (toml_type_of(value) != TOML_ARRAY)
                return wrong_type(value, "a list");
        size_t n = toml_length(value);
        _cleanup_(freep) const char **items = NEW_ARRAY(const char *, n);
        for (size_t i = 0; i < n; i++) {
                if (toml_type_of(toml_at(value, i)) != TOML_STRING)
                        return wrong_type(toml_at(value, i), "a string");
                items[i] = toml_text(toml_at(value, i), "");
        }
        set_list(config, option, items, n);
        return NULL;
}

/* --- as TOML --- */

static struct error *append_string(struct buf *out, const char *text)
{
        TRY(buf_append_text(out, "\""));
        for (const char *c = text; *c; c++) {
                if (*c == '"' || *c == '\\')
                        TRY(buf_append_format(out, "\\%c", *c));
                else if ((unsigned char) *c < ' ' || *c == 0x7f)
                        TRY(buf_append_format(out, "\\u%04X", (unsigned) *c));
                else
                        TRY(buf_append(out, c, 1));
        }
        return buf_append_text(out, "\"");
}

static struct error *append_list(struct buf *out, char *const *items)
{
        TRY(buf_append_text(out, "["));
        for (size_t i = 0; items[i]; i++) {
                TRY(buf_append_text(out, i ? ", " : ""));
                TRY(append_string(out, items[i]));
        }
        return buf_append_text(out, "]");
}

struct error *option_append_toml(const struct skiff_config *config, const struct option *option,
                                 struct buf *out)
{
        switch (option->type) {
        case OPTION_NUMBER:
                return buf_append_format(out, "%" PRId64, *number_at(config, option));
        case OPTION_SWITCH:
                return buf_append_text(out, *number_at(config, option) ? "true" : "false");
        case OPTION_LIST:
                return append_list(out, *list_at(config, option));
        default:
                return append_string(out, *text_at(config, option));
        }
}

/* --- two configurations --- */

bool option_is_same(const struct skiff_config *a, const struct skiff_config *b, const struct option *option)
{
        if (is_number(option))
                return *number_at(a, option) == *number_at(b, option);
        if (option->type != OPTION_LIST)
                return strcmp(*text_at(a, option), *text_at(b, option)) == 0;
        char *const *x = *list_at(a, option), *const *y = *list_at(b, option);
        while (*x && *y && strcmp(*x, *y) == 0)
                x++, y++;
        return !*x && !*y;
}

void option_swap(struct skiff_config *a, struct skiff_config *b, const struct option *option)
{
        size_t size_bytes = is_number(option) ? sizeof(int64_t) : sizeof(char *);
        unsigned char kept[sizeof(int64_t)];
        void *in_a = (char *) a + option->offset, *in_b = (char *) b + option->offset;
        memcpy(kept, in_a, size_bytes);
        memcpy(in_a, in_b, size_bytes);
        memcpy(in_b, kept, size_bytes);
}

void option_done(struct skiff_config *config, const struct option *option)
{
        if (option->type == OPTION_LIST)
                free_strings(*list_at(config, option));
        else if (!is_number(option))
                free(*text_at(config, option));
}
