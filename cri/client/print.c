#include "cri/client/print.h"
#include "base/clock.h"
#include "cri/client/message_json.h"
#include <stdbool.h>
#include <string.h>

#define JSON_MAX_BYTES ((size_t) 256 << 20)
#define ID_SHOWN 13
#define COLUMNS_MAX 16

void table_init(struct table *table, size_t columns)
{
        *table = (struct table){ .columns = columns };
}

void table_add(struct table *table, char *cell)
{
        table->cells = grow_array(table->cells, table->n + 1, sizeof(char *));
        table->cells[table->n++] = cell;
}

void table_done(struct table *table)
{
        for (size_t i = 0; i < table->n; i++)
                free(table->cells[i]);
        free(table->cells);
        *table = (struct table){ 0 };
}

void table_print(const struct table *table)
{
        size_t widths[COLUMNS_MAX] = { 0 };
        for (size_t i = 0; i < table->n; i++) {
                size_t len = strlen(table->cells[i]);
                if (len > widths[i % table->columns])
                        widths[i % table->columns] = len;
        }
        for (size_t i = 0; i < table->n; i++) {
                bool last = i % table->columns == table->columns - 1;
                (void) printf("%-*s%s", last ? 0 : (int) widths[i % table->columns], table->cells[i],
                              last ? "\n" : "   ");
        }
}

char *print_id(const char *id)
{
        const char *bare = strncmp(id, "sha256:", 7) == 0 ? id + 7 : id;
        return format_string("%.*s", ID_SHOWN, bare);
}

char *print_age(int64_t wall_ns)
{
        static const struct {
                int64_t seconds;
                const char *name;
        } units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
        int64_t age = (clock_wall_ns() - wall_ns) / 1000000000;
        if (wall_ns <= 0)
                return dup_string("-");
        for (size_t i = 0; i < LENGTH(units); i++) {
                int64_t n = age / units[i].seconds;
                if (n > 0)
                        return format_string("%lld %s%s", (long long) n, units[i].name, n == 1 ? "" : "s");
        }
        return dup_string("now");
}

char *print_size(uint64_t size_bytes)
{
        static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
        double size = (double) size_bytes;
        size_t unit = 0;
        for (; size >= 1000 && unit + 1 < LENGTH(units); unit++)
                size /= 1000;
        return format_string(unit ? "%.1f %s" : "%.0f %s", size, units[unit]);
}

static void new_line(size_t depth)
{
        (void) printf("\n%*s", (int) (2 * depth), "");
}

/* The length of the string at text, both quotes included. */
static size_t string_bytes(const char *text)
{
        size_t n = 1;
        while (text[n] && text[n] != '"')
                n += text[n] == '\\' && text[n + 1] ? 2 : 1;
        return text[n] ? n + 1 : n;
}

void print_json_indented(const char *json)
{
        size_t depth = 0;
        for (const char *at = json; *at;) {
                size_t n = *at == '"' ? string_bytes(at) : 1;
                bool opens = *at == '{' || *at == '[', closes = *at == '}' || *at == ']';
                bool is_empty = opens && (at[1] == '}' || at[1] == ']');
                if (is_empty)
                        n = 2;
                if (closes)
                        new_line(--depth);
                (void) fwrite(at, 1, n, stdout);
                if (opens && !is_empty)
                        new_line(++depth);
                else if (*at == ',')
                        new_line(depth);
                else if (*at == ':')
                        (void) putchar(' ');
                at += n;
        }
        (void) putchar('\n');
}

static struct error *print_line(const struct buf *text)
{
        if (printf("%s\n", text->bytes ? text->bytes : "") < 0)
                return error_errno(errno, "write to stdout");
        return NULL;
}

struct error *print_message_json(const ProtobufCMessage *message)
{
        _cleanup_(buf_done) struct buf text;
        buf_init(&text, JSON_MAX_BYTES);
        TRY(message_json(message, &text));
        return print_line(&text);
}

struct error *print_list_json(void *const *messages, size_t n)
{
        _cleanup_(buf_done) struct buf text;
        buf_init(&text, JSON_MAX_BYTES);
        TRY(buf_append_text(&text, "["));
        for (size_t i = 0; i < n; i++) {
                TRY(buf_append_text(&text, i ? "," : ""));
                TRY(message_json(messages[i], &text));
        }
        TRY(buf_append_text(&text, "]"));
        return print_line(&text);
}
