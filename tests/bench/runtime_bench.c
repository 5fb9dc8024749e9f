/* runtime_bench - what a pod, a container start and an exec cost, end to end from the client, on the real kernel; and the
 * memory of skiff-pod. As root. Usage: runtime_bench [rounds] */
#include "base/clock.h"
#include "runtime/seccomp.h"
#include "tests/unit/runtime_fixture.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static int by_value(const void *a, const void *b)
{
        int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
        return (x > y) - (x < y);
}

static void report(const char *what, int64_t *took_ns, size_t n)
{
        qsort(took_ns, n, sizeof(*took_ns), by_value);
        printf("%-34s p50 %6.2f  p90 %6.2f  p99 %6.2f ms\n", what, (double) took_ns[n / 2] / 1e6,
               (double) took_ns[n * 9 / 10] / 1e6, (double) took_ns[n * 99 / 100] / 1e6);
}

static uint64_t pss_kb(pid_t pid)
{
        char path[64], line[128];
        unsigned long long kb = 0;
        (void) snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
        _cleanup_(fclosep) FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof(line), file))
                if (sscanf(line, "Pss: %llu kB", &kb) == 1)
                        break;
        return kb;
}

static void bench_pods(struct fixture *f, size_t rounds, bool host_network)
{
        int64_t *took = NEW_ARRAY(int64_t, rounds);
        for (size_t i = 0; i < rounds; i++) {
                int64_t before = clock_monotonic_ns();
                pod_up(f, (struct pod_spec){ .hostname = host_network ? NULL : "bench",
                                             .host_network = host_network });
                took[i] = clock_monotonic_ns() - before;
                pod_down(f);
        }
        report(host_network ? "pod, host network (with cgroup)" : "pod, own network (with cgroup)", took,
               rounds);
        free(took);
}

static void bench_starts(struct fixture *f, size_t rounds, const struct seccomp_program *seccomp,
                         const char *what)
{
        int64_t *took = NEW_ARRAY(int64_t, rounds), *whole = NEW_ARRAY(int64_t, rounds);
        for (size_t i = 0; i < rounds; i++) {
                _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", NULL);
                spec_argv(spec, "/bin/busybox", "true", NULL);
                spec->seccomp = seccomp;
                assert_ok(cgroup_make(f->cgroups, spec->cgroup_path, CGROUP_CONTAINER, NULL));
                int64_t before = clock_monotonic_ns();
                container_up(f, spec);
                took[i] = clock_monotonic_ns() - before;
                (void) container_wait(f, "c1");
                whole[i] = clock_monotonic_ns() - before;
        }
        report(what, took, rounds);
        report("  to its exit told", whole, rounds);
        free(took);
        free(whole);
}

static void bench_execs(struct fixture *f, size_t rounds, const struct seccomp_program *seccomp,
                        const char *what)
{
        int64_t *took = NEW_ARRAY(int64_t, rounds);
        _cleanup_(container_spec_freep) struct container_spec *like = spec_of(f, "c1", NULL);
        spec_argv(like, "/bin/busybox", "true", NULL);
        for (size_t i = 0; i < rounds; i++) {
                struct exec_result r = { 0 };
                int64_t before = clock_monotonic_ns();
                assert_ok(runtime_exec_sync(f->pod, "c1", &like->process, seccomp, 0, 65536, NULL, &f->wait,
                                            &r));
                took[i] = clock_monotonic_ns() - before;
                assert_int_equal(r.exit_code, 0);
                exec_result_done(&r);
        }
        report(what, took, rounds);
        free(took);
}

/* Ten at once, as a node has them: the program's text is shared by all. */
static void bench_memory(struct fixture *f)
{
        enum { PODS = 10 };
        struct runtime_pod *pods[PODS] = { NULL };
        uint64_t supervisors_kb = 0;
        for (int i = 0; i < PODS; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "pod%d", i);
                assert_int_equal(mkdirat(f->dir_fd, name, 0700), 0);
                _cleanup_(closep) int dir_fd = openat(f->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                struct pod_spec spec = { .id = name, .dir_fd = dir_fd, .hostname = name };
                assert_ok(runtime_pod_start(f->runtime, &spec, &f->wait, &pods[i]));
        }
        for (int i = 0; i < PODS; i++)
                supervisors_kb += pss_kb(runtime_pod_supervisor_pid(pods[i]));
        printf("PSS a pod, ten running: skiff-pod %.1f kB\n", (double) supervisors_kb / PODS);
        for (int i = 0; i < PODS; i++) {
                assert_ok(runtime_pod_stop(pods[i], &f->wait));
                runtime_pod_free(pods[i]);
        }
}

int main(int argc, char **argv)
{
        size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 200;
        void *state = NULL;
        struct seccomp_cache *cache = NULL;
        const struct seccomp_program *seccomp = NULL;
        if (fixture_make(&state) < 0 || rounds < 2)
                return 1;
        struct fixture *f = state;
        assert_ok(seccomp_cache_open(&cache));
        int64_t before = clock_monotonic_ns();
        assert_ok(seccomp_default(cache, 0xa80425fb, &seccomp));
        printf("%-34s %.2f ms, %zu instructions\n", "default seccomp profile compiled",
               (double) (clock_monotonic_ns() - before) / 1e6, seccomp->len_bytes / 8);
        f->wait.deadline_ns = WAIT_FOREVER;
        bench_memory(f);
        bench_pods(f, rounds, true);
        bench_pods(f, rounds, false);
        pod_up(f, (struct pod_spec){ .hostname = "bench" });
        bench_starts(f, rounds, NULL, "container start");
        bench_starts(f, rounds, seccomp, "container start, seccomp");
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 10000");
        container_up(f, spec);
        bench_execs(f, rounds, NULL, "exec true");
        bench_execs(f, rounds, seccomp, "exec true, seccomp");
        printf("PSS of one pod after that: skiff-pod %llu kB\n",
               (unsigned long long) pss_kb(runtime_pod_supervisor_pid(f->pod)));
        if (argc > 2) {
                char command[64];
                (void) snprintf(command, sizeof(command), "cat /proc/%d/smaps",
                                runtime_pod_supervisor_pid(f->pod));
                (void) !system(command);
        }
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        (void) container_wait(f, "c1");
        seccomp_cache_free(cache);
        return fixture_remove(&state);
}
