#include "tests/bench/floor_work.h"
#include "base/clock.h"
#include "base/file.h"
#include "tests/bench/floor_child.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define PATH_BYTES 512
#define CGROUP2_MAGIC 0x63677270

static struct {
        char dir[PATH_BYTES], cgroup[PATH_BYTES];
        struct floor_hierarchy hierarchies[FLOOR_HIERARCHIES_MAX];
        size_t n;
        bool host_network;
        struct floor_process pod, container;
} work;

static bool fail(struct floor_result *result, const char *what)
{
        if (!result->failed) {
                result->failed = true;
                result->errnum = errno;
                (void) snprintf(result->what, sizeof(result->what), "%s", what);
        }
        return false;
}

/* --- cgroups --- */

static bool path_of(char out[PATH_BYTES], size_t hierarchy, const char *name)
{
        int n = snprintf(out, PATH_BYTES, "/sys/fs/cgroup/%s%s/%s", work.hierarchies[hierarchy].name,
                         work.cgroup, name);
        return n > 0 && n < PATH_BYTES;
}

static bool put(size_t hierarchy, const char *name, const char *file, const char *value)
{
        char path[PATH_BYTES], full[PATH_BYTES + 64];
        if (!path_of(path, hierarchy, name))
                return false;
        (void) snprintf(full, sizeof(full), "%s/%s", path, file);
        _cleanup_(closep) int fd = open(full, O_WRONLY | O_CLOEXEC);
        return fd >= 0 && write(fd, value, strlen(value)) == (ssize_t) strlen(value);
}

static bool cgroup_make(const char *name, bool limits)
{
        for (size_t i = 0; i < work.n; i++) {
                char path[PATH_BYTES];
                if (!path_of(path, i, name) || (mkdir(path, 0755) < 0 && errno != EEXIST))
                        return false;
                const char *controller = work.hierarchies[i].name;
                if (strcmp(controller, "cpuset") == 0 &&
                    (!put(i, name, "cpuset.cpus", work.hierarchies[i].cpus) ||
                     !put(i, name, "cpuset.mems", work.hierarchies[i].mems)))
                        return false;
                if (!limits)
                        continue;
                if (strcmp(controller, "memory") == 0 && !put(i, name, "memory.limit_in_bytes", "268435456"))
                        return false;
                if (strcmp(controller, "cpu") == 0 && !put(i, name, "cpu.shares", "102"))
                        return false;
                if (strcmp(controller, "devices") == 0 &&
                    (!put(i, name, "devices.deny", "a") || !put(i, name, "devices.allow", "c 1:* rwm") ||
                     !put(i, name, "devices.allow", "c 5:* rwm") ||
                     !put(i, name, "devices.allow", "c 136:* rwm")))
                        return false;
        }
        return true;
}

static void cgroup_remove(const char *name)
{
        for (size_t i = 0; i < work.n; i++) {
                char path[PATH_BYTES];
                if (path_of(path, i, name))
                        for (int try = 0; try < 50 && rmdir(path) < 0 && errno == EBUSY; try++)
                                (void) poll(NULL, 0, 1);
        }
}

static void entry_close(struct floor_entry *entry)
{
        for (size_t i = 0; i < entry->n; i++)
                closep(&entry->tasks[i]);
        closep(&entry->v2_fd);
}

static bool entry_open(const char *name, struct floor_entry *entry)
{
        *entry = (struct floor_entry){ .v2_fd = -1 };
        for (size_t i = 0; i < work.n; i++) {
                char path[PATH_BYTES], full[PATH_BYTES + 64];
                bool v2 = work.hierarchies[i].is_v2;
                if (!path_of(path, i, name))
                        return false;
                (void) snprintf(full, sizeof(full), "%s/%s", path, v2 ? "" : "tasks");
                int fd = open(full, v2 ? O_RDONLY | O_DIRECTORY | O_CLOEXEC : O_WRONLY | O_CLOEXEC);
                if (fd < 0)
                        return false;
                if (v2)
                        entry->v2_fd = fd;
                else
                        entry->tasks[entry->n++] = fd;
        }
        return true;
}

static bool read_line(const char *controller, const char *file, char *out, size_t size_bytes)
{
        char path[PATH_BYTES];
        (void) snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/%s", controller, file);
        _cleanup_(fclosep) FILE *f = fopen(path, "re");
        bool read = f && fgets(out, (int) size_bytes, f);
        if (read)
                out[strcspn(out, "\n")] = '\0';
        return read;
}

static bool hierarchies_find(void)
{
        _cleanup_(closedirp) DIR *dir = opendir("/sys/fs/cgroup");
        if (!dir)
                return false;
        for (struct dirent *entry; (entry = readdir(dir)) && work.n < FLOOR_HIERARCHIES_MAX;) {
                struct floor_hierarchy *h = &work.hierarchies[work.n];
                char path[PATH_BYTES];
                struct statfs fs;
                (void) snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", entry->d_name);
                if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof(h->name) ||
                    entry->d_type == DT_LNK || statfs(path, &fs) < 0)
                        continue;
                memcpy(h->name, entry->d_name, strlen(entry->d_name) + 1);
                h->is_v2 = fs.f_type == CGROUP2_MAGIC;
                if (strcmp(h->name, "cpuset") == 0 &&
                    (!read_line("cpuset", "cpuset.cpus", h->cpus, sizeof(h->cpus)) ||
                     !read_line("cpuset", "cpuset.mems", h->mems, sizeof(h->mems))))
                        return false;
                work.n++;
        }
        return work.n > 0;
}

/* --- preparation --- */

static bool copy_busybox(const char *to)
{
        _cleanup_(closep) int from_fd = open("/bin/busybox", O_RDONLY | O_CLOEXEC);
        _cleanup_(closep) int to_fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        char chunk[65536];
        if (from_fd < 0 || to_fd < 0)
                return false;
        for (ssize_t n; (n = read(from_fd, chunk, sizeof(chunk))) != 0;)
                if (n < 0 || write(to_fd, chunk, (size_t) n) != n)
                        return false;
        return true;
}

bool floor_work_prepare(const char *dir, const char *cgroup, bool host_network, struct floor_result *result)
{
        static const char *const directories[] = { "lower", "lower/bin", "lower/proc", "lower/dev",
                                                   "lower/sys" };
        char path[PATH_BYTES + 32];
        *result = (struct floor_result){ 0 };
        (void) snprintf(work.dir, sizeof(work.dir), "%s", dir);
        (void) snprintf(work.cgroup, sizeof(work.cgroup), "%s", cgroup);
        work.host_network = host_network;
        work.pod.pid_fd = work.container.pid_fd = -1;
        if (!hierarchies_find())
                return fail(result, "find cgroup hierarchies");
        for (size_t i = 0; i < LENGTH(directories); i++) {
                (void) snprintf(path, sizeof(path), "%s/%s", dir, directories[i]);
                if (mkdir(path, 0755) < 0 && errno != EEXIST)
                        return fail(result, "make the root filesystem");
        }
        (void) snprintf(path, sizeof(path), "%s/lower/bin/busybox", dir);
        if (!copy_busybox(path))
                return fail(result, "copy busybox");
        if (!cgroup_make("", false))
                return fail(result, "make the parent cgroups");
        return true;
}

/* --- a round --- */

static bool overlay_make(int *root_fd)
{
        char lower[PATH_BYTES + 8], upper[PATH_BYTES + 8], scratch[PATH_BYTES + 8];
        (void) snprintf(lower, sizeof(lower), "%s/lower", work.dir);
        (void) snprintf(upper, sizeof(upper), "%s/upper", work.dir);
        (void) snprintf(scratch, sizeof(scratch), "%s/work", work.dir);
        return mkdir(upper, 0755) == 0 && mkdir(scratch, 0755) == 0 &&
               (*root_fd = floor_overlay(lower, upper, scratch)) >= 0;
}

static bool kill_and_reap(struct floor_process *process)
{
        siginfo_t info;
        struct pollfd ended = { .fd = process->pid_fd, .events = POLLIN };
        if (process->pid_fd < 0)
                return true;
        (void) syscall(SYS_pidfd_send_signal, process->pid_fd, SIGKILL, NULL, 0);
        bool reaped = poll(&ended, 1, 10000) == 1 &&
                      waitid(P_PIDFD, (id_t) process->pid_fd, &info, WEXITED | __WALL) == 0;
        closep(&process->pid_fd);
        return reaped;
}

static void remove_directories(void)
{
        _cleanup_(closep) int dir_fd = open(work.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return;
        /* What stays is seen by the next round, which cannot make them. */
        error_ignore(file_remove_tree(dir_fd, "upper"));
        error_ignore(file_remove_tree(dir_fd, "work"));
}

static bool pod_make(struct floor_result *result)
{
        _cleanup_(entry_close) struct floor_entry entry = { .v2_fd = -1 };
        int64_t before_ns = clock_monotonic_ns();
        if (!cgroup_make("pod", false))
                return fail(result, "pod's cgroups");
        result->ms[FLOOR_CGROUP_POD] = ms_since(before_ns);
        before_ns = clock_monotonic_ns();
        bool made = entry_open("pod", &entry) && floor_pod(&entry, work.host_network, &work.pod);
        result->ms[FLOOR_CLONE_POD] = ms_since(before_ns);
        return made ? true : fail(result, "pod's clone3");
}

static bool container_make(struct floor_result *result)
{
        _cleanup_(entry_close) struct floor_entry entry = { .v2_fd = -1 };
        _cleanup_(closep) int root_fd = -1;
        int64_t before_ns = clock_monotonic_ns();
        if (!cgroup_make("container", true))
                return fail(result, "container's cgroups");
        result->ms[FLOOR_CGROUP_CONTAINER] = ms_since(before_ns);
        before_ns = clock_monotonic_ns();
        if (!overlay_make(&root_fd))
                return fail(result, "overlay");
        result->ms[FLOOR_OVERLAY] = ms_since(before_ns);
        before_ns = clock_monotonic_ns();
        bool made = entry_open("container", &entry) &&
                    floor_container(&entry, work.hierarchies, work.n, work.cgroup, &work.pod, root_fd,
                                    &work.container);
        result->ms[FLOOR_CONTAINER] = ms_since(before_ns);
        return made ? true : fail(result, "container");
}

static bool exec_make(struct floor_result *result)
{
        _cleanup_(entry_close) struct floor_entry entry = { .v2_fd = -1 };
        int64_t before_ns = clock_monotonic_ns();
        bool done = entry_open("container", &entry) && floor_exec(&entry, &work.container);
        result->ms[FLOOR_EXEC] = ms_since(before_ns);
        return done ? true : fail(result, "exec");
}

void floor_work_round(struct floor_result *result)
{
        *result = (struct floor_result){ 0 };
        int64_t before_ns = clock_monotonic_ns();
        if (!pod_make(result) || !container_make(result))
                return;
        result->ms[FLOOR_STARTED] = ms_since(before_ns);
        if (!exec_make(result))
                return;
        before_ns = clock_monotonic_ns();
        if (!kill_and_reap(&work.container)) {
                (void) fail(result, "kill the container");
                return;
        }
        result->ms[FLOOR_KILL_CONTAINER] = ms_since(before_ns);
        before_ns = clock_monotonic_ns();
        if (!kill_and_reap(&work.pod)) {
                (void) fail(result, "kill the pod");
                return;
        }
        result->ms[FLOOR_KILL_POD] = ms_since(before_ns);
        before_ns = clock_monotonic_ns();
        floor_work_tidy();
        result->ms[FLOOR_REMOVE] = ms_since(before_ns);
}

void floor_work_tidy(void)
{
        (void) kill_and_reap(&work.container);
        (void) kill_and_reap(&work.pod);
        cgroup_remove("container");
        cgroup_remove("pod");
        remove_directories();
}

void floor_work_end(void)
{
        floor_work_tidy();
        cgroup_remove("");
}
