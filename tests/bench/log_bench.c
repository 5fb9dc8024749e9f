/* log_bench - how many lines of a container's output skiff-pod logs for a second of its CPU, and how fast. As root. We write
 * into the container's stdout ourselves, by /proc/PID/fd/1, as fast as it takes it. Usage: log_bench [lines] */
#include "base/clock.h"
#include "tests/unit/runtime_fixture.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static int64_t cpu_ns_of(pid_t pid)
{
        char path[64], text[128] = "";
        (void) snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        return strtoll(text, NULL, 10);
}

/* How often it has read anything. */
static unsigned long reads_of(pid_t pid)
{
        char path[64], text[512] = "";
        (void) snprintf(path, sizeof(path), "/proc/%d/io", pid);
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        return strtoul(strstr(text, "syscr:") + 6, NULL, 10);
}

static off_t log_bytes(const struct fixture *f)
{
        struct stat st;
        assert_int_equal(fstatat(f->dir_fd, "c1", &st, 0), 0);
        return st.st_size;
}

/* Until the log has all of it. */
static void await_bytes(const struct fixture *f, off_t want_bytes)
{
        const struct wait wait = wait_of_ms(60000), *patience = &wait;
        while (log_bytes(f) < want_bytes)
                assert_ok(wait_delay(patience, 1, "wait for the log"));
}

/* pause_us: between two writes. */
static void bench(struct fixture *f, pid_t pid, size_t line_bytes, size_t lines_a_write, size_t n_lines,
                  unsigned pause_us)
{
        enum { PREFIX_BYTES = 39 };
        char path[64];
        (void) snprintf(path, sizeof(path), "/proc/%d/fd/1", pid);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
        size_t block_bytes = line_bytes * lines_a_write;
        _cleanup_(freep) char *block = malloc(block_bytes);
        memset(block, 'x', block_bytes);
        for (size_t i = 0; i < lines_a_write; i++)
                block[(i + 1) * line_bytes - 1] = '\n';
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod);
        off_t before_bytes = log_bytes(f);
        unsigned long reads = reads_of(supervisor);
        int64_t before_ns = clock_monotonic_ns(), cpu_ns = cpu_ns_of(supervisor);
        for (size_t i = 0; i < n_lines; i += lines_a_write) {
                assert_int_equal(write(fd, block, block_bytes), block_bytes);
                if (pause_us)
                        usleep(pause_us);
        }
        await_bytes(f, before_bytes + (off_t) ((line_bytes + PREFIX_BYTES) * n_lines));
        int64_t took_ns = clock_monotonic_ns() - before_ns;
        cpu_ns = cpu_ns_of(supervisor) - cpu_ns;
        reads = reads_of(supervisor) - reads;
        printf("%4zu bytes a line, %5zu lines a write, pause %3u us: %9.0f lines/s, %7.0f ns CPU a line, "
               "%10.0f "
               "lines per CPU second, %6.0f bytes a read\n",
               line_bytes, lines_a_write, pause_us, (double) n_lines * 1e9 / (double) took_ns,
               (double) cpu_ns / (double) n_lines, (double) n_lines * 1e9 / (double) cpu_ns,
               (double) (n_lines * line_bytes) / (double) reads);
        _cleanup_(closep) int log_fd = openat(f->dir_fd, "c1", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(log_fd, 0), 0);
}

int main(int argc, char **argv)
{
        size_t lines = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
        void *state = NULL;
        if (fixture_make(&state) < 0 || lines < 1000)
                return 1;
        struct fixture *f = state;
        f->wait.deadline_ns = WAIT_FOREVER;
        pod_up(f, (struct pod_spec){ .hostname = "bench" });
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 10000");
        pid_t pid = container_up(f, spec);
        bench(f, pid, 11, 1, lines, 0);
        bench(f, pid, 101, 1, lines, 0);
        bench(f, pid, 11, 1000, lines * 3, 0);
        bench(f, pid, 101, 100, lines * 3, 0);
        bench(f, pid, 101, 1, lines / 50, 50);
        bench(f, pid, 101, 1, lines / 500, 1000);
        assert_ok(runtime_container_signal(f->pod, "c1", SIGKILL, &f->wait));
        (void) container_wait(f, "c1");
        return fixture_remove(&state);
}
