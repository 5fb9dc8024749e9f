#include "cri/stream/request.h"
#include <string.h>
#include <strings.h>

size_t request_head_end(const char *bytes, size_t len_bytes, size_t from)
{
        size_t at = from > 2 ? from - 2 : 0; /* the empty line may have begun with the last bytes */
        for (const char *line; (line = memchr(bytes + at, '\n', len_bytes - at));
             at = (size_t) (line - bytes) + 1) {
                size_t next = (size_t) (line - bytes) + 1;
                if (next < len_bytes && bytes[next] == '\r')
                        next++;
                if (next < len_bytes && bytes[next] == '\n')
                        return next + 1;
        }
        return 0;
}

/* Cuts the next line off; NULL at the end of the head. */
static char *next_line(char **rest, char *end)
{
        char *line = *rest, *newline = line < end ? memchr(line, '\n', (size_t) (end - line)) : NULL;
        if (!newline)
                return NULL;
        *rest = newline + 1;
        if (newline > line && newline[-1] == '\r')
                newline--;
        *newline = '\0';
        return line;
}

static bool is_token_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s)
{
        if (!*s)
                return false;
        while (*s && is_token_char(*s))
                s++;
        return !*s;
}

static struct error *error_malformed(const char *what)
{
        return error_new(ERROR_INVALID_ARGUMENT, "malformed HTTP request: %s", what);
}

/* A proxy may send "http://host/path". */
static const char *path_of(const char *target)
{
        for (const char *const *scheme = (const char *const[]){ "http://", "https://", NULL }; *scheme;
             scheme++) {
                size_t len_bytes = strlen(*scheme);
                if (strncasecmp(target, *scheme, len_bytes) == 0)
                        return strchr(target + len_bytes, '/');
        }
        return *target == '/' ? target : NULL;
}

static struct error *parse_line(char *line, struct request *out)
{
        char *target = strchr(line, ' ');
        if (!target)
                return error_malformed("request line");
        *target++ = '\0';
        char *version = strchr(target, ' ');
        if (!version)
                return error_malformed("request line");
        *version++ = '\0';
        if (strncmp(version, "HTTP/1.", 7) != 0 || !version[7] || version[8] || !is_token(line))
                return error_malformed("request line");
        out->method = line;
        out->path = path_of(target);
        if (!out->path)
                return error_malformed("target");
        target[strcspn(target, "?#")] = '\0';
        return NULL;
}

static struct error *parse_field(char *line, struct request *out)
{
        char *value = strchr(line, ':');
        if (!value)
                return error_malformed("a field without a colon");
        *value++ = '\0';
        if (!is_token(line))
                return error_malformed("a field's name");
        if (out->n_fields == LENGTH(out->fields))
                return error_malformed("too many fields");
        value += strspn(value, " \t");
        for (char *end = value + strlen(value); end > value && (end[-1] == ' ' || end[-1] == '\t'); end--)
                end[-1] = '\0';
        out->fields[out->n_fields++] = (struct request_field){ line, value };
        return NULL;
}

struct error *request_parse(char *head, size_t len_bytes, struct request *out)
{
        char *rest = head, *end = head + len_bytes;
        out->n_fields = 0;
        if (memchr(head, '\0', len_bytes))
                return error_malformed("a NUL");
        char *line = next_line(&rest, end);
        if (!line)
                return error_malformed("request line");
        TRY(parse_line(line, out));
        while ((line = next_line(&rest, end)) && *line)
                TRY(parse_field(line, out));
        return NULL;
}

const char *request_field(const struct request *request, const char *name)
{
        for (size_t i = 0; i < request->n_fields; i++)
                if (strcasecmp(request->fields[i].name, name) == 0)
                        return request->fields[i].value;
        return NULL;
}

void request_items_begin(struct request_items *items, const struct request *request, const char *name)
{
        *items = (struct request_items){ .request = request, .name = name };
}

const char *request_items_next(struct request_items *items, size_t *len_bytes)
{
        const struct request *request = items->request;
        for (;;) {
                while (!items->rest || !*items->rest) {
                        if (items->field == request->n_fields)
                                return NULL;
                        const struct request_field *field = &request->fields[items->field++];
                        items->rest = strcasecmp(field->name, items->name) == 0 ? field->value : NULL;
                }
                const char *item = items->rest + strspn(items->rest, " \t,");
                size_t n = strcspn(item, ",");
                items->rest = item + n;
                while (n && (item[n - 1] == ' ' || item[n - 1] == '\t'))
                        n--;
                *len_bytes = n;
                if (n)
                        return item;
        }
}

bool request_lists(const struct request *request, const char *name, const char *word)
{
        struct request_items items;
        size_t len_bytes;
        request_items_begin(&items, request, name);
        for (const char *item; (item = request_items_next(&items, &len_bytes));)
                if (len_bytes == strlen(word) && strncasecmp(item, word, len_bytes) == 0)
                        return true;
        return false;
}
