#include "base/toml.h"
#include "tests/unit/unit.h"
#include <string.h>

static struct error *parse(const char *text)
{
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        return toml_parse(text, strlen(text), &root);
}

static void values_have_their_type_and_line(void **state)
{
        (void) state;
        const char *text = "# a comment\n"
                           "name = \"skiff\"\n"
                           "size = 16_384\n"
                           "rate = 1.5\n"
                           "on = true\n"
                           "when = 2026-11-24T08:00:00Z\n"
                           "list = [\n  \"a\",\n  \"b\",\n]\n"
                           "[host.\"https://x.y\"]\n"
                           "ca = 'C:\\x'\n"
                           "dotted.key = 1\n";
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        assert_ok(toml_parse(text, strlen(text), &root));
        assert_int_equal(toml_type_of(root), TOML_TABLE);
        assert_string_equal(toml_text(toml_get(root, "name"), NULL), "skiff");
        assert_int_equal(toml_line(toml_get(root, "name")), 2);
        assert_int_equal(toml_integer(toml_get(root, "size"), 0), 16384);
        assert_int_equal(toml_type_of(toml_get(root, "rate")), TOML_FLOAT);
        assert_true(toml_boolean(toml_get(root, "on"), false));
        assert_int_equal(toml_type_of(toml_get(root, "when")), TOML_DATE);
        assert_non_null(strstr(toml_text(toml_get(root, "when"), ""), "2026-11-24"));
        assert_int_equal(toml_length(toml_get(root, "list")), 2);
        assert_string_equal(toml_text(toml_at(toml_get(root, "list"), 1), NULL), "b");
        assert_int_equal(toml_line(toml_at(toml_get(root, "list"), 1)), 9);
        const struct toml_value *host = toml_get(toml_get(root, "host"), "https://x.y");
        assert_string_equal(toml_text(toml_get(host, "ca"), NULL), "C:\\x");
        assert_int_equal(toml_integer(toml_get(toml_get(host, "dotted"), "key"), 0), 1);
        assert_string_equal(toml_key_at(root, 0), "name");
        assert_string_equal(toml_key_at(root, 6), "host");
        assert_null(toml_key_at(root, 7));
}

static void tables_keep_the_order_of_the_file(void **state)
{
        (void) state;
        const char *text = "[host.z]\n[host.m]\n[host.a]\n";
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        assert_ok(toml_parse(text, strlen(text), &root));
        const struct toml_value *hosts = toml_get(root, "host");
        assert_string_equal(toml_key_at(hosts, 0), "z");
        assert_string_equal(toml_key_at(hosts, 1), "m");
        assert_string_equal(toml_key_at(hosts, 2), "a");
        assert_int_equal(toml_line(toml_at(hosts, 2)), 3);
}

static void what_is_absent_or_of_another_type_has_the_default(void **state)
{
        (void) state;
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        assert_ok(toml_parse("a = 1\n", 6, &root));
        assert_string_equal(toml_text(toml_get(root, "a"), "x"), "x");
        assert_int_equal(toml_integer(toml_get(root, "b"), 7), 7);
        assert_null(toml_get(NULL, "a"));
        assert_null(toml_at(toml_get(root, "a"), 0));
        assert_int_equal(toml_type_of(NULL), TOML_NONE);
        assert_string_equal(toml_type_name(toml_type_of(toml_get(root, "a"))), "a whole number");
}

static void an_empty_document_is_an_empty_table(void **state)
{
        (void) state;
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        assert_ok(toml_parse("", 0, &root));
        assert_int_equal(toml_type_of(root), TOML_TABLE);
        assert_int_equal(toml_length(root), 0);
}

static void errors_say_the_line(void **state)
{
        (void) state;
        assert_fails(ERROR_INVALID_ARGUMENT, "line 2: ", parse("a = 1\nb = \n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 3: ", parse("a = 1\n\na = 2\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1: ", parse("no value"));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 2: ", parse("ok = 1\nx = \"open\n"));
}

static void text_is_utf8_everywhere(void **state)
{
        (void) state;
        assert_fails(ERROR_INVALID_ARGUMENT, "line 2: text that is not UTF-8",
                     parse("a = 1\nb = 'u\xe0\xce'\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1: text that is not UTF-8", parse("# \xff\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1: ", parse("a = \"x\\u0000y\"\n"));
}

static void depth_and_size_are_bounded(void **state)
{
        (void) state;
        char deep[5000];
        memset(deep, '[', sizeof(deep));
        memcpy(deep, "a = ", 4);
        deep[sizeof(deep) - 1] = '\0';
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1: nested too deep", parse(deep));
        for (size_t i = 0; i + 2 < sizeof(deep); i += 2)
                memcpy(deep + i, "a.", 2);
        assert_fails(ERROR_INVALID_ARGUMENT, "nested too deep", parse(deep));
        _cleanup_(freep) char *long_text = malloc(TOML_MAX_BYTES + 2);
        assert_non_null(long_text);
        memset(long_text, '\n', TOML_MAX_BYTES + 1);
        long_text[TOML_MAX_BYTES + 1] = '\0';
        assert_fails(ERROR_INVALID_ARGUMENT, "more than", parse(long_text));
}

UNIT_MAIN(TEST(values_have_their_type_and_line), TEST(tables_keep_the_order_of_the_file),
          TEST(what_is_absent_or_of_another_type_has_the_default), TEST(an_empty_document_is_an_empty_table),
          TEST(errors_say_the_line), TEST(text_is_utf8_everywhere), TEST(depth_and_size_are_bounded))
