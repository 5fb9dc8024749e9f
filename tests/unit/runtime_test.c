/* skiff-pod and its client on the real kernel, as root: containers in every pid mode, logs, exits, execs, limits, what a
 * container sees, what happens when either side dies, and that nothing is left over. */
#include "base/budget.h"
#include "base/clock.h"
#include "runtime/capabilities.h"
#include "runtime/native/protocol.h"
#include "runtime/seccomp.h"
#include "tests/unit/runtime_fixture.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct pod_spec own_network = { .hostname = "skiff-pod-test" };

static void a_container_runs_logs_and_exits(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        pod_up(f, own_network);
        assert_true(runtime_pod_keeper_alive(f->pod));
        assert_true(runtime_pod_netns(f->pod) >= 0);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "echo hello; hostname; echo oops >&2; exit 7");
        struct runtime_exit exit = container_run(f, spec, &log);
        assert_int_equal(exit.exit_code, 7);
        assert_int_equal(exit.signal, 0);
        assert_false(exit.oom_killed);
        assert_non_null(strstr(log, "stdout F hello\n"));
        assert_non_null(strstr(log, "stdout F skiff-pod-test\n"));
        assert_non_null(strstr(log, "stderr F oops\n"));
        struct runtime_exit *exits = NULL;
        size_t n = 0;
        assert_ok(runtime_exits_read(f->dir_fd, &exits, &n));
        assert_int_equal(n, 1);
        assert_string_equal(exits[0].container_id, "c1");
        assert_int_equal(exits[0].exit_code, 7);
        free(exits);
}

static void a_container_sees_what_it_should(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(
                f, "c1",
                "echo pid $$; grep -E '^(Cap|NoNew|Seccomp:|Groups)' /proc/self/status | tr -s '\\t ' ' ';"
                "wc -c < /proc/kcore; ls -A /sys/firmware | wc -l; echo x > /proc/sys/kernel/hostname;"
                "ls -l /dev/null | cut -c1-10; readlink /dev/fd; ls /dev/shm /dev/mqueue /dev/pts >/dev/null "
                "&& echo devs;"
                "C=/sys/fs/cgroup; [ -d $C/pids ] && C=$C/pids; mkdir $C/x; grep -q . $C/cgroup.procs && "
                "echo pidscg;"
                "ulimit -n; id -u; pwd; ls -l /proc/self/fd | grep -c -E ' [3-9] ->'; mount | grep -c "
                "skiff-runtime;"
                "ls -d /proc/[0-9]* | wc -l");
        spec->process.no_new_privs = true;
        spec->process.groups = NEW_ARRAY(uint32_t, 2);
        spec->process.groups[0] = 5, spec->process.groups[1] = 1234;
        spec->process.n_groups = 2;
        free(spec->process.cwd);
        spec->process.cwd = dup_string("/made/for/it");
        struct runtime_exit exit = container_run(f, spec, &log);
        assert_int_equal(exit.exit_code, 0);
        print_message("%s", log);
        assert_non_null(strstr(log, "F pid 1\n"));
        assert_non_null(strstr(log, "CapInh: 0000000000000000\n"));
        assert_non_null(strstr(log, "CapEff: 00000000a80425fb\n"));
        assert_non_null(strstr(log, "CapBnd: 00000000a80425fb\n"));
        assert_non_null(strstr(log, "NoNewPrivs: 1\n"));
        assert_non_null(strstr(log, "Groups: 5 1234"));
        assert_non_null(strstr(log, "hostname: Read-only file system"));
        assert_non_null(strstr(log, "F crw-rw-rw-\n"));
        assert_non_null(strstr(log, "F /proc/self/fd\n"));
        assert_non_null(strstr(log, "F devs\n"));
        assert_non_null(strstr(log, "F pidscg\n"));
        assert_non_null(strstr(log, "x': Read-only file system"));
        assert_non_null(strstr(log, "F 1024\n"));
        assert_non_null(strstr(log, "F /made/for/it\n"));
}

static void pid_modes_share_what_they_say(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *shared = NULL, *target = NULL;
        pod_up(f, (struct pod_spec){ .hostname = "p", .share_pid = true });
        _cleanup_(container_spec_freep) struct container_spec *own = spec_of(f, "c1", "exec sleep 1000");
        container_up(f, own);
        _cleanup_(container_spec_freep) struct container_spec *pod =
                spec_of(f, "c2",
                        "echo me $$; cat /proc/1/comm; ls -l /proc/1/root 2>&1 | grep -c -i denied; "
                        "(setsid sleep 1000 &) ; exit 3");
        pod->pid_mode = PID_MODE_POD;
        assert_int_equal(container_run(f, pod, &shared).exit_code, 3);
        assert_null(strstr(shared, "me 1\n"));
        assert_non_null(strstr(shared, "F skiff-infra\n"));
        assert_non_null(strstr(shared, "F 1\n"));
        _cleanup_(container_spec_freep) struct container_spec *same =
                spec_of(f, "c3", "cat /proc/1/cmdline | tr '\\0' ' '; echo; echo me $$");
        same->pid_mode = PID_MODE_TARGET;
        same->pid_target = dup_string("c1");
        assert_int_equal(container_run(f, same, &target).exit_code, 0);
        assert_non_null(strstr(target, "sleep 1000"));
        assert_null(strstr(target, "me 1\n"));
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        struct runtime_exit exit = container_wait(f, "c1");
        assert_int_equal(exit.exit_code, 137);
        assert_int_equal(exit.signal, SIGKILL);
}

static void a_pod_on_the_hosts_namespaces_ends_too(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        pod_up(f, (struct pod_spec){ .host_network = true, .host_ipc = true, .host_pid = true });
        assert_int_equal(runtime_pod_netns(f->pod), -1);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; hostname");
        spec->pid_mode = PID_MODE_NODE;
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        char net[64] = "", pid[64] = "";
        assert_true(readlink("/proc/self/ns/net", net, sizeof(net) - 1) > 0);
        assert_true(readlink("/proc/self/ns/pid", pid, sizeof(pid) - 1) > 0);
        assert_non_null(strstr(log, net));
        assert_non_null(strstr(log, pid));
        _cleanup_(container_spec_freep) struct container_spec *stays =
                spec_of(f, "c2", "setsid sleep 1000 & exec sleep 1000");
        stays->pid_mode = PID_MODE_NODE;
        container_up(f, stays);
}

static void failures_are_told_as_users_know_them(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "true");
        spec_argv(spec, "no-such-program", NULL);
        assert_fails(ERROR_FAILED_PRECONDITION,
                     "exec: \"no-such-program\": executable file not found in $PATH", container_try(f, spec));
        spec_argv(spec, "/no/such", NULL);
        assert_fails(ERROR_FAILED_PRECONDITION,
                     "exec: \"/no/such\": stat /no/such: no such file or directory", container_try(f, spec));
        spec_argv(spec, "/etc", NULL);
        assert_fails(ERROR_FAILED_PRECONDITION, "exec: \"/etc\": permission denied", container_try(f, spec));
        spec_argv(spec, "true", NULL);
        free(spec->process.cwd);
        spec->process.cwd = dup_string("/bin/busybox/x");
        assert_fails(ERROR_FAILED_PRECONDITION,
                     "chdir to cwd (\"/bin/busybox/x\") set in config.json failed: not a directory",
                     container_try(f, spec));
        free(spec->process.cwd);
        spec->process.cwd = dup_string("/proc/self/fd/3");
        assert_fails(ERROR_FAILED_PRECONDITION, "cwd", container_try(f, spec));
        free(spec->process.cwd);
        spec->process.cwd = dup_string("/");
        assert_int_equal(container_run(f, spec, NULL).exit_code, 0);
}

static void output_without_newline_comes_within_a_second(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1",
                        "printf prompt; sleep 1.5; echo ' done'; head -c 40000 /dev/zero | tr '\\0' x; echo; "
                        "printf end");
        container_up(f, spec);
        struct wait nap = wait_of_ms(1200);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "", wait_fd(&nap, runtime_pod_event_fd(f->pod), 0x001, "nap"));
        _cleanup_(freep) char *early = log_of(f, "c1");
        assert_string_equal(early, "stdout P prompt\n");
        assert_int_equal(container_wait(f, "c1").exit_code, 0);
        _cleanup_(freep) char *late = log_of(f, "c1");
        assert_non_null(strstr(late, "stdout P prompt\nstdout F  done\nstdout P xxx"));
        assert_non_null(strstr(late, "stdout P end\n"));
        size_t xs = 0;
        for (const char *at = late; *at; at++)
                xs += *at == 'x';
        assert_int_equal(xs, 40000);
}

static void a_reopened_log_loses_no_line(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
        container_up(f, spec);
        _cleanup_(closep) int second =
                openat(f->dir_fd, "second", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        assert_ok(runtime_container_reopen_log(f->pod, "c1", second, &f->wait));
        assert_int_equal(container_wait(f, "c1").exit_code, 0);
        _cleanup_(freep) char *one = log_of(f, "c1"), *two = log_of(f, "second");
        _cleanup_(freep) char *both = format_string("%s%s", one, two);
        const char *at = both;
        for (int i = 0; i < 3000; i++) {
                char want[40];
                int n = snprintf(want, sizeof(want), "stdout F line %d\n", i);
                assert_memory_equal(at, want, (size_t) n);
                at += n;
        }
        assert_string_equal(at, "");
}

static void an_exec_gives_outputs_and_code(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        container_up(f, spec);
        assert_ok(exec_try(f, "c1", "echo out; echo err >&2; echo $$; hostname; exit 5", 0, &r));
        assert_int_equal(r.exit_code, 5);
        assert_non_null(strstr(r.out, "out\n"));
        assert_non_null(strstr(r.out, "skiff-pod-test\n"));
        assert_string_equal(r.err, "err\n");
        exec_result_done(&r);
        assert_ok(exec_try(f, "c1", "head -c 3000000 /dev/zero; echo still here >&2", 0, &r));
        assert_true(r.truncated);
        assert_in_range(r.out_bytes + r.err_bytes, (1 << 20) - 128, 1 << 20);
        assert_non_null(strstr(r.err, "the output is cut: one exec's is at most 1048576 bytes\n"));
        exec_result_done(&r);
        _cleanup_(container_spec_freep) struct container_spec *wrong = spec_of(f, "c1", "x");
        spec_argv(wrong, "nothing-here", NULL);
        assert_ok(runtime_exec_sync(f->pod, "c1", &wrong->process, NULL, 0, 1000, NULL, &f->wait, &r));
        assert_int_equal(r.exit_code, 127);
        assert_non_null(strstr(r.err, "executable file not found in $PATH"));
        exec_result_done(&r);
        assert_fails(ERROR_FAILED_PRECONDITION, "not running", exec_try(f, "c2", "true", 0, &r));
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        (void) container_wait(f, "c1");
        assert_fails(ERROR_FAILED_PRECONDITION, "not running", exec_try(f, "c1", "true", 0, &r));
}

static size_t sleepers(struct fixture *f, const char *id)
{
        struct exec_result r = { 0 };
        assert_ok(exec_try(f, id, "ps | grep -c 'sleep 77[7]'", 0, &r));
        size_t n = strtoul(r.out, NULL, 10);
        exec_result_done(&r);
        return n;
}

/* With a timeout and without one, whether it writes on or not; what was written until then is all there. */
static void an_exec_answers_at_its_end_whoever_holds_its_pipes(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        const int64_t timeouts_ms[] = { 0, 20000 };
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        container_up(f, spec);
        for (size_t i = 0; i < LENGTH(timeouts_ms); i++) {
                int64_t before = clock_monotonic_ns();
                assert_ok(exec_try(f, "c1",
                                   "sleep 777 & while echo y; do :; done & head -c 60000 /dev/zero; echo end "
                                   ">&2; exit 3",
                                   timeouts_ms[i], &r));
                assert_true(clock_monotonic_ns() - before < 3000000000);
                assert_int_equal(r.exit_code, 3);
                assert_true(r.out_bytes >= 60000);
                assert_non_null(strstr(r.err, "end\n"));
                exec_result_done(&r);
                assert_true(sleepers(f, "c1") >=
                            i + 1); /* and the shell that writes, until it meets the closed pipe */
        }
}

/* Both get what is their own, and no more than there is together. */
static void execs_together_have_a_bound(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        struct budget pot;
        struct share first, second;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000"),
                                                              *like = spec_of(f, "c1",
                                                                              "head -c 100000 /dev/zero");
        container_up(f, spec);
        budget_init(&pot, 120000);
        share_init(&first, &pot, 5000);
        share_init(&second, &pot, 5000);
        assert_ok(runtime_exec_sync(f->pod, "c1", &like->process, NULL, 0, 1 << 20, &first, &f->wait, &r));
        assert_false(r.truncated);
        exec_result_done(&r);
        assert_ok(runtime_exec_sync(f->pod, "c1", &like->process, NULL, 0, 1 << 20, &second, &f->wait, &r));
        assert_true(r.truncated);
        assert_int_equal(r.out_bytes, 30000);
        assert_string_equal(r.err, "skiff: the output is cut: all execs together hold too much\n");
        exec_result_done(&r);
        share_done(&first);
        share_done(&second);
}

static void a_timed_out_exec_is_killed_with_all_that_it_made(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        container_up(f, spec);
        int64_t before = clock_monotonic_ns();
        assert_fails(ERROR_DEADLINE_EXCEEDED, "timed out",
                     exec_try(f, "c1", "(setsid sh -c '(sleep 777 &) ; sleep 777' &); sleep 777 & sleep 777",
                              300, &r));
        assert_true(clock_monotonic_ns() - before < 3000000000);
        assert_int_equal(sleepers(f, "c1"), 0);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "timed out",
                     exec_try(f, "c1", "setsid sleep 777 & sleep 777", 200, &r));
        assert_int_equal(sleepers(f, "c1"), 0);
        /* What a finished command leaves in the background without holding the pipes stays. */
        assert_ok(exec_try(f, "c1", "setsid sleep 777 >/dev/null 2>&1 </dev/null &", 5000, &r));
        exec_result_done(&r);
        assert_int_equal(sleepers(f, "c1"), 1);
        /* Cancelled by the caller's own deadline. */
        f->wait = wait_of_ms(200);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "", exec_try(f, "c1", "setsid sleep 777 & sleep 777", 0, &r));
        f->wait = wait_of_ms(60000);
        struct wait nap = wait_of_ms(300);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "", wait_fd(&nap, runtime_pod_event_fd(f->pod), 0x001, "nap"));
        assert_int_equal(sleepers(f, "c1"), 1);
}

static void out_of_memory_is_seen(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        /* The main process takes no memory meanwhile: the kernel kills again where the first victim is slow to go. */
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1",
                        "(echo 1000 > /proc/self/oom_score_adj; sleep 0.1; exec tail -c 100m /dev/zero) & "
                        "exec sleep 1000");
        spec->limits.memory_limit_bytes = 16 << 20;
        spec->limits.memory_swap_limit_bytes = 16 << 20;
        container_up(f, spec);
        struct runtime_event event = event_wait(f, RUNTIME_EVENT_OOM);
        assert_string_equal(event.exit.container_id, "c1");
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        struct runtime_exit exit = container_wait(f, "c1");
        assert_int_equal(exit.exit_code, 137);
        assert_true(exit.oom_killed);
        _cleanup_(container_spec_freep) struct container_spec *whole =
                spec_of(f, "c2", "exec tail -c 100m /dev/zero");
        whole->limits.memory_limit_bytes = 16 << 20;
        exit = container_run(f, whole, NULL);
        assert_int_equal(exit.exit_code, 137);
        assert_true(exit.oom_killed);
}

static void a_pod_goes_on_without_its_daemon(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        const struct runtime_container *running = NULL;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1",
                                                                              "sleep 0.3; echo late; exit 4"),
                                                              *stays = spec_of(f, "c2", "exec sleep 1000");
        container_up(f, spec);
        container_up(f, stays);
        runtime_pod_free(TAKE(f->pod)); /* as its death would close everything */
        struct wait nap = wait_of_ms(800);
        error_ignore(wait_delay(&nap, 700, "nap"));
        bool lives = false;
        assert_ok(runtime_pod_attach(f->runtime, "pod", f->dir_fd, &f->wait, &f->pod));
        assert_non_null(f->pod);
        assert_ok(runtime_pod_await(f->pod, &f->wait, &lives));
        assert_true(lives && runtime_pod_is_known(f->pod));
        assert_true(runtime_pod_keeper_alive(f->pod));
        assert_true(runtime_pod_netns(f->pod) >= 0);
        assert_int_equal(runtime_pod_running(f->pod, &running), 1);
        assert_string_equal(running[0].id, "c2");
        assert_true(running[0].pid > 0 && running[0].started_wall_ns > 0);
        _cleanup_(freep) char *log = log_of(f, "c1");
        assert_string_equal(log, "stdout F late\n");
        struct runtime_exit *exits = NULL;
        size_t n = 0;
        assert_ok(runtime_exits_read(f->dir_fd, &exits, &n));
        assert_int_equal(n, 1);
        assert_int_equal(exits[0].exit_code, 4);
        free(exits);
        assert_ok(exec_try(f, "c2", "echo again", 0, &r));
        assert_string_equal(r.out, "again\n");
        exec_result_done(&r);
}

static void everything_dies_with_the_supervisor(void **state)
{
        struct fixture *f = *state;
        pod_up(f, (struct pod_spec){ .hostname = "p", .share_pid = true });
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "setsid sleep 1000 & exec sleep 1000");
        container_up(f, spec);
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod), infra = runtime_pod_keeper_pid(f->pod);
        assert_true(supervisor > 0 && infra > 0 && infra != supervisor);
        assert_int_equal(kill(supervisor, SIGKILL), 0);
        struct wait wait = wait_of_ms(5000);
        struct runtime_event event = { 0 };
        bool got = false;
        while (!got) {
                assert_ok(wait_fd(&wait, runtime_pod_event_fd(f->pod), 0x001, "the end"));
                assert_ok(runtime_pod_next_event(f->pod, &event, &got));
        }
        assert_int_equal(event.kind, RUNTIME_EVENT_LOST);
        assert_ok(runtime_pod_stop(f->pod, &f->wait));
        assert_int_equal(kill(infra, 0), -1);
        _cleanup_(freep) char *path = format_string("%s/c1", f->parent);
        struct wait little = wait_of_ms(2000);
        assert_ok(cgroup_remove(f->cgroups, path, &little)); /* so nothing is in it */
        struct runtime_pod *none = NULL;
        assert_ok(runtime_pod_attach(f->runtime, "pod", f->dir_fd, &f->wait, &none));
        assert_null(none);
}

/* It is known by its pidfd, and tells the rest when it can; or it is killed as it is. */
static void a_frozen_supervisor_answers_late_and_can_be_killed(void **state)
{
        struct fixture *f = *state;
        bool lives = false;
        const struct runtime_container *running = NULL;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        container_up(f, spec);
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod);
        for (int round = 0; round < 2; round++) {
                runtime_pod_free(TAKE(f->pod));
                assert_int_equal(kill(supervisor, SIGSTOP), 0);
                assert_ok(runtime_pod_attach(f->runtime, "pod", f->dir_fd, &f->wait, &f->pod));
                struct wait soon = wait_of_ms(50);
                assert_fails(ERROR_DEADLINE_EXCEEDED, "supervisor", runtime_pod_await(f->pod, &soon, &lives));
                assert_true(lives && runtime_pod_keeper_alive(f->pod) && !runtime_pod_is_known(f->pod));
                assert_int_equal(runtime_pod_supervisor_pid(f->pod), supervisor);
                assert_non_null(strstr(runtime_pod_notice(f->pod), "not answered"));
                if (round == 1)
                        break;
                assert_int_equal(kill(supervisor, SIGCONT), 0);
                (void) event_wait(f, RUNTIME_EVENT_ATTACHED);
                assert_true(runtime_pod_is_known(f->pod));
                assert_int_equal(runtime_pod_running(f->pod, &running), 1);
        }
        assert_ok(runtime_pod_stop(f->pod, &f->wait));
        (void) event_wait(f, RUNTIME_EVENT_LOST);
}

/* It is cut off, not the pod: what it missed is in the exits file, and asked again it is told the rest. */
static void a_reader_of_events_that_lags_is_cut_off_and_asks_again(void **state)
{
        struct fixture *f = *state;
        bool lives = false;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *stays = spec_of(f, "c3", "exec sleep 1000"),
                                                              *short_lived = spec_of(f, "c1", "exit 3");
        container_up(f, stays);
        int n_started = 0;
        /* Nobody reads: some hundreds of events are kept, then the supervisor finds it full. */
        struct pollfd ended = { .fd = runtime_pod_event_fd(f->pod), .events = 0 };
        while (poll(&ended, 1, 0) == 0 && n_started++ < 2000) {
                container_up(f, short_lived);
                struct stat st = { .st_size = 0 };
                while (st.st_size < (off_t) sizeof(struct runtime_exit) * n_started)
                        assert_int_equal(fstatat(f->dir_fd, "exits", &st, 0), 0);
        }
        assert_true(ended.revents & POLLHUP);
        (void) event_wait(f, RUNTIME_EVENT_DISCONNECTED);
        assert_ok(runtime_pod_reattach(f->pod, &f->wait, &lives));
        assert_true(lives);
        (void) event_wait(f, RUNTIME_EVENT_ATTACHED);
        const struct runtime_container *running = NULL;
        assert_true(runtime_pod_running(f->pod, &running) >= 1);
        struct runtime_exit *exits = NULL;
        size_t n = 0;
        assert_ok(runtime_exits_read(f->dir_fd, &exits, &n));
        assert_true(n > 0);
        free(exits);
        _cleanup_(container_spec_freep) struct container_spec *last = spec_of(f, "c2", "exit 9");
        container_up(f, last);
        assert_int_equal(container_wait(f, "c2").exit_code, 9);
}

static void the_end_of_infra_is_told(void **state)
{
        struct fixture *f = *state;
        pod_up(f, (struct pod_spec){ .hostname = "p", .share_pid = true });
        assert_int_not_equal(runtime_pod_keeper_pid(f->pod), runtime_pod_supervisor_pid(f->pod));
        assert_int_equal(kill(runtime_pod_keeper_pid(f->pod), SIGKILL), 0);
        (void) event_wait(f, RUNTIME_EVENT_INFRA_EXIT);
        assert_false(runtime_pod_keeper_alive(f->pod));
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "true");
        assert_fails(ERROR_FAILED_PRECONDITION, "infra", container_try(f, spec));
}

static void a_supervisor_without_commit_is_an_orphan_that_ends(void **state)
{
        struct fixture *f = *state;
        struct pod_spec spec = { .id = "pod", .dir_fd = f->dir_fd, .hostname = "p" };
        assert_ok(runtime_pod_start(f->runtime, &spec, &f->wait, &f->pod));
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod);
        assert_int_equal(runtime_pod_keeper_pid(f->pod), supervisor);
        runtime_pod_free(TAKE(f->pod));
        for (int i = 0; i < 200 && kill(supervisor, 0) == 0; i++) {
                struct wait nap = wait_of_ms(100);
                error_ignore(wait_delay(&nap, 10, "nap"));
                (void) waitpid(supervisor, NULL, WNOHANG); /* a child of ours, as of skiffd's */
        }
        assert_int_equal(kill(supervisor, 0), -1);
}

static void sysctls_are_set_in_the_pod(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL;
        const struct sysctl sysctls[] = { { "net.ipv4.ip_unprivileged_port_start", "79" },
                                          { "kernel.shm_rmid_forced", "1" } };
        pod_up(f, (struct pod_spec){
                          .hostname = "p", .sysctls = sysctls, .n_sysctls = 2, .shm_size_bytes = 1 << 20 });
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(
                f, "c1", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; df -k /dev/shm | tail -1");
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        assert_non_null(strstr(log, "F 79\n"));
        assert_non_null(strstr(log, "1024"));
}

static void seccomp_holds_in_the_container_and_its_execs(void **state)
{
        struct fixture *f = *state;
        _cleanup_(seccomp_cache_freep) struct seccomp_cache *cache = NULL;
        const struct seccomp_program *program = NULL;
        struct exec_result r = { 0 };
        assert_ok(seccomp_cache_open(&cache));
        assert_ok(seccomp_default(cache, capabilities_default(), &program));
        pod_up(f, own_network);
        for (int no_new_privs = 0; no_new_privs < 2; no_new_privs++) {
                _cleanup_(freep) char *log = NULL;
                const char *id = no_new_privs ? "c1" : "c2";
                _cleanup_(container_spec_freep) struct container_spec *spec =
                        spec_of(f, id,
                                "grep -E '^(Seccomp|Uid|CapEff|CapBnd)' /proc/self/status | tr -s '\\t ' ' ';"
                                "unshare -U true || echo refused");
                spec->seccomp = program;
                spec->process.no_new_privs = no_new_privs;
                spec->process.uid = 1000;
                spec->process.gid = 1000;
                assert_int_equal(container_run(f, spec, &log).exit_code, 0);
                assert_non_null(strstr(log, "Seccomp: 2\n"));
                assert_non_null(strstr(log, "Uid: 1000 1000 1000 1000\n"));
                assert_non_null(strstr(log, "CapEff: 0000000000000000\n"));
                assert_non_null(strstr(log, "F refused\n"));
        }
        _cleanup_(container_spec_freep) struct container_spec *stays = spec_of(f, "c3", "exec sleep 1000");
        container_up(f, stays);
        _cleanup_(container_spec_freep) struct container_spec *like =
                spec_of(f, "c3", "grep ^Seccomp: /proc/self/status");
        assert_ok(runtime_exec_sync(f->pod, "c3", &like->process, program, 5000, 1000, NULL, &f->wait, &r));
        assert_non_null(strstr(r.out, "2"));
        exec_result_done(&r);
}

static void the_supervisor_leaks_nothing(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        pod_up(f, own_network);
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod);
        size_t before = fds_at_rest(supervisor);
        for (int i = 0; i < 10; i++) {
                _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1",
                                                                                      "exec sleep 1000"),
                                                                      *bad = spec_of(f, "c2", "true");
                container_up(f, spec);
                spec_argv(bad, "nothing", NULL);
                assert_fails(ERROR_FAILED_PRECONDITION, "not found", container_try(f, bad));
                assert_ok(exec_try(f, "c1", "true", 0, &r));
                exec_result_done(&r);
                assert_fails(ERROR_DEADLINE_EXCEEDED, "timed out", exec_try(f, "c1", "sleep 100", 20, &r));
                if (i == 0) /* it takes as long as an end may take */
                        assert_fails(ERROR_FAILED_PRECONDITION, "running already", container_try(f, spec));
                assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
                assert_int_equal(container_wait(f, "c1").exit_code, 137);
        }
        assert_fds_settle(supervisor, before);
}

static void a_cancelled_start_leaves_nothing(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        size_t before = fds_at_rest(runtime_pod_supervisor_pid(f->pod));
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        for (int us = 0; us < 2000; us += 100) {
                f->wait = (struct wait){ .deadline_ns = clock_monotonic_ns() + us * 1000, .cancel_fd = -1 };
                struct error *e = container_try(f, spec);
                f->wait = wait_of_ms(60000);
                if (!e) {
                        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
                        (void) container_wait(f, "c1");
                }
                error_free(e);
                _cleanup_(freep) char *path = format_string("%s/c1", f->parent);
                assert_ok(cgroup_remove(f->cgroups, path, &f->wait)); /* empty soon, by itself */
        }
        assert_fds_settle(runtime_pod_supervisor_pid(f->pod), before);
        spec_argv(spec, "true", NULL);
        assert_int_equal(container_run(f, spec, NULL).exit_code, 0);
}

static void *exec_many(void *argument)
{
        struct fixture *f = argument;
        for (int i = 0; i < 25; i++) {
                struct exec_result r = { 0 };
                struct error *e = exec_try(f, "c1", "echo ok", 20000, &r);
                bool good = !e && r.exit_code == 0 && strcmp(r.out, "ok\n") == 0;
                error_free(e);
                exec_result_done(&r);
                if (!good)
                        return argument;
        }
        return NULL;
}

static void execs_run_side_by_side(void **state)
{
        struct fixture *f = *state;
        pthread_t threads[8];
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        container_up(f, spec);
        for (size_t i = 0; i < LENGTH(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, exec_many, f), 0);
        for (size_t i = 0; i < LENGTH(threads); i++) {
                void *failed = f;
                assert_int_equal(pthread_join(threads[i], &failed), 0);
                assert_null(failed);
        }
}

static void volumes_see_later_mounts_as_asked(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        _cleanup_(freep) char *path = format_string("%s/volume", f->dir),
                              *below = format_string("%s/volume/sub", f->dir);
        assert_int_equal(mkdir(path, 0755), 0);
        /* Shared, as a node's / is: in a mount of its own, since this machine's need not be. */
        assert_int_equal(mount("tmpfs", path, "tmpfs", 0, NULL), 0);
        assert_int_equal(mount(NULL, path, NULL, MS_SHARED, NULL), 0);
        assert_int_equal(mkdir(below, 0755), 0);
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        static const char *const targets[] = { "/private", "/slave", "/shared" };
        for (size_t i = 0; i < LENGTH(targets); i++) {
                spec->mounts = grow_array(spec->mounts, spec->n_mounts + 1, sizeof(*spec->mounts));
                spec->mounts[spec->n_mounts++] =
                        (struct container_mount){ .kind = MOUNT_BIND,
                                                  .target = dup_string(targets[i]),
                                                  .host_path = dup_string(path),
                                                  .propagation = (enum mount_propagation) i,
                                                  .source_fd = -1 };
        }
        spec->process.capabilities.bounding = spec->process.capabilities.effective =
                spec->process.capabilities.permitted = capabilities_all();
        container_up(f, spec);
        assert_int_equal(mount("tmpfs", below, "tmpfs", 0, NULL), 0);
        _cleanup_(freep) char *file = format_string("%s/seen", below);
        _cleanup_(closep) int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        closep(&fd);
        assert_ok(exec_try(f, "c1", "ls -d /*/sub/seen", 5000, &r));
        assert_string_equal(r.out, "/shared/sub/seen\n/slave/sub/seen\n");
        exec_result_done(&r);
        assert_int_equal(umount(below), 0);
        assert_int_equal(umount2(path, MNT_DETACH), 0);
}

static struct error *start_and_end(struct fixture *f, const struct container_spec *spec)
{
        struct exec_result r = { 0 };
        TRY(container_try(f, spec));
        struct error *e = exec_try(f, "c1", "echo x", 5000, &r);
        if (!e)
                exec_result_done(&r);
        error_inject(0); /* what follows is the test's own */
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        (void) container_wait(f, "c1");
        return e;
}

static void every_failure_on_the_way_leaves_nothing(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod);
        size_t before = fds_at_rest(supervisor), ours = fds_of(getpid());
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        for (unsigned nth = 1, hit = 1; hit && nth < 400; nth++) {
                error_inject(nth);
                error_free(start_and_end(f, spec));
                hit = error_inject_hit() != 0;
                error_inject(0);
                assert_fds_settle(supervisor, before);
                assert_int_equal(fds_of(getpid()), ours);
                struct runtime_event event;
                bool got = true;
                while (got)
                        assert_ok(runtime_pod_next_event(f->pod, &event, &got));
        }
        pod_down(f);
        for (unsigned nth = 1, hit = 1; hit && nth < 200; nth++) {
                struct pod_spec pod = { .id = "pod", .dir_fd = f->dir_fd, .hostname = "p" };
                error_inject(nth);
                struct error *e = runtime_pod_start(f->runtime, &pod, &f->wait, &f->pod);
                hit = error_inject_hit() != 0;
                error_inject(0);
                if (!e)
                        pod_down(f);
                error_free(e);
        }
}

static void an_older_supervisor_knows_no_hooks(void **state)
{
#ifdef SKIFF_FAULTS
        struct fixture *f = *state;
        const struct protocol_range before = { .oldest = 2, .newest = PROTOCOL_HOOKS - 1 },
                                    ours = protocol_range();
        protocol_pretend(&before); /* the supervisor pretends so too */
        pod_up(f, (struct pod_spec){ .hostname = "p" });
        protocol_pretend(&ours);
        _cleanup_(container_spec_freep) struct container_spec *hooked = spec_of(f, "c1", "true"),
                                                              *fifo = spec_of(f, "c2", "true"),
                                                              *plain = spec_of(f, "c3", "echo plain");
        _cleanup_(freep) char *out = NULL;
        hooked->hooks = NEW(struct container_hook);
        hooked->n_hooks = 1;
        hooked->hooks[0] =
                (struct container_hook){ .stage = HOOK_POSTSTART, .path = dup_string("/bin/true") };
        assert_fails(ERROR_FAILED_PRECONDITION, "knows no hooks", container_try(f, hooked));
        fifo->devices = grow_array(fifo->devices, fifo->n_devices + 1, sizeof(*fifo->devices));
        fifo->devices[fifo->n_devices++] =
                (struct container_device){ .path = dup_string("/dev/f"), .type = 'p' };
        assert_fails(ERROR_FAILED_PRECONDITION, "no fifos", container_try(f, fifo));
        assert_int_equal(container_run(f, plain, &out).exit_code, 0);
        assert_string_equal(out, "stdout F plain\n");
        pod_down(f);
#else
        (void) state;
        skip();
#endif
}

UNIT_MAIN(WITH_POD(an_older_supervisor_knows_no_hooks), WITH_POD(a_container_runs_logs_and_exits),
          WITH_POD(a_container_sees_what_it_should), WITH_POD(pid_modes_share_what_they_say),
          WITH_POD(a_pod_on_the_hosts_namespaces_ends_too), WITH_POD(failures_are_told_as_users_know_them),
          WITH_POD(output_without_newline_comes_within_a_second), WITH_POD(a_reopened_log_loses_no_line),
          WITH_POD(an_exec_gives_outputs_and_code),
          WITH_POD(an_exec_answers_at_its_end_whoever_holds_its_pipes), WITH_POD(execs_together_have_a_bound),
          WITH_POD(a_timed_out_exec_is_killed_with_all_that_it_made), WITH_POD(out_of_memory_is_seen),
          WITH_POD(a_pod_goes_on_without_its_daemon),
          WITH_POD(a_frozen_supervisor_answers_late_and_can_be_killed),
          WITH_POD(a_reader_of_events_that_lags_is_cut_off_and_asks_again),
          WITH_POD(everything_dies_with_the_supervisor), WITH_POD(the_end_of_infra_is_told),
          WITH_POD(a_supervisor_without_commit_is_an_orphan_that_ends), WITH_POD(sysctls_are_set_in_the_pod),
          WITH_POD(seccomp_holds_in_the_container_and_its_execs), WITH_POD(the_supervisor_leaks_nothing),
          WITH_POD(a_cancelled_start_leaves_nothing), WITH_POD(execs_run_side_by_side),
          WITH_POD(volumes_see_later_mounts_as_asked), WITH_POD(every_failure_on_the_way_leaves_nothing))
