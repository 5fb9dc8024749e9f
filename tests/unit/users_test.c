#include "runtime/users_internal.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <sys/stat.h>

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\n"
                             "evil:x:4294967296:0::/:\nminus:x:-1:0::/:\nlast:x:4294967295:0::/:\n"
                             "app:x:1000:1001:App:/home/app:/bin/sh\nnohome:x:1002:1002\n"
                             "odd:x:1003:1003::/a\rb:/bin/sh\n";
static const char group[] =
        "root:x:0:\nwheel:x:10:app,root\naudio:x:29:app\nappgrp:x:1001:app\nbad:x:99999999999:app\n";

static struct error *resolve(const char *text, struct user *out)
{
        return user_of_files(passwd, strlen(passwd), group, strlen(group), text, out);
}

static void users_are_found_by_name_and_number(void **state)
{
        (void) state;
        struct user u = { 0 };
        assert_ok(resolve("app", &u));
        assert_int_equal(u.uid, 1000);
        assert_int_equal(u.gid, 1001);
        assert_string_equal(u.home, "/home/app");
        assert_int_equal(u.n_groups, 2);
        assert_int_equal(u.groups[0], 10);
        assert_int_equal(u.groups[1], 29);
        user_done(&u);
        assert_ok(resolve("1000", &u));
        assert_int_equal(u.gid, 1001);
        assert_int_equal(u.n_groups, 2);
        user_done(&u);
        assert_ok(resolve("4000", &u));
        assert_int_equal(u.uid, 4000);
        assert_int_equal(u.gid, 0);
        assert_string_equal(u.home, "/");
        user_done(&u);
        assert_ok(resolve("app:audio", &u));
        assert_int_equal(
                u.gid,
                29); /* of the caller's choice; the user's others stay, and its own group is none of them */
        assert_int_equal(u.n_groups, 2);
        assert_int_equal(u.groups[0], 10);
        assert_int_equal(u.groups[1], 1001);
        user_done(&u);
        assert_ok(resolve("7:8", &u));
        assert_int_equal(u.uid, 7);
        assert_int_equal(u.gid, 8);
        user_done(&u);
        assert_ok(resolve("", &u));
        assert_int_equal(u.uid, 0);
        assert_string_equal(u.home, "/root");
        user_done(&u);
        assert_ok(resolve("nohome", &u));
        assert_string_equal(u.home, "/");
        user_done(&u);
        assert_ok(resolve("odd", &u)); /* a control byte in a home never reaches an environment */
        assert_string_equal(u.home, "/");
        user_done(&u);
}

static void overflow_is_an_error_and_never_root(void **state)
{
        (void) state;
        struct user u = { 0 };
        assert_fails(ERROR_INVALID_ARGUMENT, "out of range", resolve("4294967296", &u));
        assert_fails(ERROR_INVALID_ARGUMENT, "out of range", resolve("4294967295", &u));
        assert_fails(ERROR_INVALID_ARGUMENT, "out of range", resolve("0:99999999999", &u));
        assert_fails(ERROR_INVALID_ARGUMENT, "unable to find user evil: no matching entries in passwd file",
                     resolve("evil", &u));
        assert_fails(ERROR_INVALID_ARGUMENT, "unable to find user minus", resolve("minus", &u));
        assert_fails(ERROR_INVALID_ARGUMENT, "unable to find user -1", resolve("-1", &u));
        assert_fails(ERROR_INVALID_ARGUMENT, "unable to find group nope", resolve("app:nope", &u));
        assert_null(u.home);
}

static void files_that_are_no_files_are_refused(void **dir)
{
        struct user u = { 0 };
        _cleanup_(closep) int root_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_ok(user_resolve(root_fd, "12", &u));
        assert_int_equal(u.uid, 12);
        user_done(&u);
        assert_int_equal(mkdirat(root_fd, "etc", 0755), 0);
        assert_int_equal(mkfifoat(root_fd, "etc/passwd", 0644), 0);
        assert_fails(ERROR_INVALID_ARGUMENT, "not a regular file", user_resolve(root_fd, "app", &u));
        assert_int_equal(unlinkat(root_fd, "etc/passwd", 0), 0);
        assert_int_equal(symlinkat("/proc/self/environ", root_fd, "etc/passwd"), 0);
        assert_fails(ERROR_INVALID_ARGUMENT, "unable to find user app", user_resolve(root_fd, "app", &u));
        WALK_FAILURES(user_resolve(root_fd, "app", &u));
}

UNIT_MAIN(TEST(users_are_found_by_name_and_number), TEST(overflow_is_an_error_and_never_root),
          IN_TMPDIR(files_that_are_no_files_are_refused))
