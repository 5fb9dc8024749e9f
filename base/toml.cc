/* The system's headers come first: base/cleanup.h includes them too, and they must not be inside extern "C". */
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <sstream>
#include <string>
#include <toml.hpp>
#include <unistd.h>
extern "C" {
#include "base/toml.h"
#include "base/utf8.h"
}
#include <algorithm>
#include <vector>

struct toml_value {
        enum toml_type type = TOML_NONE;
        unsigned line = 0;
        bool boolean = false;
        int64_t integer = 0;
        std::string text;
        std::vector<struct toml_value> children;
        std::vector<std::string> keys; /* of a table's children */
};

namespace
{
/* A string that no protobuf could carry. */
struct bad_text {
        unsigned line;
};

unsigned line_of(const toml::value &from)
{
        return (unsigned) from.location().line();
}

struct toml_value convert(const toml::value &from);

void convert_table(const toml::value &from, struct toml_value &to)
{
        std::vector<std::pair<std::string, struct toml_value>> pairs;
        for (const auto &entry : from.as_table())
                pairs.emplace_back(entry.first, convert(entry.second));
        std::sort(pairs.begin(), pairs.end(), [](const auto &a, const auto &b) {
                return a.second.line != b.second.line ? a.second.line < b.second.line : a.first < b.first;
        });
        for (auto &pair : pairs) {
                if (!utf8_is_text(pair.first.data(), pair.first.size()))
                        throw bad_text{ pair.second.line };
                to.keys.push_back(std::move(pair.first));
                to.children.push_back(std::move(pair.second));
        }
}

std::string text_of(const toml::value &from)
{
        std::ostringstream out;
        out << from;
        return out.str();
}

struct toml_value convert(const toml::value &from)
{
        struct toml_value to;
        to.line = line_of(from);
        switch (from.type()) {
        case toml::value_t::boolean:
                to.type = TOML_BOOLEAN;
                to.boolean = from.as_boolean();
                break;
        case toml::value_t::integer:
                to.type = TOML_INTEGER;
                to.integer = from.as_integer();
                break;
        case toml::value_t::floating:
                to.type = TOML_FLOAT;
                break;
        case toml::value_t::string:
                to.type = TOML_STRING;
                to.text = from.as_string().str;
                break;
        case toml::value_t::array:
                to.type = TOML_ARRAY;
                for (const auto &element : from.as_array())
                        to.children.push_back(convert(element));
                break;
        case toml::value_t::table:
                to.type = TOML_TABLE;
                convert_table(from, to);
                break;
        default:
                to.type = TOML_DATE;
                to.text = text_of(from);
                break;
        }
        if (!utf8_is_text(to.text.data(), to.text.size()))
                throw bad_text{ to.line };
        return to;
}

/* Nesting as brackets and dots show it, without heed to strings: what looks too deep is refused, and no honest file
 * looks so. */
struct error *check_nesting(const char *bytes, size_t len_bytes)
{
        unsigned line = 1, depth = 0, dots = 0;
        for (size_t i = 0; i < len_bytes; i++) {
                const char c = bytes[i];
                depth += c == '[' || c == '{';
                depth -= depth && (c == ']' || c == '}');
                dots += c == '.';
                if (depth > TOML_NESTING_MAX || dots > TOML_DOTS_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT, "line %u: nested too deep", line);
                if (c == '\n') {
                        line++;
                        dots = 0;
                }
        }
        return NULL;
}

/* TOML is UTF-8; checked here, since toml11 3.7 reads past its input when a string in quotes is not (found by fuzzing). A
 * character never spans a line. */
struct error *check_text(const char *bytes, size_t len_bytes)
{
        unsigned line = 1;
        for (const char *at = bytes, *end = bytes + len_bytes; at < end; line++) {
                const void *newline = memchr(at, '\n', (size_t) (end - at));
                const char *next = newline ? static_cast<const char *>(newline) + 1 : end;
                if (!utf8_is_text(at, (size_t) (next - at)))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "line %u: text that is not UTF-8, or has a NUL in it", line);
                at = next;
        }
        return NULL;
}

/* toml11's messages are drawings of several lines; the first has the reason. */
std::string first_line(const char *what)
{
        std::string text(what, strcspn(what, "\n"));
        const std::string prefix = "[error] ";
        if (text.compare(0, prefix.size(), prefix) == 0)
                text.erase(0, prefix.size());
        const std::string parse = "toml::parse_";
        const size_t colon = text.find(": ");
        if (text.compare(0, parse.size(), parse) == 0 && colon != std::string::npos)
                text.erase(0, colon + 2);
        return text;
}

struct error *parse(const char *bytes, size_t len_bytes, struct toml_value **out)
{
        try {
                std::istringstream in(std::string(bytes, len_bytes));
                const toml::value root = toml::parse(in, "");
                *out = new struct toml_value(convert(root));
                (*out)->line = 1;
                return NULL;
        } catch (const bad_text &bad) {
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "line %u: text that is not UTF-8, or has a NUL in it", bad.line);
        } catch (const toml::exception &e) {
                return error_new(ERROR_INVALID_ARGUMENT, "line %u: %s", (unsigned) e.location().line(),
                                 first_line(e.what()).c_str());
        } catch (const std::bad_alloc &) {
                return error_errno(ENOMEM, "parse TOML");
        } catch (const std::exception &e) {
                return error_new(ERROR_INVALID_ARGUMENT, "%s", first_line(e.what()).c_str());
        }
}
} // namespace

extern "C" {
struct error *toml_parse(const char *bytes, size_t len_bytes, struct toml_value **out)
{
        if (len_bytes > TOML_MAX_BYTES)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %zu bytes", TOML_MAX_BYTES);
        struct error *e = check_text(bytes, len_bytes);
        if (!e)
                e = check_nesting(bytes, len_bytes);
        return e ? e : parse(bytes, len_bytes, out);
}

void toml_free(struct toml_value *toml)
{
        delete toml;
}

enum toml_type toml_type_of(const struct toml_value *toml)
{
        return toml ? toml->type : TOML_NONE;
}

const char *toml_type_name(enum toml_type type)
{
        static const char *const names[] = { "nothing",  "true or false", "a whole number", "a number",
                                             "a string", "a date",        "a list",         "a table" };
        return names[type];
}

unsigned toml_line(const struct toml_value *toml)
{
        return toml ? toml->line : 0;
}

const struct toml_value *toml_get(const struct toml_value *table, const char *key)
{
        for (size_t i = 0; toml_type_of(table) == TOML_TABLE && i < table->keys.size(); i++)
                if (table->keys[i] == key)
                        return &table->children[i];
        return NULL;
}

const struct toml_value *toml_at(const struct toml_value *toml, size_t i)
{
        return toml && i < toml->children.size() ? &toml->children[i] : NULL;
}

const char *toml_key_at(const struct toml_value *table, size_t i)
{
        return table && i < table->keys.size() ? table->keys[i].c_str() : NULL;
}

size_t toml_length(const struct toml_value *toml)
{
        return toml ? toml->children.size() : 0;
}

const char *toml_text(const struct toml_value *toml, const char *otherwise)
{
        const enum toml_type type = toml_type_of(toml);
        return type == TOML_STRING || type == TOML_DATE ? toml->text.c_str() : otherwise;
}

int64_t toml_integer(const struct toml_value *toml, int64_t otherwise)
{
        return toml_type_of(toml) == TOML_INTEGER ? toml->integer : otherwise;
}

bool toml_boolean(const struct toml_value *toml, bool otherwise)
{
        return toml_type_of(toml) == TOML_BOOLEAN ? toml->boolean : otherwise;
}
}
