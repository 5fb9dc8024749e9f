#include "base/digest.h"
#include "tests/unit/unit.h"

#define OF_ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* FIPS 180-2, B.1 */

static void text_and_value_are_one(void **state)
{
        (void) state;
        struct digest parsed, computed;
        char text[DIGEST_TEXT_SIZE];
        digest_of("abc", 3, &computed);
        digest_format(&computed, text);
        assert_string_equal(text, OF_ABC);
        assert_ok(digest_parse(OF_ABC, &parsed));
        assert_true(digest_equal(&parsed, &computed));
        parsed.bytes[31] ^= 1;
        assert_false(digest_equal(&parsed, &computed));
}

static void a_stream_gives_the_same(void **state)
{
        (void) state;
        struct digest streamed, whole;
        _cleanup_(digest_stream_freep) struct digest_stream *stream = digest_stream_new();
        digest_stream_add(stream, "a", 1);
        digest_stream_add(stream, "", 0);
        digest_stream_add(stream, "bc", 2);
        digest_stream_end(stream, &streamed);
        digest_of("abc", 3, &whole);
        assert_true(digest_equal(&streamed, &whole));
}

static void other_forms_are_refused(void **state)
{
        (void) state;
        static const char *const bad[] = {
                "",
                "sha256:",
                "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015add",
                "sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha256:../816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        };
        struct digest out;
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "digest", digest_parse(bad[i], &out));
}

UNIT_MAIN(TEST(text_and_value_are_one), TEST(a_stream_gives_the_same), TEST(other_forms_are_refused))
