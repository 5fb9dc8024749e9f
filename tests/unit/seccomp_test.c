/* Programs are loaded for real, in a child each. */
#include "base/json.h"
#include "runtime/capabilities.h"
#include "runtime/seccomp.h"
#include "runtime/seccomp/calls.h"
#include "runtime/seccomp/compact.h"
#include "runtime/seccomp/profile.h"
#include "tests/unit/unit.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define HEADER_OF_CALLS "/usr/include/x86_64-linux-gnu/asm/unistd_64.h" /* others have none with numbers */

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
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\"],\"action\":"
                  "\"SCMP_ACT_NOTIFY\"}]}",
                  "unknown action \"SCMP_ACT_NOTIFY\"" },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/run/agent.sock\"}",
                  "listenerPath" },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_TSYNC\","
                  "\"SECCOMP_FILTER_FLAG_LOG\"]}",
                  "flags[1]: \"SECCOMP_FILTER_FLAG_LOG\"" },
                { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"file_getattr\"],"
                  "\"action\":"
                  "\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}]}",
                  "rule for file_getattr: libseccomp " },
        };
        _cleanup_(seccomp_cache_freep) struct seccomp_cache *cache = NULL;
        const struct seccomp_program *program = NULL;
        assert_ok(seccomp_cache_open(&cache));
        for (size_t i = 0; i < LENGTH(wrong); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, wrong[i][1],
                             seccomp_profile(cache, wrong[i][0], 0, &program));
        assert_null(program);
}

/* What the kernel would answer: a classic BPF machine with the instructions that libseccomp uses. */
static uint32_t answer(const struct sock_filter *program, size_t n, const struct seccomp_data *data)
{
        uint32_t a = 0;
        for (size_t pc = 0; pc < n; pc++) {
                const struct sock_filter *at = &program[pc];
                bool met;
                switch (at->code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        memcpy(&a, (const char *) data + at->k, sizeof(a));
                        continue;
                case BPF_ALU | BPF_AND | BPF_K:
                        a &= at->k;
                        continue;
                case BPF_RET | BPF_K:
                        return at->k;
                case BPF_JMP | BPF_JA:
                        pc += at->k;
                        continue;
                case BPF_JMP | BPF_JEQ | BPF_K:
                        met = a == at->k;
                        break;
                case BPF_JMP | BPF_JGT | BPF_K:
                        met = a > at->k;
                        break;
                case BPF_JMP | BPF_JGE | BPF_K:
                        met = a >= at->k;
                        break;
                default:
                        fail_msg("instruction %zu: code %#x", pc, at->code);
                        return 0;
                }
                pc += met ? at->jt : at->jf;
        }
        fail_msg("ran off the end");
        return 0;
}

static uint32_t answer_to(const struct seccomp_program *program, int number)
{
        const struct seccomp_data data = { .nr = number, .arch = seccomp_arch_native() };
        return answer(program->bpf, program->len_bytes / sizeof(struct sock_filter), &data);
}

/* By our own list, which libseccomp need not have: by number, on any kernel. */
static void calls_that_libseccomp_does_not_know_are_allowed_all_the_same(void **state)
{
        (void) state;
        static const char *const everybody[] = { "statmount",    "mseal",        "setxattrat",
                                                 "file_getattr", "file_setattr", "cachestat" };
        static const char *const admins[] = { "open_tree_attr", "lsm_list_modules", "fsmount" };
        _cleanup_(seccomp_cache_freep) struct seccomp_cache *cache = NULL;
        const struct seccomp_program *plain = NULL, *admin = NULL;
        bool by_us;
        assert_ok(seccomp_cache_open(&cache));
        assert_ok(seccomp_default(cache, capabilities_default(), &plain));
        assert_ok(seccomp_default(cache, capabilities_all(), &admin));
        for (size_t i = 0; i < LENGTH(everybody); i++)
                assert_int_equal(answer_to(plain, call_number(everybody[i], &by_us)), SECCOMP_RET_ALLOW);
        for (size_t i = 0; i < LENGTH(admins); i++) {
                int number = call_number(admins[i], &by_us);
                assert_int_equal(answer_to(plain, number), SECCOMP_RET_ERRNO | EPERM);
                assert_int_equal(answer_to(admin, number), SECCOMP_RET_ALLOW);
        }
        assert_int_equal(answer_to(plain, 469), SECCOMP_RET_ALLOW);
        assert_int_equal(answer_to(plain, 470), SECCOMP_RET_ERRNO | ENOSYS);
        assert_int_equal(answer_to(plain, SYS_getppid), SECCOMP_RET_ALLOW);
        assert_int_equal(answer_to(plain, SYS_keyctl), SECCOMP_RET_ERRNO | EPERM);
        assert_int_equal(call_number("no_such_call", &by_us), CALL_UNKNOWN);
}

static void a_profile_of_ones_own_may_name_them_too(void **state)
{
        (void) state;
        static const char json[] =
                "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_SPEC_ALLOW\"],"
                "\"syscalls\":[{\"names\":[\"file_setattr\",\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\","
                "\"errnoRet\":17},"
                "{\"names\":[\"file_setattr\"],\"action\":\"SCMP_ACT_KILL\"}]}";
        _cleanup_(seccomp_cache_freep) struct seccomp_cache *cache = NULL;
        const struct seccomp_program *program = NULL;
        assert_ok(seccomp_cache_open(&cache));
        assert_ok(seccomp_profile(cache, json, 0, &program));
        assert_int_equal(answer_to(program, 469), SECCOMP_RET_ERRNO | 17);
        assert_int_equal(answer_to(program, SYS_getppid), SECCOMP_RET_ERRNO | 17);
        assert_int_equal(answer_to(program, 468), SECCOMP_RET_ALLOW);
        assert_int_equal(answer_to(program, 900), SECCOMP_RET_ALLOW);
        struct seccomp_data foreign = { .nr = 469, .arch = AUDIT_ARCH_PPC64LE };
        assert_int_not_equal(answer(program->bpf, program->len_bytes / sizeof(struct sock_filter), &foreign),
                             SECCOMP_RET_ERRNO | 17);
}

/* What the default profile says nothing about, and why; deploy/seccomp.md has more words. */
static const char *const left_out[] = {
        /* keys of the kernel are not in a namespace */
        "add_key",
        "keyctl",
        "request_key",
        /* a long row of holes */
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "userfaultfd",
        /* of the whole machine */
        "kexec_file_load",
        "kexec_load",
        "migrate_pages",
        "move_pages",
        "nfsservctl",
        "pivot_root",
        "swapoff",
        "swapon",
        /* gone from the kernel, or never in it */
        "_sysctl",
        "afs_syscall",
        "create_module",
        "get_kernel_syms",
        "getpmsg",
        "putpmsg",
        "query_module",
        "security",
        "sysfs",
        "tuxcall",
        "uselib",
        "ustat",
        "vserver",
};

static bool profile_names(const struct json *profile, const char *name)
{
        const struct json *rules = json_get(profile, "syscalls");
        for (size_t i = 0; i < json_length(rules); i++) {
                const struct json *names = json_get(json_at(rules, i), "names");
                for (size_t j = 0; j < json_length(names); j++)
                        if (strcmp(json_text(json_at(names, j), ""), name) == 0)
                                return true;
        }
        return false;
}

static void assert_considered(const struct json *profile, const char *name)
{
        bool is_left_out = false;
        for (size_t i = 0; i < LENGTH(left_out) && !is_left_out; i++)
                is_left_out = strcmp(left_out[i], name) == 0;
        if (!is_left_out && !profile_names(profile, name))
                fail_msg("%s is neither in deploy/seccomp-default.json nor in left_out", name);
}

/* The kernel's headers may be newer than libseccomp and our list: a call of theirs must not go by unseen. */
static void headers_check(const struct json *profile)
{
        FILE *file = fopen(HEADER_OF_CALLS, "re");
        char line[256], name[64];
        int number;
        if (!file)
                return;
        while (fgets(line, sizeof(line), file)) {
                if (sscanf(line, "#define __NR_%63s %d", name, &number) != 2)
                        continue;
                bool by_us;
                assert_considered(profile, name);
                if (call_number(name, &by_us) == CALL_UNKNOWN)
                        fail_msg("%s, number %d, is not in runtime/seccomp/calls.c", name, number);
        }
        (void) fclose(file);
}

static void every_call_was_considered(void **state)
{
        (void) state;
        _cleanup_(json_freep) struct json *profile = NULL;
        size_t n = 0;
        assert_ok(json_parse(seccomp_default_json, (size_t) (seccomp_default_json_end - seccomp_default_json),
                             &profile));
        for (int number = 0; number < 1024; number++) {
                _cleanup_(freep) char *name = call_name(number);
                n += name != NULL;
                if (name)
                        assert_considered(profile, name);
        }
        assert_true(n > 300);
        headers_check(profile);
}

/* A program by libseccomp: three architectures, calls in patches, calls that depend on arguments in several ways. */
static void export_filter(uint32_t otherwise, bool tree, struct buf *out)
{
        scmp_filter_ctx filter = seccomp_init(otherwise);
        assert_non_null(filter);
        if (tree)
                assert_int_equal(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2), 0);
        assert_int_equal(seccomp_arch_add(filter, SCMP_ARCH_X86), 0);
        assert_int_equal(seccomp_arch_add(filter, SCMP_ARCH_X32), 0);
        for (int number = 0; number < 400; number++)
                if (number % 7 != 3 && number % 11 != 5 && number != 41 && number != 56 && number != 135)
                        (void) seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        (void) seccomp_rule_add(filter, SCMP_ACT_ERRNO(38), 435, 0);
        (void) seccomp_rule_add(filter, SCMP_ACT_ALLOW, 41, 1, SCMP_A0(SCMP_CMP_NE, 40, 0));
        (void) seccomp_rule_add(filter, SCMP_ACT_ALLOW, 56, 1, SCMP_A0(SCMP_CMP_MASKED_EQ, 0x7e020000, 0));
        (void) seccomp_rule_add(filter, SCMP_ACT_ALLOW, 135, 1, SCMP_A0(SCMP_CMP_EQ, 0xffffffff, 0));
        (void) seccomp_rule_add(filter, SCMP_ACT_ALLOW, 135, 1, SCMP_A0(SCMP_CMP_EQ, 8, 0));
        int fd = memfd_create("filter", MFD_CLOEXEC);
        assert_int_equal(seccomp_export_bpf(filter, fd), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        buf_init(out, 1 << 20);
        assert_ok(buf_read_all(out, fd));
        (void) close(fd);
        seccomp_release(filter);
}

static void assert_same(const struct buf *before, const struct buf *after)
{
        static const uint32_t arches[] = { AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, 0,
                                           UINT32_MAX };
        static const uint32_t bases[] = { 0, 0x3fffff00, 0x40000000, 0x7fffff00, 0x80000000, 0xfffffe00 };
        static const uint64_t arguments[] = {
                0, 8, 40, 0xffffffff, 0x10000000, 0x7e020000, 1ULL << 32 | 40, UINT64_MAX
        };
        const struct sock_filter *old = (const void *) before->bytes, *new = (const void *) after->bytes;
        size_t n_old = before->len_bytes / sizeof(*old), n_new = after->len_bytes / sizeof(*new);
        for (size_t i = 0; i < LENGTH(arches); i++)
                for (size_t j = 0; j < LENGTH(bases); j++)
                        for (uint32_t number = 0; number < 512; number++)
                                for (size_t k = 0; k < LENGTH(arguments); k++) {
                                        struct seccomp_data data = { .nr = (int) (bases[j] + number),
                                                                     .arch = arches[i],
                                                                     .args = { arguments[k], arguments[k] } };
                                        if (answer(old, n_old, &data) != answer(new, n_new, &data))
                                                fail_msg("arch %#x, call %#x, argument %#llx", data.arch,
                                                         data.nr, (unsigned long long) arguments[k]);
                                }
}

static void a_compact_program_answers_as_the_long_one(void **state)
{
        (void) state;
        static const uint32_t otherwise[] = { SCMP_ACT_ERRNO(1), SCMP_ACT_KILL_PROCESS };
        for (size_t i = 0; i < 2 * LENGTH(otherwise); i++) {
                struct buf before, after;
                export_filter(otherwise[i / 2], i % 2 == 0, &before);
                buf_init(&after, 1 << 20);
                assert_ok(bpf_compact((const void *) before.bytes,
                                      before.len_bytes / sizeof(struct sock_filter), &after));
                assert_true(after.len_bytes <
                            before.len_bytes * 3 / 4); /* hardly a range of two calls in it */
                assert_same(&before, &after);
                buf_done(&before);
                buf_done(&after);
        }
}

/* What it does not know, it leaves: a jump on bits, a jump out of the program, nothing at all. */
static void what_cannot_be_shortened_stays(void **state)
{
        (void) state;
        const struct sock_filter bits[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                                            BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1),
                                            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                                            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL) };
        const struct sock_filter out_of[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                                              BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 9),
                                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
        const struct {
                const struct sock_filter *program;
                size_t n;
        } cases[] = { { bits, LENGTH(bits) }, { out_of, LENGTH(out_of) }, { bits, 0 } };
        for (size_t i = 0; i < LENGTH(cases); i++) {
                struct buf after;
                buf_init(&after, 4096);
                assert_ok(bpf_compact(cases[i].program, cases[i].n, &after));
                assert_int_equal(after.len_bytes, cases[i].n * sizeof(struct sock_filter));
                if (cases[i].n)
                        assert_memory_equal(after.bytes, cases[i].program, after.len_bytes);
                buf_done(&after);
        }
}

UNIT_MAIN(TEST(a_compact_program_answers_as_the_long_one), TEST(what_cannot_be_shortened_stays),
          TEST(the_default_profile_allows_and_refuses), TEST(a_profile_of_ones_own_is_compiled),
          TEST(what_is_wrong_is_named), TEST(calls_that_libseccomp_does_not_know_are_allowed_all_the_same),
          TEST(a_profile_of_ones_own_may_name_them_too), TEST(every_call_was_considered))
