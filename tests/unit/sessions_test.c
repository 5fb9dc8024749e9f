/* Sessions on the real kernel, as root: an exec that is opened, with pipes and with a terminal, what its end and its client's
 * end do, and what a supervisor of an older build says. */
#include "base/clock.h"
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

static void up(struct fixture *f)
{
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        pod_up(f, own_network);
        container_up(f, spec);
}

/* How many processes live in the container, whose first one reaps none. */
static int living(struct fixture *f)
{
        _cleanup_(freep) char *text = session_run(f, "c1",
                                                  "for s in /proc/[0-9]*/stat; do read -r _ _ state _ < $s "
                                                  "&& [ $state != Z ] && echo; done; true",
                                                  &out_only, 0);
        return (int) strlen(text) - 1; /* the shell */
}

static void an_exec_has_its_streams_and_tells_its_end(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        assert_ok(session_exec(f, "c1", "read line; echo \"out $line\"; echo oops >&2; exit 7", &all, &s));
        assert_true(s.in_fd >= 0 && s.out_fd >= 0 && s.err_fd >= 0);
        assert_true(fcntl(s.in_fd, F_GETFL) & O_NONBLOCK && fcntl(s.out_fd, F_GETFL) & O_NONBLOCK &&
                    fcntl(s.err_fd, F_GETFL) & O_NONBLOCK && fcntl(s.channel_fd, F_GETFL) & O_NONBLOCK);
        session_write(s.in_fd, "one\n");
        assert_int_equal(session_exit_of(&s), 7);
        _cleanup_(freep) char *out = session_text(s.out_fd), *err = session_text(s.err_fd);
        assert_string_equal(out, "out one\n");
        assert_string_equal(err, "oops\n");
}

static void bytes_are_what_they_were(void **state)
{
        enum { TOTAL_BYTES = 5 << 20 };
        struct fixture *f = *state;
        up(f);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        _cleanup_(freep) char *sent = malloc(TOTAL_BYTES), *came = malloc(TOTAL_BYTES + 1);
        uint32_t x = 1;
        for (size_t i = 0; i < TOTAL_BYTES; i++)
                sent[i] = (char) ((x = x * 1664525 + 1013904223) >> 24);
        assert_ok(session_exec(f, "c1", "exec cat", &all, &s));
        assert_int_equal(session_pump(&s, sent, TOTAL_BYTES, came, TOTAL_BYTES + 1), TOTAL_BYTES);
        assert_memory_equal(sent, came, TOTAL_BYTES);
        assert_int_equal(session_exit_of(&s), 0);
}

static void the_last_byte_is_there_when_the_end_is_told(void **state)
{
        struct fixture *f = *state;
        up(f);
        for (int i = 0; i < 20; i++) {
                _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
                const struct session_streams *streams = i % 2 ? &terminal : &out_only;
                /* What it leaves in the background holds the pipe, and is no reason to wait. */
                assert_ok(
                        session_exec(f, "c1", "sleep 3 & printf 'a%.0s' $(seq 2000); printf Z", streams, &s));
                assert_int_equal(session_exit_of(&s), 0);
                _cleanup_(freep) char *text = session_text(s.out_fd);
                assert_int_equal(strlen(text), 2001);
                assert_int_equal(text[2000], 'Z');
        }
}

static void a_signal_is_told_as_shells_do(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE, t = SESSION_FDS_NONE;
        assert_ok(session_exec(f, "c1", "kill -TERM $$", &out_only, &s));
        assert_int_equal(session_exit_of(&s), 128 + SIGTERM);
        assert_ok(session_exec(f, "c1", "exec sleep 1000", &out_only, &t));
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        assert_int_equal(session_exit_of(&t), 128 + SIGKILL);
        (void) container_wait(f, "c1");
        session_fds_close(&t);
        assert_fails(ERROR_FAILED_PRECONDITION, "not running", session_exec(f, "c1", "true", &out_only, &t));
        assert_int_equal(t.channel_fd, -1);
}

static void what_cannot_start_is_an_error_with_its_words(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(container_spec_freep) struct container_spec *bad = spec_of(f, "c1", NULL);
        struct session_fds s = SESSION_FDS_NONE;
        spec_argv(bad, "nothing-of-that-name", NULL);
        for (int tty = 0; tty < 2; tty++) {
                const struct session_streams *streams = tty ? &terminal : &all;
                assert_fails(ERROR_FAILED_PRECONDITION, "executable file not found in $PATH",
                             runtime_exec_open(f->pod, "c1", &bad->process, NULL, streams, &f->wait, &s));
                assert_true(s.channel_fd == -1 && s.in_fd == -1 && s.out_fd == -1 && s.err_fd == -1);
        }
        assert_fails(ERROR_FAILED_PRECONDITION, "not running", session_exec(f, "c2", "true", &all, &s));
        assert_int_equal(living(f), 1);
}

static void streams_that_are_not_asked_for_are_null(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(freep) char *text = session_run(f, "c1",
                                                  "cat; echo lost >&2; readlink /proc/self/fd/0; readlink "
                                                  "/proc/self/fd/2; ls /proc/self/fd | wc -l",
                                                  &out_only, 0);
        assert_string_equal(text, "/dev/null\n/dev/null\n4\n"); /* and the one that ls reads */
}

/* --- terminals --- */

static void a_terminal_has_its_size_at_once(void **state)
{
        struct fixture *f = *state;
        struct session_streams sized = terminal;
        up(f);
        _cleanup_(freep) char *usual = session_run(f, "c1", "stty size", &terminal, 0);
        assert_string_equal(usual, "24 80\r\n");
        sized.rows = 33, sized.columns = 101;
        _cleanup_(freep) char *text =
                session_run(f, "c1", "stty size; tty; test -t 0 -a -t 1 -a -t 2 && echo is", &sized, 0);
        assert_string_equal(text, "33 101\r\n/dev/pts/0\r\nis\r\n");
}

static void a_terminal_is_the_containers_and_its_users(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        _cleanup_(container_spec_freep) struct container_spec *like =
                spec_of(f, "c1",
                        "stat -c '%u:%g %a' $(tty); echo to the tty > /dev/tty; ls -l /proc/self/fd "
                        "2>/dev/null | grep -c ptmx;"
                        "ls /dev/pts; ps -o pid,tty,args | grep -c pts");
        like->process.uid = 1000;
        like->process.gid = 1000;
        assert_ok(runtime_exec_open(f->pod, "c1", &like->process, NULL, &terminal, &f->wait, &s));
        assert_int_equal(session_exit_of(&s), 0);
        _cleanup_(freep) char *text = session_text(s.out_fd);
        print_message("%s", text);
        assert_non_null(strstr(text, "1000:5 620\r\n"));
        assert_non_null(strstr(text, "to the tty\r\n"));
        assert_non_null(strstr(text, "\r\n0\r\n")); /* no master */
}

static void a_resize_reaches_the_program(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        const struct winsize size = { .ws_row = 50, .ws_col = 132 };
        assert_ok(session_exec(f, "c1",
                               "trap 'stty size; exit 4' WINCH; echo up; while :; do sleep 0.05; done",
                               &terminal, &s));
        session_await(s.out_fd, "up\r\n");
        assert_int_equal(ioctl(s.out_fd, TIOCSWINSZ, &size), 0);
        session_await(s.out_fd, "50 132\r\n");
        assert_int_equal(session_exit_of(&s), 4);
}

static void keys_of_a_terminal_are_signals(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        assert_ok(session_exec(f, "c1", "trap 'echo int; exit 5' INT; echo up; while :; do sleep 0.05; done",
                               &terminal, &s));
        session_await(s.out_fd, "up\r\n");
        session_write(s.in_fd, "\003");
        session_await(s.out_fd, "int\r\n");
        assert_int_equal(session_exit_of(&s), 5);
}

static void what_stands_for_the_terminals_is_not_opened(void **state)
{
        struct fixture *f = *state;
        struct session_fds s = SESSION_FDS_NONE;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        free(spec->mounts[2].target); /* its devpts */
        spec->mounts[2].target = dup_string("/dev/elsewhere");
        container_up(f, spec);
        assert_fails(ERROR_FAILED_PRECONDITION, "terminal", session_exec(f, "c1", "true", &terminal, &s));
        free(session_run(f, "c1", "mkdir /dev/pts && ln -s ../elsewhere/ptmx /dev/pts/ptmx", &out_only, 0));
        assert_fails(ERROR_FAILED_PRECONDITION, "terminal", session_exec(f, "c1", "true", &terminal, &s));
        free(session_run(f, "c1", "rm /dev/pts/ptmx && mknod /dev/pts/ptmx c 5 2", &out_only, 0));
        assert_fails(ERROR_FAILED_PRECONDITION, "No such device",
                     session_exec(f, "c1", "true", &terminal, &s));
}

/* --- a client that goes --- */

static size_t directories_in(int dir_fd)
{
        size_t n = 0;
        const struct dirent *entry;
        _cleanup_(closedirp) DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        assert_non_null(dir);
        while ((entry = readdir(dir)))
                n += entry->d_type == DT_DIR && entry->d_name[0] != '.';
        return n;
}

/* Until the container's cgroup holds no exec's any more; how long that took. */
static int64_t await_no_exec(struct fixture *f)
{
        struct wait wait = wait_of_ms(10000);
        _cleanup_(freep) char *path = format_string("%s/c1", f->parent);
        _cleanup_(closep) int tree_fd = -1;
        int64_t began_ns = clock_monotonic_ns();
        assert_ok(cgroup_tree_open(f->cgroups, path, &tree_fd));
        while (directories_in(tree_fd))
                assert_ok(wait_delay(&wait, 10, "wait until the exec's cgroup has gone"));
        return (clock_monotonic_ns() - began_ns) / 1000000;
}

static void a_client_that_goes_hangs_up(void **state)
{
        struct fixture *f = *state;
        up(f);
        for (int tty = 0; tty < 2; tty++) {
                struct session_fds s = SESSION_FDS_NONE;
                assert_ok(session_exec(
                        f, "c1",
                        "trap 'echo hup > /tmp/hup; exit 1' HUP; echo up; while :; do sleep 0.05; done",
                        tty ? &terminal : &all, &s));
                session_await(s.out_fd, tty ? "up\r\n" : "up\n");
                session_fds_close(&s);
                assert_true(await_no_exec(f) < SESSION_GRACE_MS);
                _cleanup_(freep) char *text = session_run(f, "c1", "cat /tmp/hup; rm /tmp/hup", &out_only, 0);
                assert_string_equal(text, "hup\n");
        }
}

static void a_tree_that_ignores_it_is_killed_after_the_grace(void **state)
{
        struct fixture *f = *state;
        up(f);
        static const char *const scripts[] = {
                "trap '' HUP; (setsid sh -c 'sleep 1000 & exec sleep 1000' &); echo up; while :; do sleep 1; "
                "done",
                /* Its first process goes, and the rest stays. */
                "(trap '' HUP; setsid sleep 1000 &); echo up; exec sleep 1000",
        };
        for (size_t i = 0; i < LENGTH(scripts); i++) {
                struct session_fds s = SESSION_FDS_NONE;
                assert_ok(session_exec(f, "c1", scripts[i], &all, &s));
                session_await(s.out_fd, "up\n");
                session_fds_close(&s);
                int64_t took_ms = await_no_exec(f);
                assert_true(took_ms > SESSION_GRACE_MS - 100 && took_ms < SESSION_GRACE_MS + 3000);
        }
        assert_int_equal(living(f), 1);
}

static void what_an_exec_leaves_behind_lives_on(void **state)
{
        struct fixture *f = *state;
        up(f);
        free(session_run(f, "c1", "sleep 1000 >/dev/null 2>&1 &", &out_only, 0));
        struct wait nap = wait_of_ms(SESSION_GRACE_MS + 500);
        error_ignore(wait_delay(&nap, SESSION_GRACE_MS + 300, "longer than a grace"));
        assert_int_equal(living(f), 2);
}

/* --- what must not be --- */

static void an_exec_does_not_heed_what_its_channel_says(void **state)
{
        struct fixture *f = *state;
        up(f);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        assert_ok(session_exec(f, "c1", "read x; exit 3", &all, &s));
        for (uint32_t kind = 0; kind < 12; kind++) {
                const struct session_message message = { .kind = kind, .first = 80, .second = 4 };
                struct error *e = session_send(s.channel_fd, &message, kind % 2 ? s.out_fd : -1);
                if (kind % 2 == 0) /* a descriptor is not taken, by newer kernels not even carried */
                        assert_ok(e);
                error_free(e);
        }
        session_write(s.in_fd, "\n");
        assert_int_equal(session_exit_of(&s), 3);
        /* What is no message is the end of the client. */
        session_fds_close(&s);
        assert_ok(session_exec(f, "c1", "exec sleep 1000", &all, &s));
        assert_int_equal(send(s.channel_fd, "rubbish", 7, 0), 7);
        assert_true(await_no_exec(f) < SESSION_GRACE_MS);
}

static struct error *open_and_leave(struct fixture *f, int kind)
{
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        if (kind < 2)
                return session_exec(f, "c1", "exec sleep 1000", kind ? &terminal : &all, &s);
        if (kind == 2)
                return runtime_attach_open(f->pod, "c1", &all, &f->wait, &s);
        return runtime_forward_open(f->pod, &f->wait, &s);
}

static void every_failure_on_the_way_leaves_nothing(void **state)
{
        struct fixture *f = *state;
        up(f);
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod);
        assert_ok(open_and_leave(f, 3)); /* what it needs once it has then */
        (void) await_no_exec(f);
        free(session_run(f, "c1", "true", &out_only, 0));
        struct wait nap = wait_of_ms(1000);
        error_ignore(wait_delay(&nap, 200, "settle"));
        size_t before = fds_of(supervisor), ours = fds_of(getpid());
        for (int kind = 0; kind < 4; kind++) {
                for (unsigned nth = 1, hit = 1; hit && nth < 200; nth++) {
                        error_inject(nth);
                        error_free(open_and_leave(f, kind));
                        hit = error_inject_hit() != 0;
                        error_inject(0);
                        (void) await_no_exec(f);
                        free(session_run(f, "c1", "true", &out_only,
                                         0)); /* behind it in the supervisor's loop */
                        assert_fds_settle(supervisor, before);
                        assert_int_equal(fds_of(getpid()), ours);
                }
        }
        assert_int_equal(living(f), 1);
}

/* With so little time some are not begun, some are cut off on the way, some run. */
static void a_cancelled_opening_leaves_nothing(void **state)
{
        struct fixture *f = *state;
        up(f);
        free(session_run(f, "c1", "true", &out_only, 0));
        size_t before = fds_of(runtime_pod_supervisor_pid(f->pod)), ours = fds_of(getpid());
        for (int us = 0; us < 3000; us += 100) {
                f->wait = (struct wait){ .deadline_ns = clock_monotonic_ns() + us * 1000, .cancel_fd = -1 };
                error_free(open_and_leave(f, us / 100 % 2));
                f->wait = wait_of_ms(60000);
                (void) await_no_exec(f);
        }
        assert_fds_settle(runtime_pod_supervisor_pid(f->pod), before);
        assert_int_equal(fds_of(getpid()), ours);
        assert_int_equal(living(f), 1);
}

static void an_older_supervisor_knows_none(void **state)
{
#ifdef SKIFF_FAULTS
        struct fixture *f = *state;
        const struct protocol_range before = { .oldest = 2, .newest = 3 }, ours = protocol_range();
        struct session_fds s = SESSION_FDS_NONE;
        protocol_pretend(&before); /* the supervisor pretends so too */
        up(f);
        protocol_pretend(&ours);
        assert_fails(ERROR_FAILED_PRECONDITION, "made anew", session_exec(f, "c1", "true", &all, &s));
        assert_fails(ERROR_FAILED_PRECONDITION, "made anew", runtime_forward_open(f->pod, &f->wait, &s));
        assert_int_equal(s.channel_fd, -1);
        struct exec_result r = { 0 };
        assert_ok(exec_try(f, "c1", "echo on", 0, &r));
        assert_string_equal(r.out, "on\n");
        exec_result_done(&r);
#else
        (void) state;
        skip();
#endif
}

UNIT_MAIN(WITH_POD(an_exec_has_its_streams_and_tells_its_end), WITH_POD(bytes_are_what_they_were),
          WITH_POD(the_last_byte_is_there_when_the_end_is_told), WITH_POD(a_signal_is_told_as_shells_do),
          WITH_POD(what_cannot_start_is_an_error_with_its_words),
          WITH_POD(streams_that_are_not_asked_for_are_null), WITH_POD(a_terminal_has_its_size_at_once),
          WITH_POD(a_terminal_is_the_containers_and_its_users), WITH_POD(a_resize_reaches_the_program),
          WITH_POD(keys_of_a_terminal_are_signals), WITH_POD(what_stands_for_the_terminals_is_not_opened),
          WITH_POD(a_client_that_goes_hangs_up), WITH_POD(a_tree_that_ignores_it_is_killed_after_the_grace),
          WITH_POD(what_an_exec_leaves_behind_lives_on),
          WITH_POD(an_exec_does_not_heed_what_its_channel_says),
          WITH_POD(every_failure_on_the_way_leaves_nothing), WITH_POD(a_cancelled_opening_leaves_nothing),
          WITH_POD(an_older_supervisor_knows_none))
