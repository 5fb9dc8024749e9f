#include "base/clock.h"
#include "base/process.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <signal.h>

static struct error *run_shell(const char *script, const char *input, struct buf *out, struct buf *err,
                               int64_t timeout_ms, int *status)
{
        const char *argv[] = { "sh", "-c", script, NULL };
        const char *env[] = { "PATH=/usr/bin:/bin", NULL };
        struct process_start start = process_start_init("/bin/sh", argv);
        start.env = env;
        struct wait wait = wait_of_ms(timeout_ms);
        buf_done(out);
        buf_done(err);
        return process_run(&start, input, strlen(input), out, err, &wait, status);
}

static void input_output_and_exit_code_pass_through(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf out, err;
        buf_init(&out, 1 << 20);
        buf_init(&err, 1 << 20);
        int status = -1;
        assert_ok(run_shell("cat; echo bad >&2; exit 3", "hello", &out, &err, 10000, &status));
        assert_int_equal(status, 3);
        assert_string_equal(out.bytes, "hello");
        assert_string_equal(err.bytes, "bad\n");
        assert_ok(run_shell("kill -9 $$", "", &out, &err, 10000, &status));
        assert_int_equal(status, 128 + SIGKILL);
}

static void a_deadline_kills_it_and_its_children(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf out, err;
        buf_init(&out, 1 << 20);
        buf_init(&err, 1 << 20);
        int status = -1;
        int64_t began_ns = clock_monotonic_ns();
        assert_fails(ERROR_DEADLINE_EXCEEDED, "timed out",
                     run_shell("sleep 100 & echo $!; wait", "", &out, &err, 200, &status));
        assert_true(clock_monotonic_ns() - began_ns < 5000000000);
        pid_t child = (pid_t) strtol(out.bytes, NULL, 10);
        assert_true(child > 1);
        for (int i = 0; kill(child, 0) == 0 && i < 500; i++)
                usleep(10000); /* nobody tells us of the end of a grandchild */
        assert_int_equal(kill(child, 0), -1);
}

static void a_grandchild_that_holds_the_pipes_does_not_hold_us(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf out, err;
        buf_init(&out, 1 << 20);
        buf_init(&err, 1 << 20);
        int status = -1;
        int64_t began_ns = clock_monotonic_ns();
        assert_ok(run_shell("sleep 3 & echo done", "", &out, &err, 10000, &status));
        assert_true(clock_monotonic_ns() - began_ns < 2000000000);
        assert_string_equal(out.bytes, "done\n");
}

static void output_past_the_limit_is_an_error(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf out, err;
        buf_init(&out, 1000);
        buf_init(&err, 1000);
        int status = -1;
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "more than 1000 bytes",
                     run_shell("yes", "", &out, &err, 10000, &status));
}

static void a_program_that_is_not_there_is_named(void **state)
{
        (void) state;
        const char *argv[] = { "x", NULL };
        struct process_start start = process_start_init("/nonexistent/x", argv);
        struct process process;
        assert_fails(ERROR_INTERNAL, "start /nonexistent/x: exec: No such file",
                     process_spawn(&start, &process));
}

static void the_child_has_just_the_descriptors_named(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf out, err;
        buf_init(&out, 1 << 20);
        buf_init(&err, 1 << 20);
        int status = -1, leaked = open("/etc/passwd", O_RDONLY); /* not CLOEXEC, as a careless library */
        assert_ok(run_shell("exec ls /proc/self/fd", "", &out, &err, 10000, &status));
        assert_string_equal(out.bytes, "0\n1\n2\n3\n"); /* 3: the directory that is listed */
        (void) close(leaked);
}

static void the_child_gets_a_mount_namespace_of_its_own(void **state)
{
        (void) state;
        const char *argv[] = { "sh", "-c", "readlink /proc/self/ns/mnt", NULL };
        const char *env[] = { "PATH=/usr/bin:/bin", NULL };
        struct process_start start = process_start_init("/bin/sh", argv);
        _cleanup_(closep) int ours = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        _cleanup_(buf_done) struct buf out, err;
        struct wait wait = wait_of_ms(10000);
        char path[64] = "";
        int status = -1;
        buf_init(&out, 4096);
        buf_init(&err, 4096);
        start.env = env;
        start.mount_namespace_fd = ours;
        assert_ok(process_run(&start, "", 0, &out, &err, &wait, &status)); /* wants CAP_SYS_ADMIN */
        assert_int_equal(status, 0);
        assert_true(readlink("/proc/self/ns/mnt", path, sizeof(path) - 1) > 0);
        assert_non_null(strstr(out.bytes, "mnt:["));
        assert_int_not_equal(strncmp(out.bytes, path, strlen(path)), 0);
        start.mount_namespace_fd = STDERR_FILENO; /* no namespace */
        assert_fails(ERROR_INTERNAL, "enter the mount namespace",
                     process_run(&start, "", 0, &out, &err, &wait, &status));
}

UNIT_MAIN(TEST(the_child_gets_a_mount_namespace_of_its_own), TEST(input_output_and_exit_code_pass_through),
          TEST(a_deadline_kills_it_and_its_children),
          TEST(a_grandchild_that_holds_the_pipes_does_not_hold_us), TEST(output_past_the_limit_is_an_error),
          TEST(a_program_that_is_not_there_is_named), TEST(the_child_has_just_the_descriptors_named))
