/* Containers that write as fast as they can, on the real kernel, as root: nothing is lost or out of order, others have their
 * turn, and what the flood took is given back. */
#include "base/clock.h"
#include "base/file.h"
#include "tests/unit/session_client.h"
#include <fcntl.h>
#include <signal.h>

static const struct pod_spec own_network = { .hostname = "p" };

/* A line a write. */
#define COUNT_TO(n, to) "i=0; while [ $i -lt " #n " ]; do echo line $i" to "; i=$((i+1)); done; "

static void every_line_of_a_flood_is_logged_in_order(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", COUNT_TO(50000, "") "echo oops >&2; " COUNT_TO(50000, "") "printf end");
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        const char *at = log;
        for (int i = 0; i < 100000; i++) {
                char want[64];
                /* What stderr had to say is where it was said: at most what was written meanwhile is before it. */
                if (strncmp(at, "stderr F oops\n", 14) == 0) {
                        assert_true(i >= 50000 && i < 60000);
                        at += 14;
                }
                size_t len_bytes = (size_t) snprintf(want, sizeof(want), "stdout F line %d\n", i % 50000);
                assert_memory_equal(at, want, len_bytes);
                at += len_bytes;
        }
        assert_string_equal(at, "stdout P end\n");
}

/* There is always the beginning of a line, but of a new one each time. */
static void only_a_line_that_waits_itself_goes_out_in_parts(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(
                f, "c1", "for i in $(seq 50); do printf 'end\\nbegin '; sleep 0.05; done; sleep 2; echo end");
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        const char *partial = strstr(log, "stdout P");
        assert_non_null(partial);
        assert_string_equal(partial, "stdout P begin \nstdout F end\n");
}

static void two_floods_at_once_are_both_logged(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "(" COUNT_TO(50000, " >&2") ") & " COUNT_TO(50000, "") "wait");
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        int next[2] = { 0 };
        for (const char *at = log; *at;) {
                char want[64];
                bool is_err = strncmp(at, "stderr", 6) == 0;
                size_t len_bytes = (size_t) snprintf(want, sizeof(want), "std%s F line %d\n",
                                                     is_err ? "err" : "out", next[is_err]++);
                assert_memory_equal(at, want, len_bytes);
                at += len_bytes;
        }
        assert_int_equal(next[0], 50000);
        assert_int_equal(next[1], 50000);
}

/* The pipe that the container writes to. */
static int pipe_of(pid_t pid)
{
        _cleanup_(freep) char *path = format_string("/proc/%d/fd/1", pid);
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

/* A sanitizer keeps memory of its own. */
static unsigned long resident_kb(pid_t pid)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        (void) pid;
        return 0;
#else
        char *text = NULL;
        size_t len_bytes;
        _cleanup_(freep) char *path = format_string("/proc/%d/smaps_rollup", pid);
        assert_ok(file_read(AT_FDCWD, path, 1 << 16, &text, &len_bytes));
        unsigned long kb = strtoul(strstr(text, "Private_Dirty:") + 14, NULL, 10);
        free(text);
        return kb;
#endif
}

static void what_a_flood_takes_is_given_back(void **state)
{
        struct fixture *f = *state;
        const struct wait wait = wait_of_ms(10000);
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1",
                        "echo up; trap 'exit 5' TERM; while [ ! -e /tmp/go ]; do sleep 0.05; done;" COUNT_TO(
                                50000, "") "cat /bin/busybox; touch /tmp/done; while :; do sleep 0.05; done");
        pid_t pid = container_up(f, spec), supervisor = runtime_pod_supervisor_pid(f->pod);
        _cleanup_(closep) int pipe_fd = pipe_of(pid);
        struct exec_result r = { 0 };
        assert_ok(exec_try(f, "c1", "sleep 1.5", 0, &r));
        exec_result_done(&r);
        unsigned long before_kb = resident_kb(supervisor);
        assert_int_equal(fcntl(pipe_fd, F_GETPIPE_SZ), 65536);
        assert_ok(
                exec_try(f, "c1", "touch /tmp/go; while [ ! -e /tmp/done ]; do sleep 0.01; done", 20000, &r));
        exec_result_done(&r);
        assert_int_equal(fcntl(pipe_fd, F_GETPIPE_SZ), 256 << 10);
        assert_true(before_kb == 0 || resident_kb(supervisor) > before_kb + 32);
        while (fcntl(pipe_fd, F_GETPIPE_SZ) != 65536)
                assert_ok(wait_delay(&wait, 20, "wait until it is given back"));
        unsigned long after_kb = resident_kb(supervisor);
        print_message("%lu kB before, %lu kB after\n", before_kb, after_kb);
        assert_true(after_kb <= before_kb + 24); /* the heap keeps what a held line took */
        /* And it is looked at again as before: at once. */
        assert_ok(runtime_container_signal(f->pod, "c1", SIGTERM, &f->wait));
        assert_int_equal(container_wait(f, "c1").exit_code, 5);
}

static void others_have_their_turn(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *floods = spec_of(f, "c1",
                                                                                COUNT_TO(100000000, "")),
                                                              *other = spec_of(f, "c2", "exec sleep 1000");
        container_up(f, floods);
        container_up(f, other);
        for (int i = 0; i < 20; i++) {
                struct exec_result r = { 0 };
                int64_t began_ns = clock_monotonic_ns();
                assert_ok(exec_try(f, "c2", "echo here", 0, &r));
                assert_string_equal(r.out, "here\n");
                exec_result_done(&r);
                assert_true(clock_monotonic_ns() - began_ns < INT64_C(2000000000));
        }
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        (void) container_wait(f, "c1");
}

UNIT_MAIN(WITH_POD(every_line_of_a_flood_is_logged_in_order),
          WITH_POD(only_a_line_that_waits_itself_goes_out_in_parts),
          WITH_POD(two_floods_at_once_are_both_logged), WITH_POD(what_a_flood_takes_is_given_back),
          WITH_POD(others_have_their_turn))
