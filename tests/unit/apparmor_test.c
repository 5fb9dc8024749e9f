/* Which profiles count as loaded, and how ours comes to be: over a /sys and a parser of the test's own. */
#include "base/cleanup.h"
#include "runtime/apparmor.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <sys/stat.h>

static void put_file(const char *dir, const char *name, const char *text, mode_t mode)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* profiles NULL: the kernel has the module, but nobody mounted securityfs. */
static void kernel_make(const char *dir, const char *enabled, const char *profiles)
{
        static const char *const dirs[] = { "module", "module/apparmor", "module/apparmor/parameters",
                                            "kernel", "kernel/security", "kernel/security/apparmor" };
        for (size_t i = 0; i < LENGTH(dirs); i++) {
                _cleanup_(freep) char *path = format_string("%s/%s", dir, dirs[i]);
                assert_int_equal(mkdir(path, 0755), 0);
        }
        put_file(dir, "module/apparmor/parameters/enabled", enabled, 0644);
        if (profiles)
                put_file(dir, "kernel/security/apparmor/profiles", profiles, 0644);
}

static struct apparmor *opened(const char *dir, const char *parser, struct error **no_default)
{
        _cleanup_(freep) char *path = parser ? format_string("%s/%s", dir, parser) : NULL;
        const struct apparmor_config config = { .sys_dir = dir, .parser = path };
        struct apparmor *a = NULL;
        apparmor_open(&config, &a, no_default);
        return a;
}

static void a_kernel_without_has_no_profile_and_needs_none(void **dir)
{
        struct error *no_default;
        _cleanup_(apparmor_freep) struct apparmor *a = opened(*dir, NULL, &no_default);
        assert_null(no_default);
        assert_false(apparmor_is_on(a) || apparmor_had_default(a));
        assert_fails(ERROR_FAILED_PRECONDITION, "AppArmor profile \"x\": this kernel has no AppArmor",
                     apparmor_check(a, "x"));
}

static void one_that_is_off_counts_as_none(void **dir)
{
        struct error *no_default;
        kernel_make(*dir, "N\n", "x (enforce)\n");
        _cleanup_(apparmor_freep) struct apparmor *a = opened(*dir, NULL, &no_default);
        assert_null(no_default);
        assert_false(apparmor_is_on(a));
        assert_fails(ERROR_FAILED_PRECONDITION, "or it is off", apparmor_check(a, "x"));
}

static void a_profile_is_there_by_its_whole_name(void **dir)
{
        static const char *const there[] = { "skiff-default", "a (b)", "/usr/bin/man", "last", "two words" };
        static const char *const not [] = { "skiff", "a",          "(b)",     "/usr/bin/ma",
                                            "las",   "last (kill", "enforce", "two" };
        struct error *no_default;
        kernel_make(
                *dir, "Y\n",
                "skiff-default (enforce)\na (b) (complain)\n/usr/bin/man (enforce)\ntwo words (unconfined)\n"
                "last (kill)");
        _cleanup_(apparmor_freep) struct apparmor *a = opened(*dir, "no-parser", &no_default);
        assert_null(no_default);
        assert_true(apparmor_is_on(a) && apparmor_had_default(a));
        for (size_t i = 0; i < LENGTH(there); i++)
                assert_ok(apparmor_check(a, there[i]));
        for (size_t i = 0; i < LENGTH(not ); i++)
                assert_fails(ERROR_FAILED_PRECONDITION, "is not loaded on this node",
                             apparmor_check(a, not [i]));
}

static void what_is_no_name_is_refused(void **dir)
{
        char longest[APPARMOR_NAME_MAX + 2];
        const char *const bad[] = { "", " x", "x\ny", "x\x7f", longest };
        struct error *no_default;
        memset(longest, 'x', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        kernel_make(*dir, "Y\n", "skiff-default (enforce)\nx (enforce)\ny (enforce)\n");
        _cleanup_(apparmor_freep) struct apparmor *a = opened(*dir, NULL, &no_default);
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "is no name of an AppArmor profile",
                             apparmor_check(a, bad[i]));
        longest[APPARMOR_NAME_MAX] = '\0';
        assert_fails(ERROR_FAILED_PRECONDITION, "is not loaded", apparmor_check(a, longest));
}

/* A parser that "loads" what it is given by its name, and keeps the text. */
static void parser_make(const char *dir, const char *name, const char *last_line)
{
        _cleanup_(freep) char *script = format_string(
                "#!/bin/sh\ncat > %s/text\n"
                "[ \"$1\" = --add ] && sed -n 's/^profile \\([^ ]*\\) .*/\\1 (enforce)/p' %s/text "
                ">> %s/kernel/security/apparmor/profiles\n%s\n",
                dir, dir, dir, last_line);
        put_file(dir, name, script, 0755);
}

static void ours_is_loaded_once_where_it_is_not_there(void **dir)
{
        struct error *no_default;
        _cleanup_(freep) char *text = format_string("%s/text", (char *) *dir);
        kernel_make(*dir, "Y\n", "other (enforce)\n");
        parser_make(*dir, "parser", "exit 0");
        _cleanup_(apparmor_freep) struct apparmor *a = opened(*dir, "parser", &no_default);
        assert_ok(no_default);
        assert_true(apparmor_had_default(a));
        assert_ok(apparmor_check(a, APPARMOR_DEFAULT));
        assert_int_equal(unlink(text), 0);
        _cleanup_(apparmor_freep) struct apparmor *again = opened(*dir, "parser", &no_default);
        assert_true(apparmor_had_default(again));
        assert_int_equal(access(text, F_OK), -1); /* the second has not asked for it */
}

static void what_keeps_ours_from_being_loaded_is_said(void **dir)
{
        struct error *no_default;
        kernel_make(*dir, "Y\n", "");
        put_file(*dir, "deaf", "#!/bin/sh\ncat > /dev/null\n", 0755);
        put_file(*dir, "bad", "#!/bin/sh\ncat > /dev/null; echo 'line 7: no such thing' >&2; exit 3\n", 0755);
        _cleanup_(apparmor_freep) struct apparmor *bad = opened(*dir, "bad", &no_default);
        assert_fails(ERROR_FAILED_PRECONDITION, "bad ended with 3: line 7: no such thing", no_default);
        assert_true(apparmor_is_on(bad) && !apparmor_had_default(bad));
        assert_fails(ERROR_FAILED_PRECONDITION, "apparmor_parser -r /etc/apparmor.d/skiff-default",
                     apparmor_check(bad, APPARMOR_DEFAULT));
        _cleanup_(apparmor_freep) struct apparmor *deaf = opened(*dir, "deaf", &no_default);
        assert_fails(ERROR_FAILED_PRECONDITION, "is not loaded", no_default);
        assert_false(apparmor_had_default(deaf));
        _cleanup_(apparmor_freep) struct apparmor *none = opened(*dir, "none", &no_default);
        assert_fails(ERROR_INTERNAL, "none", no_default);
        assert_false(apparmor_had_default(none));
}

static void without_securityfs_no_profile_can_be_seen(void **dir)
{
        struct error *no_default;
        kernel_make(*dir, "Y\n", NULL);
        _cleanup_(apparmor_freep) struct apparmor *a = opened(*dir, NULL, &no_default);
        assert_fails(ERROR_FAILED_PRECONDITION, "AppArmor profiles: open", no_default);
        assert_fails(ERROR_FAILED_PRECONDITION, "AppArmor profiles: open", apparmor_check(a, "x"));
}

UNIT_MAIN(IN_TMPDIR(a_kernel_without_has_no_profile_and_needs_none),
          IN_TMPDIR(one_that_is_off_counts_as_none), IN_TMPDIR(a_profile_is_there_by_its_whole_name),
          IN_TMPDIR(what_is_no_name_is_refused), IN_TMPDIR(ours_is_loaded_once_where_it_is_not_there),
          IN_TMPDIR(what_keeps_ours_from_being_loaded_is_said),
          IN_TMPDIR(without_securityfs_no_profile_can_be_seen))
