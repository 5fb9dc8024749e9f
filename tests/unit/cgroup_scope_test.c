/* Scopes, as root under systemd on cgroup v2 (tests/vm/lane.sh systemd); elsewhere it is skipped. */
#include "base/file.h"
#include "base/process.h"
#include "runtime/cgroup/cgroup_internal.h"
#include "runtime/cgroup/systemd_bus.h"
#include "tests/unit/unit.h"
#include <pthread.h>
#include <signal.h>

#define WAIT_MS 60000
#define STARTS 12

struct place {
        struct cgroups *cgroups;
        char *notes;
};

static struct place place_open(const char *dir)
{
        struct place p = { .notes = format_string("%s/notes", dir) };
        assert_ok(cgroups_open("/sys/fs/cgroup", p.notes, &p.cgroups));
        assert_non_null(p.cgroups);
        assert_ok(cgroups_choose(p.cgroups, "auto"));
        assert_true(cgroups_by_systemd(p.cgroups));
        return p;
}

static void place_done(struct place *p)
{
        cgroups_free(p->cgroups);
        free(p->notes);
}

/* The parents that are noted in the file. */
static bool has_notes(const struct place *p)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes = 0;
        assert_ok(file_read(AT_FDCWD, p->notes, 4096, &text, &len_bytes));
        return len_bytes > 0;
}

static bool is_there(const char *path)
{
        _cleanup_(freep) char *full = format_string("/sys/fs/cgroup%s", path);
        return access(full, F_OK) == 0;
}

static struct process sleeper(void)
{
        static const char *const argv[] = { "sleep", "600", NULL };
        struct process_start start = process_start_init("/usr/bin/sleep", argv);
        struct process process = { .pid_fd = -1 };
        assert_ok(process_spawn(&start, &process));
        return process;
}

/* A program's exit code; what it says is thrown away. */
static int run(const char *const *argv)
{
        struct process_start start = process_start_init(argv[0], argv);
        struct process process = { .pid_fd = -1 };
        struct wait wait = wait_of_ms(WAIT_MS);
        int status = -1;
        assert_ok(process_spawn(&start, &process));
        assert_ok(process_wait(&process, &wait, &status));
        return status;
}

struct pod {
        char id[ID_LEN + 1], *home, *path, *unit;
        struct process process;
};

static void pod_begin(struct pod *pod, const char *slice)
{
        id_make(pod->id);
        pod->home = cgroup_home(slice, pod->id);
        pod->path = format_string("%s/%s", pod->home, pod->id);
        pod->unit = format_string("skiff-%s.scope", pod->id);
        pod->process = sleeper();
}

static void pod_end(struct pod *pod)
{
        process_kill(&pod->process);
        free(pod->home);
        free(pod->path);
        free(pod->unit);
}

static void a_scope_is_made_used_and_removed(void **dir)
{
        _cleanup_(place_done) struct place p = place_open(*dir);
        struct pod pod;
        struct wait wait = wait_of_ms(WAIT_MS);
        _cleanup_(free_stringsp) char **scopes = NULL;
        pod_begin(&pod, "skiffunit-a.slice");
        _cleanup_(freep) char *container = format_string("%s/container", pod.home);
        const struct cgroup_limits limits = { .memory_limit_bytes = 64 << 20, .pids_limit = 33 };
        assert_ok(cgroup_make(p.cgroups, pod.path, CGROUP_SANDBOX, NULL));
        assert_false(is_there("/skiffunit.slice"));
        assert_fails(ERROR_FAILED_PRECONDITION, "the pod's scope is gone",
                     cgroup_make(p.cgroups, container, CGROUP_CONTAINER, &limits));
        assert_ok(cgroup_adopt(p.cgroups, pod.path, pod.process.pid, 2048, &wait));
        assert_true(is_there(pod.path));
        assert_ok(cgroup_make(p.cgroups, container, CGROUP_CONTAINER, &limits));
        assert_true(is_there(container));
        assert_ok(cgroup_scopes(p.cgroups, &scopes));
        assert_string_equal(scopes[0], pod.path);
        assert_null(scopes[1]);
        assert_ok(cgroup_remove(p.cgroups, container, &wait));
        assert_true(is_there(pod.path));
        assert_ok(cgroup_remove(p.cgroups, pod.path, &wait));
        assert_false(is_there("/skiffunit.slice"));
        assert_ok(cgroup_remove(p.cgroups, pod.path, &wait)); /* again */
        assert_false(has_notes(&p));
        pod_end(&pod);
}

static void a_process_that_has_ended_gets_no_scope(void **dir)
{
        _cleanup_(place_done) struct place p = place_open(*dir);
        struct pod pod;
        struct wait wait = wait_of_ms(WAIT_MS);
        pod_begin(&pod, "skiffunit-b.slice");
        pid_t pid = pod.process.pid;
        process_kill(&pod.process);
        assert_fails(ERROR_FAILED_PRECONDITION, "does not exist",
                     cgroup_adopt(p.cgroups, pod.path, pid, 0, &wait));
        assert_ok(cgroup_remove(p.cgroups, pod.path, &wait));
        assert_false(is_there("/skiffunit.slice"));
        assert_false(has_notes(&p));
        pod_end(&pod);
}

static void a_failed_unit_gives_its_name_back_and_a_live_one_keeps_it(void **dir)
{
        _cleanup_(place_done) struct place p = place_open(*dir);
        struct pod pod;
        struct wait wait = wait_of_ms(WAIT_MS);
        pod_begin(&pod, "skiffunit-c.slice");
        _cleanup_(freep) char *unit = format_string("--unit=%s", pod.unit);
        const char script[] = "exec systemd-run -q --scope -p TimeoutStopSec=1 \"$0\" sh -c 'trap \"\" TERM; "
                              "while :; do sleep 1; done' & "
                              "until systemctl -q is-active \"${0#--unit=}\"; do sleep 0.2; done; sleep 2";
        const char *const hold[] = { "/bin/sh", "-c", script, unit, NULL };
        const char *const stop[] = { "/usr/bin/systemctl", "stop", pod.unit, NULL };
        const char *const failed[] = { "/usr/bin/systemctl", "is-failed", pod.unit, NULL };
        assert_int_equal(run(hold), 0);
        assert_fails(ERROR_FAILED_PRECONDITION, "already",
                     cgroup_adopt(p.cgroups, pod.path, pod.process.pid, 0, &wait));
        (void) run(stop);
        assert_int_equal(run(failed), 0);
        assert_ok(cgroup_adopt(p.cgroups, pod.path, pod.process.pid, 0, &wait));
        assert_ok(cgroup_remove(p.cgroups, pod.path, &wait));
        assert_false(is_there("/skiffunit.slice"));
        pod_end(&pod);
}

struct start {
        struct place *place;
        struct pod pod;
        pthread_t thread;
};

static void *start_and_remove(void *context)
{
        struct start *s = context;
        struct wait wait = wait_of_ms(WAIT_MS);
        for (int i = 0; i < 3; i++) {
                pod_begin(&s->pod, "skiffunit-d-e.slice");
                assert_ok(cgroup_adopt(s->place->cgroups, s->pod.path, s->pod.process.pid, 0, &wait));
                assert_true(is_there(s->pod.path));
                assert_ok(cgroup_remove(s->place->cgroups, s->pod.path, &wait));
                pod_end(&s->pod);
        }
        return NULL;
}

/* The slice is stopped with the last scope in it and started with the next, all the time. */
static void many_come_and_go_at_once_in_one_slice(void **dir)
{
        _cleanup_(place_done) struct place p = place_open(*dir);
        struct start starts[STARTS] = { { .place = NULL } };
        for (size_t i = 0; i < STARTS; i++) {
                starts[i].place = &p;
                assert_int_equal(pthread_create(&starts[i].thread, NULL, start_and_remove, &starts[i]), 0);
        }
        for (size_t i = 0; i < STARTS; i++)
                (void) pthread_join(starts[i].thread, NULL);
        assert_false(is_there("/skiffunit.slice"));
        assert_false(has_notes(&p));
}

static void a_cancelled_wait_ends_at_once(void **dir)
{
        _cleanup_(place_done) struct place p = place_open(*dir);
        struct pod pod;
        struct wait wait = wait_of_ms(0), later = wait_of_ms(WAIT_MS);
        pod_begin(&pod, "skiffunit-f.slice");
        assert_fails(ERROR_DEADLINE_EXCEEDED, "systemd",
                     cgroup_adopt(p.cgroups, pod.path, pod.process.pid, 0, &wait));
        assert_ok(cgroup_remove(p.cgroups, pod.path, &later));
        assert_false(is_there("/skiffunit.slice"));
        assert_false(has_notes(&p));
        pod_end(&pod);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                IN_TMPDIR(a_scope_is_made_used_and_removed),
                IN_TMPDIR(a_process_that_has_ended_gets_no_scope),
                IN_TMPDIR(a_failed_unit_gives_its_name_back_and_a_live_one_keeps_it),
                IN_TMPDIR(many_come_and_go_at_once_in_one_slice),
                IN_TMPDIR(a_cancelled_wait_ends_at_once),
        };
        if (!systemd_is_pid_1() || access("/sys/fs/cgroup/cgroup.controllers", F_OK) < 0) {
                (void) fprintf(stderr, "cgroup_scope_test needs systemd and cgroup v2: skipped\n");
                return 77;
        }
        return unit_main(__FILE__, tests, LENGTH(tests), argc, argv);
}
