#include "runtime/cgroup/tree.h"
#include "base/cleanup.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DEPTH_MAX 16
#define FREEZE_TRIES 20
#define NAP_NS 500000
#define PASSES 3
#define GONE_TRIES 4

int tree_make(int parent_fd, const char *name, bool is_v2, int *dir_fd, int *tasks_fd)
{
        *tasks_fd = -1;
        if (mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST)
                return -1;
        *dir_fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*dir_fd >= 0 && !is_v2)
                *tasks_fd = openat(*dir_fd, "tasks", O_WRONLY | O_CLOEXEC);
        if (*dir_fd >= 0 && (is_v2 || *tasks_fd >= 0))
                return 0;
        int saved = errno;
        closep(dir_fd);
        (void) unlinkat(parent_fd, name, AT_REMOVEDIR);
        errno = saved;
        return -1;
}

static int put(int dir_fd, const char *file, const char *text)
{
        _cleanup_(closep) int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        return write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

/* Numbers are those of our own pid namespace: the kernel translates for the reader. */
static void signal_members(int dir_fd, int signal)
{
        char chunk[4096];
        ssize_t n_bytes;
        pid_t pid = 0;
        _cleanup_(closep) int fd = openat(dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
        while (fd >= 0 && (n_bytes = read(fd, chunk, sizeof(chunk))) > 0) {
                for (ssize_t i = 0; i < n_bytes; i++) {
                        if (chunk[i] >= '0' && chunk[i] <= '9') {
                                pid = pid * 10 + (chunk[i] - '0');
                                continue;
                        }
                        if (pid > 1 && pid != getpid())
                                (void) kill(pid, signal);
                        pid = 0;
                }
        }
}

static void signal_below(int dir_fd, int signal, int depth)
{
        signal_members(dir_fd, signal);
        int again = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = again < 0 ? NULL : fdopendir(again);
        if (!dir && again >= 0)
                (void) close(again);
        for (struct dirent *entry; dir && depth < DEPTH_MAX && (entry = readdir(dir));) {
                if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
                        continue;
                _cleanup_(closep) int child_fd =
                        openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (child_fd >= 0)
                        signal_below(child_fd, signal, depth + 1);
        }
}

static void nap(void)
{
        struct timespec rest = { .tv_nsec = NAP_NS };
        (void) nanosleep(&rest, NULL);
}

/* Stops all of it, so that nothing forks while we read the list. Frozen processes get their SIGKILL on the thaw. What
 * does not freeze in time (a process in an uninterruptible wait) is killed all the same. */
static void freeze(int dir_fd)
{
        if (put(dir_fd, "freezer.state", "FROZEN") < 0)
                return;
        for (int i = 0; i < FREEZE_TRIES; i++) {
                char state[16] = "";
                _cleanup_(closep) int fd = openat(dir_fd, "freezer.state", O_RDONLY | O_CLOEXEC);
                if (fd < 0 || read(fd, state, sizeof(state) - 1) <= 0 || strncmp(state, "FROZEN", 6) == 0)
                        return;
                nap(); /* the v1 freezer has no event */
        }
}

/* Whether the cgroup itself or one below holds a process, dying ones too. */
static bool is_populated(int dir_fd)
{
        struct stat st;
        char byte;
        _cleanup_(closep) int fd = openat(dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, &byte, 1) > 0)
                return true;
        /* More links than "." and ".." means cgroups below: an exec's. They are taken for populated. */
        return fstat(dir_fd, &st) == 0 && st.st_nlink > 2;
}

/* On v1 processes are killed pass by pass, which is enough but against what forks faster than we read; only that is
 * frozen first. For a frozen process does not die: who is killed between FROZEN and THAWED leaves it, and with it its pid
 * namespace's init, for ever (seen: a pod whose supervisor never ended). So what an earlier one left is thawed here too. */
static void kill_v1(int dir_fd)
{
        (void) put(dir_fd, "freezer.state", "THAWED");
        for (int i = 0; i < PASSES; i++)
                signal_below(dir_fd, SIGKILL, 0);
        for (int i = 0; i < GONE_TRIES; i++) {
                if (!is_populated(dir_fd))
                        return;
                nap();
        }
        freeze(dir_fd);
        signal_below(dir_fd, SIGKILL, 0);
        (void) put(dir_fd, "freezer.state", "THAWED");
}

void tree_signal(int dir_fd, bool is_v2, int signal)
{
        if (dir_fd < 0)
                return;
        if (signal != SIGKILL) {
                signal_below(dir_fd, signal, 0);
                return;
        }
        if (is_v2 && put(dir_fd, "cgroup.kill", "1") == 0)
                return;
        kill_v1(dir_fd);
}
