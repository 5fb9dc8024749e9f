#include "tests/unit/runtime_fixture.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mount.h"
#include "base/process.h"
#include "runtime/capabilities.h"
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/stat.h>

#define TEST_WAIT_MS 20000

static size_t count_fds(void)
{
        size_t n = 0;
        _cleanup_(closedirp) DIR *dir = opendir("/proc/self/fd");
        while (readdir(dir))
                n++;
        return n;
}

/* Of ours: others on this machine mount too. */
static size_t count_mounts(const char *dir)
{
        size_t n = 0, size_bytes = 0;
        _cleanup_(freep) char *line = NULL;
        _cleanup_(fclosep) FILE *file = fopen("/proc/self/mountinfo", "re");
        while (getline(&line, &size_bytes, file) > 0)
                n += strstr(line, dir) != NULL;
        return n;
}

static void run_program(const char *const *argv)
{
        struct process_start start = process_start_init(argv[0], argv);
        struct process process;
        struct wait wait = wait_of_ms(TEST_WAIT_MS);
        int status = -1;
        assert_ok(process_spawn(&start, &process));
        assert_ok(process_wait(&process, &wait, &status));
        assert_int_equal(status, 0);
}

static void rootfs_fill(struct fixture *f)
{
        static const char *const dirs[] = { "bin", "etc", "proc", "sys", "dev", "tmp", "data" };
        assert_ok(file_mkdirs(f->dir_fd, "root", 0755));
        f->rootfs_dir_fd = openat(f->dir_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (size_t i = 0; i < LENGTH(dirs); i++)
                assert_int_equal(mkdirat(f->rootfs_dir_fd, dirs[i], 0755), 0);
        assert_int_equal(symlinkat(".", f->rootfs_dir_fd, "usr"), 0); /* busybox links itself to /usr/bin */
        _cleanup_(freep) char *bin = format_string("%s/root/bin", f->dir);
        _cleanup_(freep) char *busybox = format_string("%s/busybox", bin);
        const char *const copy[] = { "/bin/busybox", "cp", "/bin/busybox", busybox, NULL };
        const char *const install[] = { "/bin/busybox", "--install", "-s", bin, NULL };
        run_program(copy);
        run_program(install);
}

int fixture_make(void **state)
{
        struct fixture *f = NEW(struct fixture);
        f->fds_before = count_fds();
        f->dir = dup_string("/tmp/skiff-runtime.XXXXXX");
        if (!mkdtemp(f->dir))
                return -1;
        f->wait = wait_of_ms(60000);
        f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void) snprintf(f->parent, sizeof(f->parent), "/skiff-test-%d", getpid());
        _cleanup_(freep) char *notes = format_string("%s/notes", f->dir);
        assert_ok(cgroups_open("/sys/fs/cgroup", notes, &f->cgroups));
        struct runtime_config config = { .program_dir = TEST_PROGRAM_DIR, .cgroups = f->cgroups };
        assert_ok(runtime_open(&config, &f->runtime));
        rootfs_fill(f);
        *state = f;
        return 0;
}

static void cgroups_gone(struct fixture *f)
{
        struct cgroup_stats stats;
        struct error *e = cgroup_stats(f->cgroups, f->parent, &stats);
        if (!e)
                fail_msg("cgroup %s is still there", f->parent);
        error_free(e);
}

int fixture_remove(void **state)
{
        struct fixture *f = *state;
        pod_down(f);
        cgroups_gone(f);
        runtime_free(f->runtime);
        cgroups_free(f->cgroups);
        closep(&f->rootfs_dir_fd);
        closep(&f->dir_fd);
        _cleanup_(closep) int tmp_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_ok(file_remove_tree(tmp_fd, strrchr(f->dir, '/') + 1));
        closep(&tmp_fd);
        assert_int_equal(count_fds(), f->fds_before);
        assert_int_equal(count_mounts(f->dir), 0);
        free(f->dir);
        free(f);
        return 0;
}

void pod_up(struct fixture *f, struct pod_spec spec)
{
        _cleanup_(freep) char *path = format_string("%s/pod", f->parent);
        spec.id = "pod";
        spec.dir_fd = f->dir_fd;
        spec.cgroup_path = path;
        assert_ok(cgroup_make(f->cgroups, path, CGROUP_SANDBOX, NULL));
        assert_ok(runtime_pod_start(f->runtime, &spec, &f->wait, &f->pod));
        assert_ok(runtime_pod_commit(f->pod, &f->wait));
}

/* All cgroups below the parent, as pods would remove those that it knows. */
static void cgroups_remove(struct fixture *f)
{
        static const char *const names[] = { "pod", "c1", "c2", "c3", "c4" };
        struct wait wait = wait_of_ms(TEST_WAIT_MS);
        for (size_t i = 0; i < LENGTH(names); i++) {
                _cleanup_(freep) char *path = format_string("%s/%s", f->parent, names[i]);
                assert_ok(cgroup_kill(f->cgroups, path));
                assert_ok(cgroup_remove(f->cgroups, path, &wait));
        }
}

void pod_down(struct fixture *f)
{
        struct wait wait = wait_of_ms(TEST_WAIT_MS);
        if (f->pod) {
                assert_ok(runtime_pod_stop(f->pod, &wait));
                runtime_pod_free(TAKE(f->pod));
        }
        cgroups_remove(f);
}

static struct container_mount *mount_add(struct container_spec *spec, enum mount_kind kind,
                                         const char *target)
{
        spec->mounts = grow_array(spec->mounts, spec->n_mounts + 1, sizeof(*spec->mounts));
        struct container_mount *m = &spec->mounts[spec->n_mounts++];
        *m = (struct container_mount){ .kind = kind, .target = dup_string(target), .source_fd = -1 };
        m->nosuid = m->noexec = m->nodev = true;
        return m;
}

static char **strings(const char *const *from, size_t n)
{
        char **to = NEW_ARRAY(char *, n + 1);
        for (size_t i = 0; i < n; i++)
                to[i] = dup_string(from[i]);
        return to;
}

struct container_spec *spec_of(struct fixture *f, const char *id, const char *script)
{
        static const char *const env[] = { "PATH=/usr/bin:/bin", "HOME=/root" };
        static const char *const masked[] = { "/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/no-such" };
        static const char *const readonly[] = { "/proc/sys", "/proc/irq", "/proc/bus" };
        const char *const argv[] = { "sh", "-c", script };
        struct container_spec *spec = container_spec_new();
        spec->id = dup_string(id);
        spec->process.argv = strings(argv, script ? 3 : 0);
        spec->process.env = strings(env, LENGTH(env));
        spec->process.cwd = dup_string("/");
        uint64_t caps = capabilities_default();
        spec->process.capabilities = (struct capability_sets){ caps, caps, caps, 0 };
        spec->cgroup_path = format_string("%s/%s", f->parent, id);
        (void) mount_add(spec, MOUNT_PROC, "/proc");
        struct container_mount *dev = mount_add(spec, MOUNT_TMPFS, "/dev");
        dev->data = dup_string("mode=755,size=65536k");
        dev->nodev = false;
        (void) mount_add(spec, MOUNT_DEVPTS, "/dev/pts");
        spec->mounts[spec->n_mounts - 1].nodev = false;
        (void) mount_add(spec, MOUNT_MQUEUE, "/dev/mqueue");
        (void) mount_add(spec, MOUNT_SHM, "/dev/shm");
        mount_add(spec, MOUNT_SYSFS, "/sys")->readonly = true;
        mount_add(spec, MOUNT_CGROUP, "/sys/fs/cgroup")->readonly = true;
        spec->masked_paths = strings(masked, LENGTH(masked));
        spec->readonly_paths = strings(readonly, LENGTH(readonly));
        spec->private_cgroup_namespace = true;
        return spec;
}

void spec_argv(struct container_spec *spec, ...)
{
        const char *argv[16];
        size_t n = 0;
        va_list args;
        va_start(args, spec);
        for (const char *arg; n < LENGTH(argv) && (arg = va_arg(args, const char *));)
                argv[n++] = arg;
        va_end(args);
        free_strings(spec->process.argv);
        spec->process.argv = strings(argv, n);
}

struct trying {
        const struct fixture *f;
        const struct container_spec *spec;
};

static struct error *rootfs_clone(void *context, int *out_fd)
{
        const struct trying *trying = context;
        return mount_clone(trying->f->rootfs_dir_fd, "", false, out_fd);
}

static struct error *log_open(void *context, int *out_fd)
{
        const struct trying *trying = context;
        const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
        *out_fd = openat(trying->f->dir_fd, trying->spec->id, flags, 0640);
        return *out_fd < 0 ? error_errno(errno, "open the log") : NULL;
}

static struct error *start(struct fixture *f, const struct container_spec *spec, bool is_logged, pid_t *pid)
{
        struct trying trying = { f, spec };
        TRY(cgroup_make(f->cgroups, spec->cgroup_path, CGROUP_CONTAINER, &spec->limits));
        TRY(cgroup_devices(f->cgroups, spec->cgroup_path, spec->device_rules, spec->n_device_rules,
                           spec->all_devices));
        struct runtime_start how = { .started_wall_ns = clock_wall_ns(),
                                     .rootfs = rootfs_clone,
                                     .log = is_logged ? log_open : NULL,
                                     .context = &trying,
                                     .log_line_max_bytes = 16384 };
        return runtime_container_start(f->pod, spec, &how, &f->wait, pid);
}

struct error *container_try(struct fixture *f, const struct container_spec *spec)
{
        pid_t pid = 0;
        return start(f, spec, true, &pid);
}

pid_t container_up(struct fixture *f, const struct container_spec *spec)
{
        pid_t pid = 0;
        assert_ok(start(f, spec, true, &pid));
        return pid;
}

void container_up_without_log(struct fixture *f, const struct container_spec *spec)
{
        pid_t pid = 0;
        assert_ok(start(f, spec, false, &pid));
}

struct runtime_event event_wait(struct fixture *f, enum runtime_event_kind kind)
{
        struct wait wait = wait_of_ms(TEST_WAIT_MS);
        for (;;) {
                struct runtime_event event;
                bool got;
                assert_ok(wait_fd(&wait, runtime_pod_event_fd(f->pod), POLLIN, "an event"));
                assert_ok(runtime_pod_next_event(f->pod, &event, &got));
                if (got && event.kind == kind)
                        return event;
                if (got)
                        print_message("event %d of %s: %d\n", (int) event.kind, event.exit.container_id,
                                      event.exit.exit_code);
                if (got && event.kind == RUNTIME_EVENT_LOST)
                        fail_msg("the supervisor is gone");
        }
}

struct runtime_exit container_wait(struct fixture *f, const char *id)
{
        for (;;) {
                struct runtime_event event = event_wait(f, RUNTIME_EVENT_EXIT);
                if (strcmp(event.exit.container_id, id) == 0)
                        return event.exit;
        }
}

char *log_raw(struct fixture *f, const char *id)
{
        char *text = NULL;
        size_t len_bytes;
        assert_ok(file_read(f->dir_fd, id, 64 << 20, &text, &len_bytes));
        return text;
}

char *log_of(struct fixture *f, const char *id)
{
        _cleanup_(freep) char *raw = log_raw(f, id);
        char *text = dup_string(raw), *to = text;
        for (const char *line = raw; *line;) {
                const char *end = strchr(line, '\n');
                size_t len_bytes = end ? (size_t) (end - line) + 1 : strlen(line);
                assert_true(len_bytes > CLOCK_TEXT_SIZE);
                memcpy(to, line + CLOCK_TEXT_SIZE, len_bytes - CLOCK_TEXT_SIZE);
                to += len_bytes - CLOCK_TEXT_SIZE;
                line += len_bytes;
        }
        *to = '\0';
        return text;
}

struct runtime_exit container_run(struct fixture *f, const struct container_spec *spec, char **out)
{
        container_up(f, spec);
        struct runtime_exit exit = container_wait(f, spec->id);
        if (out)
                *out = log_of(f, spec->id);
        return exit;
}

struct error *exec_try(struct fixture *f, const char *id, const char *script, int64_t timeout_ms,
                       struct exec_result *out)
{
        _cleanup_(container_spec_freep) struct container_spec *like = spec_of(f, id, script);
        return runtime_exec_sync(f->pod, id, &like->process, NULL, timeout_ms, 1 << 20, NULL, &f->wait, out);
}

size_t fds_of(pid_t pid)
{
        size_t n = 0;
        _cleanup_(freep) char *path = format_string("/proc/%d/fd", pid);
        _cleanup_(closedirp) DIR *dir = opendir(path);
        while (dir && readdir(dir))
                n++;
        return n;
}

void assert_fds_settle(pid_t pid, size_t want)
{
        struct wait wait = wait_of_ms(5000);
        while (fds_of(pid) != want && wait_left_ms(&wait) > 0)
                error_ignore(wait_delay(&wait, 10, "settle"));
        assert_int_equal(fds_of(pid), want);
}
