/* runtime_fixture.h - a pod on the real kernel, as root, for the tests of runtime: own directory, own cgroups below
 * /skiff-test-PID, a root filesystem made of busybox. Everything is gone after each test, and that is checked. */
#pragma once
#include "runtime/handler.h"
#include "tests/unit/unit.h"

struct fixture {
        char *dir;
        int dir_fd, rootfs_dir_fd; /* STATE/pods/ID; the busybox tree */
        struct cgroups *cgroups;
        struct runtime *runtime;
        struct runtime_pod *pod;
        struct wait wait;
        size_t fds_before;
        char parent[64]; /* "/skiff-test-PID" */
};

int fixture_make(void **state);
int fixture_remove(void **state); /* fails when something is left over */
#define WITH_POD(f) cmocka_unit_test_setup_teardown(f, fixture_make, fixture_remove)

/* Starts and commits a pod as spec says (id and dir_fd are filled in). */
void pod_up(struct fixture *f, struct pod_spec spec);
void pod_down(struct fixture *f);

/* A spec as pods would make it: proc, /dev, devpts, sysfs, mqueue, shm, cgroup, default capabilities; runs sh -c script. */
struct container_spec *spec_of(struct fixture *f, const char *id, const char *script);
void spec_argv(struct container_spec *spec, ...) __attribute__((sentinel));

/* Makes its cgroup, opens its log, starts it. */
struct error *container_try(struct fixture *f, const struct container_spec *spec);
pid_t container_up(struct fixture *f, const struct container_spec *spec);
void container_up_without_log(struct fixture *f, const struct container_spec *spec);

struct runtime_exit container_wait(struct fixture *f, const char *id);
struct runtime_event event_wait(struct fixture *f, enum runtime_event_kind kind);

/* Runs it to its end; the log without times is in *out (NULL: not wanted). */
struct runtime_exit container_run(struct fixture *f, const struct container_spec *spec, char **out);

/* The log's lines without their times, "stdout F text\n". */
char *log_of(struct fixture *f, const char *id);
char *log_raw(struct fixture *f, const char *id);

/* sh -c script in the container. */
struct error *exec_try(struct fixture *f, const char *id, const char *script, int64_t timeout_ms,
                       struct exec_result *out);

/* How many descriptors a process has (and a few more: for comparison), and a wait until it has as many: a supervisor closes a
 * connection when it sees its end, which may be a moment after we have closed ours. */
size_t fds_of(pid_t pid);
void assert_fds_settle(pid_t pid, size_t want);
