#include "images/reference.h"
#include "tests/unit/unit.h"

#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void names_become_whole(void **state)
{
        (void) state;
        static const char *const pairs[][2] = {
                { "busybox", "docker.io/library/busybox:latest" },
                { "busybox:1.36", "docker.io/library/busybox:1.36" },
                { "a/b", "docker.io/a/b:latest" },
                { "index.docker.io/busybox", "docker.io/library/busybox:latest" },
                { "docker.io/a/b:x", "docker.io/a/b:x" },
                { "localhost/a", "localhost/a:latest" },
                { "localhost:5000/a/b/c:V1.0-x_y", "localhost:5000/a/b/c:V1.0-x_y" },
                { "[::1]:5000/a:b", "[::1]:5000/a:b" },
                { "127.0.0.1:5000/a", "127.0.0.1:5000/a:latest" },
                { "MyHost/a", "MyHost/a:latest" },
                { "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10" },
                { "a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest" },
                { "busybox@sha256:" HEX, "docker.io/library/busybox@sha256:" HEX },
                { "q.io/a:tag@sha256:" HEX, "q.io/a@sha256:" HEX },
        };
        for (size_t i = 0; i < LENGTH(pairs); i++) {
                _cleanup_(reference_freep) struct reference *reference = NULL;
                assert_ok(reference_parse(pairs[i][0], &reference));
                _cleanup_(freep) char *name = reference_name(reference);
                assert_string_equal(name, pairs[i][1]);
        }
}

static void what_is_no_name_is_refused(void **state)
{
        (void) state;
        static const char *const bad[] = {
                "",
                ":",
                "a:",
                "/a",
                "a//b",
                "a/",
                "Upper",
                "a b",
                "a_",
                "a___b",
                "a..b",
                "-a",
                "a:-x",
                "a@",
                "a@md5:x",
                "a@sha256:12",
                "host:port/a",
                "host:123456/a",
                "[::1/a",
                "a.b-/c",
                "..",
                "../a",
                "a/../b",
                HEX,
                "x.io/" HEX HEX HEX HEX HEX HEX, /* NOLINT(bugprone-suspicious-missing-comma) */
                "a:b:c",
                "\xff",
                "a@sha256:" HEX "0",
        };
        for (size_t i = 0; i < LENGTH(bad); i++) {
                struct reference *reference = NULL;
                struct error *e = reference_parse(bad[i], &reference);
                if (!e)
                        fail_msg("\"%s\" was taken", bad[i]);
                assert_int_equal(error_code_of(e), ERROR_INVALID_ARGUMENT);
                error_free(e);
        }
}

static void ids_are_told_from_names(void **state)
{
        (void) state;
        const char *hex = NULL;
        assert_true(reference_is_id("sha256:" HEX, &hex));
        assert_string_equal(hex, HEX);
        assert_true(reference_is_id("ba7816bf8f01", &hex));
        assert_false(reference_is_id("ba7816bf8f0", &hex));
        assert_false(reference_is_id("busybox", &hex));
        assert_false(reference_is_id(HEX "0", &hex));
}

UNIT_MAIN(TEST(names_become_whole), TEST(what_is_no_name_is_refused), TEST(ids_are_told_from_names))
