/* Clients of a running container, on the real kernel, as root: what they see and write, with pipes and with a terminal; clients
 * that do not read; the ends of stdin, client and container. And the terminal itself: its log, its size, what keeps it. */
#include "base/file.h"
#include "runtime/native/protocol.h"
#include "tests/unit/session_client.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static const struct pod_spec own_network = { .hostname = "p" };
static const struct session_streams all = { .in = true, .out = true, .err = true },
                                    out_only = { .out = true },
                                    terminal = { .in = true, .out = true, .tty = true };

enum kind { PLAIN, STDIN, STDIN_ONCE, TERMINAL };

static void up(struct fixture *f, const char *id, const char *script, enum kind kind)
{
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, id, script);
        spec->stdin_open = kind != PLAIN;
        spec->stdin_once = kind == STDIN_ONCE;
        spec->tty = kind == TERMINAL;
        if (!f->pod)
                pod_up(f, own_network);
        container_up(f, spec);
}

static void join(struct fixture *f, const char *id, const struct session_streams *streams,
                 struct session_fds *out)
{
        assert_ok(runtime_attach_open(f->pod, id, streams, &f->wait, out));
}

static void message(const struct session_fds *s, enum session_kind kind, uint16_t first, uint16_t second)
{
        const struct session_message sent = { .kind = kind, .first = first, .second = second };
        assert_ok(session_send(s->channel_fd, &sent, -1));
}

static void assert_over(const struct session_fds *s)
{
        struct session_message none;
        int fd = -1;
        char byte;
        assert_false(session_next(s->channel_fd, &none, &fd));
        assert_true(s->out_fd < 0 || read(s->out_fd, &byte, 1) == 0);
        assert_true(s->err_fd < 0 || read(s->err_fd, &byte, 1) == 0);
}

static void log_await(struct fixture *f, const char *id, const char *want)
{
        const struct wait wait = wait_of_ms(10000);
        for (;;) {
                _cleanup_(freep) char *log = log_of(f, id);
                if (strstr(log, want))
                        return;
                struct error *e = wait_delay(&wait, 10, "wait for a line of the log");
                if (e)
                        fail_msg("\"%s\" is not in the log:\n%s", want, log);
        }
}

/* --- with pipes --- */

static void a_client_sees_what_is_written_from_now_on(void **state)
{
        struct fixture *f = *state;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        up(f, "c1", "echo before; read x; echo \"got $x\"; echo oops >&2; read x; printf last; exit 3",
           STDIN);
        log_await(f, "c1", "before\n");
        join(f, "c1", &all, &s);
        assert_true(s.in_fd >= 0 && s.out_fd >= 0 && s.err_fd >= 0);
        assert_true(fcntl(s.in_fd, F_GETFL) & O_NONBLOCK);
        session_write(s.in_fd, "one\n");
        assert_string_equal(session_await(s.out_fd, "got one\n"), "got one\n");
        assert_string_equal(session_await(s.err_fd, "oops\n"), "oops\n");
        session_write(s.in_fd, "two\n");
        assert_int_equal(container_wait(f, "c1").exit_code, 3);
        _cleanup_(freep) char *text = session_text(s.out_fd), *log = log_of(f, "c1");
        assert_string_equal(text, "last");
        assert_over(&s);
        assert_string_equal(log, "stdout F before\nstdout F got one\nstderr F oops\nstdout P last\n");
}

static void what_it_wrote_last_comes_before_the_end(void **state)
{
        struct fixture *f = *state;
        for (int i = 0; i < 10; i++) {
                _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
                up(f, "c1", "read x; seq 1 5000; echo end", STDIN);
                join(f, "c1", &all, &s);
                session_write(s.in_fd, "\n");
                assert_int_equal(container_wait(f, "c1").exit_code, 0);
                _cleanup_(freep) char *text = session_text(s.out_fd);
                assert_int_equal(strlen(text), 23893 + 4);
                assert_over(&s);
        }
}

static void a_client_that_goes_leaves_the_container_alone(void **state)
{
        struct fixture *f = *state;
        up(f, "c1", "while read x; do echo \"got $x\"; done; echo eof; exec sleep 1000", STDIN);
        for (int i = 0; i < 3; i++) {
                _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
                join(f, "c1", &all, &s);
                session_write(s.in_fd, "x\n");
                (void) session_await(s.out_fd, "got x\n");
                message(&s, SESSION_STDIN_END, 0, 0); /* not once: it stays open */
        }
        /* Clients without stdin, and of a container that has none. */
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE, t = SESSION_FDS_NONE;
        join(f, "c1", &out_only, &s);
        assert_true(s.in_fd == -1 && s.err_fd == -1 && s.out_fd >= 0);
        up(f, "c2", "exec sleep 1000", PLAIN);
        join(f, "c2", &all, &t);
        assert_int_equal(t.in_fd, -1);
        _cleanup_(freep) char *log = log_of(f, "c1");
        assert_null(strstr(log, "eof"));
        struct session_fds none;
        assert_fails(ERROR_FAILED_PRECONDITION, "not running",
                     runtime_attach_open(f->pod, "c3", &all, &f->wait, &none));
}

static void stdin_that_is_open_once_closes_behind_its_client(void **state)
{
        struct fixture *f = *state;
        for (int by_message = 0; by_message < 2; by_message++) {
                _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE,
                                                                other = SESSION_FDS_NONE;
                up(f, "c1", "while read x; do echo \"got $x\"; done; echo eof; read y; exec sleep 1000",
                   STDIN_ONCE);
                join(f, "c1", &out_only, &other); /* has no stdin to close */
                message(&other, SESSION_STDIN_END, 0, 0);
                join(f, "c1", &all, &s);
                session_write(s.in_fd, "x\n");
                (void) session_await(s.out_fd, "got x\n");
                closep(&s.in_fd);
                if (by_message) {
                        message(&s, SESSION_STDIN_END, 0, 0);
                        (void) session_await(s.out_fd, "eof\n"); /* output goes on */
                } else {
                        session_fds_close(&s);
                }
                (void) session_await(other.out_fd, "eof\n");
                session_fds_close(&s);
                join(f, "c1", &all, &s);
                assert_int_equal(s.in_fd, -1); /* for good */
                assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
                (void) container_wait(f, "c1");
        }
}

/* What is in a pipe, but for the lines that tell of losses, whose numbers are added up. */
static size_t read_with_losses(int fd, size_t *lost_bytes)
{
        _cleanup_(freep) char *text = session_text(fd);
        size_t len_bytes = strlen(text), marks_bytes = 0;
        *lost_bytes = 0;
        for (const char *at = text; (at = strstr(at, "\nskiff: "));) {
                const char *end = strchr(at + 1, '\n') + 1;
                *lost_bytes += strtoull(at + 8, NULL, 10);
                assert_memory_equal(end - 22, "output were lost here\n", 22);
                marks_bytes += (size_t) (end - at);
                at = end - 1;
        }
        return len_bytes - marks_bytes;
}

static void who_does_not_read_loses_and_nobody_else(void **state)
{
        enum { ROUNDS = 40, ROUND_BYTES = 20001 };
        struct fixture *f = *state;
        _cleanup_(session_fds_close) struct session_fds reads = SESSION_FDS_NONE, sleeps = SESSION_FDS_NONE;
        up(f, "c1", "while read x; do head -c 20000 /dev/zero | tr '\\0' a; echo; done; exec sleep 1000",
           STDIN);
        join(f, "c1", &all, &reads);
        join(f, "c1", &out_only, &sleeps);
        for (int i = 0; i < ROUNDS; i++) {
                session_write(reads.in_fd, "\n");
                assert_int_equal(strlen(session_await(reads.out_fd, "\n")), ROUND_BYTES);
        }
        size_t lost_bytes = 0, more_bytes = 0;
        size_t came_bytes = read_with_losses(sleeps.out_fd, &lost_bytes);
        assert_true(came_bytes >= 65536 && came_bytes < ROUNDS * ROUND_BYTES);
        assert_int_equal(lost_bytes, 0); /* it is told with what comes next */
        session_write(reads.in_fd, "\n");
        (void) session_await(reads.out_fd, "\n");
        const struct wait wait = wait_of_ms(10000);
        while (came_bytes + lost_bytes < (ROUNDS + 1) * ROUND_BYTES) {
                assert_ok(wait_fd(&wait, sleeps.out_fd, POLLIN, "the rest"));
                came_bytes += read_with_losses(sleeps.out_fd, &more_bytes);
                lost_bytes += more_bytes;
        }
        assert_true(lost_bytes > 0);
        assert_int_equal(came_bytes + lost_bytes, (ROUNDS + 1) * ROUND_BYTES);
        /* The log has it all. */
        _cleanup_(freep) char *log = log_of(f, "c1");
        size_t a = 0;
        for (const char *at = log; *at; at++)
                a += *at == 'a';
        assert_int_equal(a, (ROUNDS + 1) * (ROUND_BYTES - 1));
}

static void a_container_without_a_log_has_clients_too(void **state)
{
        struct fixture *f = *state;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "read x; echo \"got $x\"; echo oops >&2; exit 2");
        spec->stdin_open = true;
        pod_up(f, own_network);
        container_up_without_log(f, spec);
        join(f, "c1", &all, &s);
        session_write(s.in_fd, "x\n");
        assert_int_equal(container_wait(f, "c1").exit_code, 2);
        (void) session_await(s.out_fd, "got x\n");
        (void) session_await(s.err_fd, "oops\n");
        assert_over(&s);
}

static void clients_have_a_bound_and_leave_nothing(void **state)
{
        struct fixture *f = *state;
        struct session_fds s[65];
        up(f, "c1", "exec sleep 1000", STDIN);
        for (int round = 0; round < 2; round++) {
                for (size_t i = 0; i < 64; i++)
                        join(f, "c1", &all, &s[i]);
                assert_fails(ERROR_RESOURCE_EXHAUSTED, "clients",
                             runtime_attach_open(f->pod, "c1", &all, &f->wait, &s[64]));
                for (size_t i = 0; i < 64; i++)
                        session_fds_close(&s[i]);
                struct exec_result r = { 0 };
                assert_ok(exec_try(f, "c1", "true", 0, &r)); /* answered behind their ends */
                exec_result_done(&r);
        }
}

/* --- with a terminal --- */

static void a_terminal_is_logged_as_it_shows(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        up(f, "c1",
           "tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo is; echo oops >&2; echo \"to it\" > "
           "/dev/console;"
           "stat -c '%t:%T' /dev/console; readlink /proc/self/fd/1; ls -l /proc/self/fd 2>/dev/null | grep "
           "-c ptmx; exit "
           "4",
           TERMINAL);
        assert_int_equal(container_wait(f, "c1").exit_code, 4);
        log = log_of(f, "c1");
        assert_string_equal(log, "stdout F /dev/pts/0\r\nstdout F 24 80\r\nstdout F is\r\nstdout F oops\r\n"
                                 "stdout F to it\r\nstdout F 88:0\r\nstdout F /dev/pts/0\r\nstdout F 0\r\n");
}

static void all_that_a_terminal_was_shown_is_logged(void **state)
{
        struct fixture *f = *state;
        for (int i = 0; i < 5; i++) {
                _cleanup_(freep) char *log = NULL, *path = format_string("%s/c1", f->dir);
                up(f, "c1", "seq 1 30000; printf end", TERMINAL);
                assert_int_equal(container_wait(f, "c1").exit_code, 0);
                log = log_of(f, "c1");
                size_t lines = 0;
                for (const char *at = log; *at; at++)
                        lines += *at == '\n';
                assert_int_equal(lines, 30001);
                assert_non_null(strstr(log, "stdout F 30000\r\nstdout P end\n"));
                assert_int_equal(unlink(path), 0);
        }
}

static void a_client_types_sees_and_resizes(void **state)
{
        struct fixture *f = *state;
        struct session_streams sized = terminal;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE, t = SESSION_FDS_NONE;
        sized.rows = 33, sized.columns = 101;
        up(f, "c1",
           "trap 'stty size' WINCH; echo up; while :; do read x && echo \"got $x\" && [ \"$x\" = end ] && "
           "exit 5; done",
           TERMINAL);
        log_await(f, "c1", "up\r\n");
        join(f, "c1", &sized, &s);
        assert_true(s.in_fd >= 0 && s.err_fd == -1);
        (void) session_await(s.out_fd, "33 101\r\n");
        session_write(s.in_fd, "one\n");
        assert_string_equal(session_await(s.out_fd, "got one\r\n"), "one\r\ngot one\r\n"); /* with its echo */
        message(&s, SESSION_RESIZE, 50, 132);
        (void) session_await(s.out_fd, "50 132\r\n");
        message(&s, SESSION_RESIZE, 0, 0); /* none */
        message(&s, SESSION_STDIN_END, 0, 0);
        join(f, "c1", &terminal, &t); /* without a size it stays */
        session_write(t.in_fd, "two\n");
        (void) session_await(s.out_fd, "got two\r\n");
        session_write(s.in_fd, "end\n");
        assert_int_equal(container_wait(f, "c1").exit_code, 5);
        (void) session_await(t.out_fd, "got end\r\n");
        free(session_text(s.out_fd));
        assert_over(&s);
        assert_over(&t);
}

/* Its client waits, and the supervisor goes on. */
static void what_a_terminal_does_not_take_waits(void **state)
{
        enum { MANY = 2000000 };
        struct fixture *f = *state;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        char line[64];
        memset(line, 'a', 63);
        line[63] = '\n';
        up(f, "c1", "stty -echo; echo up; exec sleep 1000", TERMINAL);
        join(f, "c1", &terminal, &s);
        log_await(f, "c1", "up\r\n");
        size_t sent = 0;
        struct pollfd room = { .fd = s.in_fd, .events = POLLOUT };
        while (sent < MANY && poll(&room, 1, 300) > 0) {
                ssize_t n = write(s.in_fd, line, 64);
                assert_int_equal(n, 64);
                sent += 64;
        }
        assert_true(sent > 4096 && sent < MANY); /* it stops to be taken */
        struct exec_result r = { 0 };
        assert_ok(exec_try(f, "c1", "echo lives", 0, &r));
        assert_string_equal(r.out, "lives\n");
        exec_result_done(&r);
        /* One that goes with all that in its pipe. */
        session_fds_close(&s);
        join(f, "c1", &terminal, &s);
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        (void) container_wait(f, "c1");
        assert_over(&s);
}

static void all_that_is_typed_arrives(void **state)
{
        enum { LINES = 4000, LINE_BYTES = 64 };
        struct fixture *f = *state;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        char line[LINE_BYTES + 1];
        memset(line, 'a', LINE_BYTES - 1);
        line[LINE_BYTES - 1] = '\n', line[LINE_BYTES] = '\0';
        up(f, "c1", "stty -echo; echo up; wc -c", TERMINAL);
        join(f, "c1", &terminal, &s);
        log_await(f, "c1", "up\r\n");
        for (int i = 0; i < LINES; i++)
                session_write(s.in_fd, line);
        session_write(s.in_fd, "\004");
        (void) session_await(s.out_fd, "256000\r\n");
        assert_int_equal(container_wait(f, "c1").exit_code, 0);
}

/* In clock ticks. */
static unsigned long cpu_of(pid_t pid)
{
        enum { BEFORE = 11 }; /* numbers behind the state: proc(5) */
        char *text = NULL;
        size_t len_bytes;
        _cleanup_(freep) char *path = format_string("/proc/%d/stat", pid);
        assert_ok(file_read(AT_FDCWD, path, 4096, &text, &len_bytes));
        const char *at = strrchr(text, ')') + 3;
        for (int i = 0; i < BEFORE; i++)
                at = strchr(at, ' ') + 1;
        char *end = NULL;
        unsigned long ticks = strtoul(at, &end, 10);
        ticks += strtoul(end, NULL, 10);
        free(text);
        return ticks;
}

static void a_terminal_that_is_closed_can_be_opened_again(void **state)
{
        struct fixture *f = *state;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        up(f, "c1",
           "echo one; exec </dev/null >/dev/null 2>&1; touch /tmp/closed; while [ ! -e /tmp/go ]; do sleep "
           "0.05; done;"
           "exec </dev/console >/dev/console 2>&1; echo two; read x; echo \"got $x\"; exit 6",
           TERMINAL);
        struct exec_result r = { 0 };
        assert_ok(exec_try(f, "c1", "while [ ! -e /tmp/closed ]; do sleep 0.05; done", 10000, &r));
        exec_result_done(&r);
        unsigned long before = cpu_of(runtime_pod_supervisor_pid(f->pod));
        const struct wait nap = wait_of_ms(1000);
        error_ignore(wait_delay(&nap, 500, "would it spin"));
        assert_true(cpu_of(runtime_pod_supervisor_pid(f->pod)) - before < 10);
        join(f, "c1", &terminal, &s);
        assert_ok(exec_try(f, "c1", "touch /tmp/go", 0, &r));
        exec_result_done(&r);
        (void) session_await(s.out_fd, "two\r\n");
        session_write(s.in_fd, "x\n");
        (void) session_await(s.out_fd, "got x\r\n");
        assert_int_equal(container_wait(f, "c1").exit_code, 6);
        _cleanup_(freep) char *log = log_of(f, "c1");
        assert_string_equal(log, "stdout F one\r\nstdout F two\r\nstdout F x\r\nstdout F got x\r\n");
}

/* As an init in a container does to its console. */
static void a_terminal_that_is_hung_up_can_be_opened_again(void **state)
{
        struct fixture *f = *state;
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1",
                        "trap '' HUP; echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done;"
                        "exec </dev/console >/dev/console 2>&1; echo two; exit 6");
        spec->tty = true;
        pod_up(f, own_network);
        pid_t pid = container_up(f, spec);
        log_await(f, "c1", "one\r\n");
        _cleanup_(freep) char *path = format_string("/proc/%d/fd/0", pid);
        _cleanup_(closep) int slave_fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_int_equal(ioctl(slave_fd, TIOCVHANGUP), 0);
        closep(&slave_fd);
        struct exec_result r = { 0 };
        assert_ok(exec_try(f, "c1", "touch /tmp/go", 0, &r));
        exec_result_done(&r);
        assert_int_equal(container_wait(f, "c1").exit_code, 6);
        _cleanup_(freep) char *log = log_of(f, "c1");
        assert_string_equal(log, "stdout F one\r\nstdout F two\r\n");
}

static void a_terminal_outlives_its_daemon(void **state)
{
        struct fixture *f = *state;
        bool lives = false;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE, t = SESSION_FDS_NONE;
        up(f, "c1", "while read x; do echo \"got $x\"; done", TERMINAL);
        join(f, "c1", &terminal, &s);
        runtime_pod_free(TAKE(f->pod));
        session_write(s.in_fd, "one\n"); /* nothing of it lives in the daemon */
        (void) session_await(s.out_fd, "got one\r\n");
        assert_ok(runtime_pod_attach(f->runtime, "pod", f->dir_fd, &f->wait, &f->pod));
        assert_ok(runtime_pod_await(f->pod, &f->wait, &lives));
        join(f, "c1", &terminal, &t);
        session_write(t.in_fd, "two\n");
        (void) session_await(t.out_fd, "got two\r\n");
        (void) session_await(s.out_fd, "got two\r\n");
        log_await(f, "c1", "got two\r\n");
}

static void a_console_is_made_in_the_container_alone(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        struct stat st;
        /* An image with a /dev of its own. */
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "echo here > /dev/console");
        free(spec->mounts[1].target);
        spec->mounts[1].target = dup_string("/data");
        spec->tty = true;
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        assert_string_equal(log, "stdout F here\r\n");
        assert_int_equal(fstatat(f->rootfs_dir_fd, "dev/console", &st, 0), 0);
        assert_true(S_ISREG(st.st_mode)); /* what was made to be mounted on */
        assert_int_equal(unlinkat(f->rootfs_dir_fd, "dev/console", 0), 0);
        /* One that leads elsewhere. */
        assert_int_equal(symlinkat("../etc/console", f->rootfs_dir_fd, "dev/console"), 0);
        assert_fails(ERROR_FAILED_PRECONDITION, "/dev/console", container_try(f, spec));
        assert_int_equal(fstatat(f->rootfs_dir_fd, "etc/console", &st, AT_SYMLINK_NOFOLLOW), -1);
}

static void an_older_supervisor_gives_no_terminal(void **state)
{
#ifdef SKIFF_FAULTS
        struct fixture *f = *state;
        const struct protocol_range before = { .oldest = 2, .newest = 3 }, ours = protocol_range();
        struct session_fds s;
        protocol_pretend(&before); /* the supervisor pretends so too */
        up(f, "c1", "exec sleep 1000", STDIN);
        protocol_pretend(&ours);
        assert_fails(ERROR_FAILED_PRECONDITION, "made anew",
                     runtime_attach_open(f->pod, "c1", &all, &f->wait, &s));
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c2", "true");
        spec->tty = true;
        assert_fails(ERROR_FAILED_PRECONDITION, "made anew", container_try(f, spec));
#else
        (void) state;
        skip();
#endif
}

UNIT_MAIN(WITH_POD(a_client_sees_what_is_written_from_now_on),
          WITH_POD(what_it_wrote_last_comes_before_the_end),
          WITH_POD(a_client_that_goes_leaves_the_container_alone),
          WITH_POD(stdin_that_is_open_once_closes_behind_its_client),
          WITH_POD(who_does_not_read_loses_and_nobody_else),
          WITH_POD(a_container_without_a_log_has_clients_too),
          WITH_POD(clients_have_a_bound_and_leave_nothing), WITH_POD(a_terminal_is_logged_as_it_shows),
          WITH_POD(all_that_a_terminal_was_shown_is_logged), WITH_POD(a_client_types_sees_and_resizes),
          WITH_POD(what_a_terminal_does_not_take_waits), WITH_POD(all_that_is_typed_arrives),
          WITH_POD(a_terminal_that_is_closed_can_be_opened_again),
          WITH_POD(a_terminal_that_is_hung_up_can_be_opened_again), WITH_POD(a_terminal_outlives_its_daemon),
          WITH_POD(a_console_is_made_in_the_container_alone), WITH_POD(an_older_supervisor_gives_no_terminal))
