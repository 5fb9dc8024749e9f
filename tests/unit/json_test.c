#include "base/json.h"
#include "tests/unit/unit.h"

static struct error *parse_text(const char *text, struct json **out)
{
        return json_parse(text, strlen(text), out);
}

static void values_are_found_by_key_and_place(void **state)
{
        (void) state;
        _cleanup_(json_freep) struct json *json = NULL;
        assert_ok(parse_text("{\"a\": [1, \"two\", true, null], \"b\": {\"c\": -7}, \"e\": \"\\u00e9\"}",
                             &json));
        assert_int_equal(json_length(json), 3);
        const struct json *a = json_get(json, "a");
        assert_int_equal(json_length(a), 4);
        assert_int_equal(json_integer(json_at(a, 0), 0), 1);
        assert_string_equal(json_text(json_at(a, 1), ""), "two");
        assert_true(json_boolean(json_at(a, 2), false));
        assert_int_equal(json_type_of(json_at(a, 3)), JSON_NULL);
        assert_null(json_at(a, 4));
        assert_int_equal(json_integer(json_get(json_get(json, "b"), "c"), 0), -7);
        assert_string_equal(json_text(json_get(json, "e"), ""), "\xc3\xa9");
        assert_string_equal(json_key_at(json, 1), "b");
        assert_ptr_equal(json_value_at(json, 0), a);
        assert_null(json_get(NULL, "a"));
        assert_null(json_get(a, "a"));
        assert_int_equal(json_integer(json_at(a, 1), 5), 5);
}

static void the_last_of_equal_keys_wins(void **state)
{
        (void) state;
        _cleanup_(json_freep) struct json *json = NULL;
        assert_ok(parse_text("{\"a\":1,\"b\":{},\"a\":[2],\"c\":0,\"a\":3}", &json));
        assert_int_equal(json_length(json), 3);
        assert_int_equal(json_integer(json_get(json, "a"), 0), 3);
        struct buf text;
        buf_init(&text, 1000);
        assert_ok(json_write(json, &text));
        assert_string_equal(text.bytes, "{\"b\":{},\"c\":0,\"a\":3}");
        buf_done(&text);
}

static void what_is_not_one_value_is_refused_with_its_line(void **state)
{
        (void) state;
        struct json *json = NULL;
        assert_fails(ERROR_INVALID_ARGUMENT, "line 3", parse_text("{\n\"a\":1,\n\"b\":}", &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1", parse_text("", &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1", parse_text("  ", &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1", parse_text("{} {}", &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1", parse_text("{\"a\":", &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1", parse_text("[1,]", &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1", parse_text("{/* no */}", &json));
        assert_null(json);
}

static void strings_are_utf8_without_nul(void **state)
{
        (void) state;
        struct json *json = NULL;
        static const char *const bad[] = { "\"\xff\"",         "\"\xc0\xaf\"",
                                           "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
                                           "\"\xe0\x80\x80\"", "\"\xc3\"",
                                           "{\"\xff\":1}" };
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "line 1", parse_text(bad[i], &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "NUL", parse_text("\"a\\u0000b\"", &json));
        assert_fails(ERROR_INVALID_ARGUMENT, "NUL", parse_text("{\"a\\u0000b\":1}", &json));
}

static void depth_is_bounded(void **state)
{
        (void) state;
        char text[200];
        struct json *json = NULL;
        memset(text, '[', 65);
        assert_fails(ERROR_INVALID_ARGUMENT, "64 levels", json_parse(text, 65, &json));
        memset(text + 64, ']', 64);
        assert_ok(json_parse(text, 128, &json));
        json_free(json);
}

static void many_keys_cost_no_square(void **state)
{
        (void) state;
        struct buf text;
        struct json *json = NULL;
        buf_init(&text, 10 << 20);
        for (int i = 0; i < 200000; i++)
                assert_ok(buf_append_format(&text, "%s\"k%d\":1", i ? "," : "{", i % 100000));
        assert_ok(buf_append_text(&text, "}"));
        assert_ok(json_parse(text.bytes, text.len_bytes, &json));
        assert_int_equal(json_length(json), 100000);
        json_free(json);
        buf_done(&text);
}

static void needs_say_what_is_wrong(void **state)
{
        (void) state;
        _cleanup_(json_freep) struct json *json = NULL;
        const char *text = NULL;
        int64_t n = 0;
        assert_ok(parse_text("{\"s\":\"x\",\"n\":12,\"big\":9223372036854775808,\"f\":1.5}", &json));
        assert_ok(json_need_text(json, "s", &text));
        assert_string_equal(text, "x");
        assert_ok(json_need_integer(json, "n", &n));
        assert_int_equal(n, 12);
        assert_fails(ERROR_INVALID_ARGUMENT, "\"size\" is missing", json_need_integer(json, "size", &n));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"s\" is not a number", json_need_integer(json, "s", &n));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"big\" is not", json_need_integer(json, "big", &n));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"f\" is not", json_need_integer(json, "f", &n));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"n\" is not a string", json_need_text(json, "n", &text));
}

static void written_text_reads_back(void **state)
{
        (void) state;
        static const char odd[] = "a\"\\\n\t\x01\x7f\xc3\xa9";
        _cleanup_(json_freep) struct json *json = NULL;
        struct buf text;
        buf_init(&text, 1000);
        assert_ok(json_put_text(&text, odd));
        assert_ok(json_parse(text.bytes, text.len_bytes, &json));
        assert_string_equal(json_text(json, ""), odd);
        buf_consume(&text, SIZE_MAX);
        assert_ok(json_put_text(&text, "x\xffy"));
        assert_string_equal(text.bytes, "\"x\\ufffdy\"");
        buf_consume(&text, SIZE_MAX);
        assert_ok(json_put_text(&text, NULL));
        assert_string_equal(text.bytes, "null");
        buf_done(&text);
}

static struct error *write_all_kinds(const struct json *json)
{
        struct buf text;
        buf_init(&text, 1000);
        struct error *e = json_write(json, &text);
        buf_done(&text);
        return e;
}

static void every_failed_write_is_told(void **state)
{
        (void) state;
        _cleanup_(json_freep) struct json *json = NULL;
        assert_ok(parse_text("{\"a\":[1,\"\\n\",true,null],\"b\":2}", &json));
        WALK_FAILURES(write_all_kinds(json));
}

UNIT_MAIN(TEST(values_are_found_by_key_and_place), TEST(the_last_of_equal_keys_wins),
          TEST(what_is_not_one_value_is_refused_with_its_line), TEST(strings_are_utf8_without_nul),
          TEST(depth_is_bounded), TEST(many_keys_cost_no_square), TEST(needs_say_what_is_wrong),
          TEST(written_text_reads_back), TEST(every_failed_write_is_told))
