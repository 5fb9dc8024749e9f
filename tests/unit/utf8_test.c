#include "base/utf8.h"
#include "tests/unit/unit.h"
#include <string.h>

#define IS_TEXT(s) utf8_is_text(s, sizeof(s) - 1)

static void valid_text_passes(void **state)
{
        (void) state;
        assert_true(IS_TEXT(""));
        assert_true(IS_TEXT("plain text of more than one word"));
        assert_true(IS_TEXT("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x9a\xa3 \xf4\x8f\xbf\xbf"));
}

static void what_is_not_utf8_is_found_wherever_it_stands(void **state)
{
        (void) state;
        static const char *const bad[] = {
                "\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                "\xff", "\xc3",     "\xe2\x82",     "\xf0\x9f\x9a", "\xf8\x88\x80\x80\x80"
        };
        for (size_t i = 0; i < LENGTH(bad); i++)
                for (size_t before = 0; before < 20; before++)
                        for (size_t after = 0; after < 20; after += 19) {
                                char text[64] = { 0 };
                                memset(text, 'a', before);
                                memcpy(text + before, bad[i], strlen(bad[i]));
                                memset(text + before + strlen(bad[i]), 'a', after);
                                assert_false(utf8_is_text(text, before + strlen(bad[i]) + after));
                        }
}

static void a_nul_is_no_text(void **state)
{
        (void) state;
        for (size_t at = 0; at < 24; at++) {
                char text[24];
                memset(text, 'a', sizeof(text));
                text[at] = '\0';
                assert_false(utf8_is_text(text, sizeof(text)));
        }
}

static void assert_repaired(const char *from, size_t limit_bytes, const char *to)
{
        _cleanup_(freep) char *repaired = utf8_repair(from, limit_bytes);
        assert_string_equal(repaired, to);
}

static void repair_cuts_on_a_character_and_replaces_the_rest(void **state)
{
        (void) state;
        assert_repaired("fine", 10, "fine");
        assert_repaired("exactly10!", 10, "exactly10!");
        assert_repaired("more than 10", 10, "more th...");
        assert_repaired("123456\xe2\x82\xac\xe2\x82\xac", 10, "123456...");
        assert_repaired("a\xff"
                        "b\xc3",
                        10, "a?b?");
        assert_repaired("", 4, "");
}

UNIT_MAIN(TEST(valid_text_passes), TEST(what_is_not_utf8_is_found_wherever_it_stands), TEST(a_nul_is_no_text),
          TEST(repair_cuts_on_a_character_and_replaces_the_rest))
