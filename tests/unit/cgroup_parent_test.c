/* Where a pod's cgroups lie, by its cgroup_parent: names alone, on any host. */
#include "runtime/cgroup/cgroup_internal.h"
#include "tests/unit/unit.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void resolves_to(bool by_systemd, const char *asked, const char *parent)
{
        const struct cgroups c = { .by_systemd = by_systemd };
        _cleanup_(freep) char *out = NULL;
        assert_ok(cgroup_parent_resolve(&c, asked, &out));
        assert_string_equal(out, parent);
}

static void is_refused(bool by_systemd, const char *asked, const char *text)
{
        const struct cgroups c = { .by_systemd = by_systemd };
        _cleanup_(freep) char *out = NULL;
        assert_fails(ERROR_INVALID_ARGUMENT, text, cgroup_parent_resolve(&c, asked, &out));
        assert_null(out);
}

static void systemd_wants_a_slice(void **state)
{
        (void) state;
        resolves_to(true, "", "system.slice");
        resolves_to(true, "-.slice", "-.slice");
        resolves_to(true, "kubepods-besteffort-pod1_2.slice", "kubepods-besteffort-pod1_2.slice");
        resolves_to(true, "/kubepods.slice/kubepods-besteffort.slice/", "kubepods-besteffort.slice");
        resolves_to(true, "a:b\\x2d.slice", "a:b\\x2d.slice");
        static const char *const no_slices[] = {
                "/kubepods/burstable/podX", "kubepods", "a.scope", "/", ".slice", "a.slicex"
        };
        for (size_t i = 0; i < LENGTH(no_slices); i++)
                is_refused(true, no_slices[i], "is no slice");
        static const char *const bad[] = { "a--b.slice", "-a.slice",       "a-.slice",  "a b.slice",
                                           "a@b.slice",  "\xc3\xa9.slice", "a\n.slice", "--.slice" };
        for (size_t i = 0; i < LENGTH(bad); i++)
                is_refused(true, bad[i], "not a name");
        is_refused(true, "/a.slice//b.slice", "not a clean");
        is_refused(true, "/../a.slice", "not a clean");
        is_refused(true, "a.slice/b.slice", "not a clean");
        char longest[257] = "";
        memset(longest, 'x', sizeof(longest) - 1);
        memcpy(longest + 250, ".slice", 6);
        is_refused(true, longest, "not a name");
        resolves_to(true, longest + 1, longest + 1);
}

static void cgroupfs_wants_a_path(void **state)
{
        (void) state;
        resolves_to(false, "", "/skiff");
        resolves_to(false, "/", "/");
        resolves_to(false, "/kubepods/podX/", "/kubepods/podX");
        resolves_to(false, "pods", "/pods");
        resolves_to(false, "/x.slice/y", "/x.slice/y");
        is_refused(false, "kubepods-pod1.slice", "systemd cgroup driver");
        is_refused(false, "/kubepods.slice/kubepods-pod1.slice", "systemd cgroup driver");
        static const char *const bad[] = { "/a/../b", "/a/./b", "/a//b", "a.b", "/a\nb" };
        for (size_t i = 0; i < LENGTH(bad); i++)
                is_refused(false, bad[i], "not a clean");
}

static void lies_at(const char *parent, const char *home)
{
        _cleanup_(freep) char *found = cgroup_home(parent, ID);
        assert_string_equal(found, home);
}

static void a_slice_has_a_scope_and_a_path_does_not(void **state)
{
        (void) state;
        lies_at("/", "");
        lies_at("/kubepods/podX", "/kubepods/podX");
        lies_at("-.slice", "/skiff-" ID ".scope");
        lies_at("a.slice", "/a.slice/skiff-" ID ".scope");
        lies_at("a-bc-d_e.slice", "/a.slice/a-bc.slice/a-bc-d_e.slice/skiff-" ID ".scope");
        assert_true(cgroup_parent_is_slice("a.slice"));
        assert_false(cgroup_parent_is_slice("/a"));
}

static void a_scope_is_known_by_its_name(void **state)
{
        (void) state;
        _cleanup_(scope_names_done) struct scope_names names = { .unit = NULL };
        assert_true(scope_of("a.slice/a-b.slice/skiff-" ID ".scope/" ID, &names));
        assert_true(names.is_leaf);
        assert_string_equal(names.unit, "skiff-" ID ".scope");
        assert_string_equal(names.path, "a.slice/a-b.slice/skiff-" ID ".scope");
        assert_string_equal(names.slices, "a.slice/a-b.slice");
        scope_names_done(&names);
        assert_true(scope_of("skiff-" ID ".scope/container", &names));
        assert_false(names.is_leaf);
        assert_string_equal(names.slices, "");
        static const char *const none[] = { "skiff-" ID ".scope", "a.slice/skiff-1.scope/c",
                                            "kubepods/podX/" ID,  "skiff-" ID ".scope.d/c",
                                            "x-" ID ".scope/c",   "" };
        for (size_t i = 0; i < LENGTH(none); i++)
                assert_false(scope_of(none[i], NULL));
        assert_true(cgroup_is_adopted("/a.slice/skiff-" ID ".scope/" ID));
        assert_false(cgroup_is_adopted("/skiff/" ID));
}

UNIT_MAIN(TEST(systemd_wants_a_slice), TEST(cgroupfs_wants_a_path),
          TEST(a_slice_has_a_scope_and_a_path_does_not), TEST(a_scope_is_known_by_its_name))
