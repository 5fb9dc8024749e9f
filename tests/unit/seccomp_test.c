/* Programs are loaded for real, in a child each. */
#include "runtime/capabilities.h"
#include "runtime/seccomp.h"
#include "tests/unit/unit.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The errno of a system call under the program; 0 when it succeeds. */
static int under(const struct seccomp_program *program, long (*call)(void))
{
        pid_t child = fork();
        if (child == 0) {
                struct sock_fprog filter = { .len = (unsigned short) (program->len_bytes /
                                                                      sizeof(struct sock_filter)),
                                             .filter = (struct sock_filter *) (uintptr_t) program->bpf };
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
                        _exit(255);
                errno = 0;
                _exit(call() < 0 ? errno : 0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static long call_getpid(void)
{
        return syscall(SYS_getppid);
}
static long call_alg(void)
{
        return socket(AF_ALG, SOCK_SEQPACKET, 0);
}
static long call_inet(void)
{
        return socket(AF_INET, SOCK_STREAM, 0);
}
static long call_unshare(void)
{
        return unshare(CLONE_NEWUTS);
}
static long call_newuser(void)
{
        return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
}
static long call_clone3(void)
{
        return syscall(SYS_clone3, NULL, 0);
}
static long call_future(void)
{
        return syscall(900);
}
static long call_keyctl(void)
{
        return syscall(SYS_keyctl, 0, 0, 0, 0, 0);
}

static void the_default_profile_allows_and_refuses(void **state)
{
        (void) state;
        _cleanup_(seccomp_cache_freep) struct seccomp_cache *cache = NULL;
        const struct seccomp_program *plain = NULL, *again = NULL, *admin = NULL;
        assert_ok(seccomp_cache_open(&cache));
        assert_ok(seccomp_default(cache, capabilities_default(), &plain));
        assert_ok(seccomp_default(cache, capabilities_default(), &again));
        assert_ptr_equal(plain, again);
        print_message("default profile: %zu instructions\n", plain->len_bytes / sizeof(struct sock_filter));
        assert_int_equal(under(plain, call_getpid), 0);
        assert_int_equal(under(plain, call_inet), 0);
        assert_int_equal(under(plain, call_alg), EPERM);
        assert_int_equal(under(plain, call_unshare), EPERM);
        assert_int_equal(under(plain, call_newuser), EPERM);
        assert_int_equal(under(plain, call_clone3), ENOSYS);
        assert_int_equal(under(plain, call_future), ENOSYS);
        assert_int_equal(under(plain, call_keyctl), EPERM);
        assert_ok(seccomp_default(cache, capabilities_all(), &admin));
        assert_ptr_not_equal(plain, admin);
        assert_int_equal(under(admin, call_unshare), 0);
        assert_int_equal(under(admin, call_clone3), EINVAL);
        assert_int_equal(under(admin, call_alg) == EPERM, 1);
}

static void a_profile_of_ones_own_is_compiled(void **state)
{
        (void) state;
        static const char json[] =
                "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_X86_64\"],"
                "\"syscalls\":[{\"names\":[\"getppid\",\"no_such_call\"],"
                "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":17}]}";
        _cleanup_(seccomp_cache_freep) struct seccomp_cache *cache = NULL;
        const struct seccomp_program *program = NULL;
        assert_ok(seccomp_cache_open(&cache));
        assert_ok(seccomp_profile(cache, json, 0, &program));
        assert_int_equal(under(program, call_getpid), 17);
        assert_int_equal(under(program, call_future), ENOSYS);
        WALK_FAILURES(seccomp_profile(cache, json, walk_n_, &program));
}

static void what_is_wrong_is_named(void **state)
{
        (void) state;
        static const char *const wrong[][2] = {
                { "{", "line 1" },
                { "[]", "not an object" },
                { "{}", "\"defaultAction\" is missing" },
                { "{\"defaultAction\":\"NO\"}", "unknown defaultAction \"NO\"" },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"action\":\"SCMP_ACT_LOG\"}]}",
                  "syscalls[0]: \"names\" is missing" },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
                  "\"SCMP_ACT_LOG\",\"args\":[{\"index\":9,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}]}",
                  "args[0]: \"index\" 9" },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_PDP11\"]}", "PDP11" },
        };
        _cleanup_(seccomp_cache_freep) struct seccomp_cache *cache = NULL;
        const struct seccomp_program *program = NULL;
        assert_ok(seccomp_cache_open(&cache));
        for (size_t i = 0; i < LENGTH(wrong); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, wrong[i][1],
                             seccomp_profile(cache, wrong[i][0], 0, &program));
        assert_null(program);
}

UNIT_MAIN(TEST(the_default_profile_allows_and_refuses), TEST(a_profile_of_ones_own_is_compiled),
          TEST(what_is_wrong_is_named))
