/* The processes of a cgroup, and what they have open: from cgroup.procs and /proc. A process that ends meanwhile is not
 * counted any more; a walk is bounded, since a container may have as many of everything as it likes. */
#include "runtime/cgroup/cgroup_internal.h"
#include "runtime/cgroup/tree.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOKS_MAX (128 * 1024) /* descriptors looked at: 0.15 s */

struct count {
        struct cgroup_processes sum;
        uint64_t looks;
};

static void descriptors_add(struct count *count, const char *pid)
{
        char path[32], target[16];
        (void) snprintf(path, sizeof(path), "/proc/%.12s/fd", pid);
        _cleanup_(closedirp) DIR *dir = opendir(path);
        for (struct dirent *entry; dir && count->looks < LOOKS_MAX && (entry = readdir(dir));) {
                if (entry->d_name[0] == '.')
                        continue;
                count->looks++;
                count->sum.descriptors++;
                ssize_t n_bytes = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));
                if (n_bytes > 7 && memcmp(target, "socket:", 7) == 0)
                        count->sum.sockets++;
        }
}

/* A threaded cgroup of v2 has no list of processes (EOPNOTSUPP): its domain, above it, has them. */
static void processes_add(int dir_fd, void *context)
{
        struct count *count = context;
        _cleanup_(freep) char *line = NULL;
        size_t size_bytes = 0;
        int fd = openat(dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_(fclosep) FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        while (file && getline(&line, &size_bytes, file) > 0) {
                line[strcspn(line, "\n")] = '\0';
                count->sum.processes++;
                descriptors_add(count, line);
        }
}

/* Whether /proc says that pid is a child of parent. The name may hold anything, so the last parenthesis counts. */
static bool is_child(pid_t pid, pid_t parent)
{
        char path[32], text[512];
        (void) snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        text[n_bytes < 0 ? 0 : n_bytes] = '\0';
        const char *after = strrchr(text, ')');
        return after && strlen(after) > 4 && strtol(after + 4, NULL, 10) == parent; /* ") S 123" */
}

/* The pidfd is opened before the look, so that the number cannot come to mean another process in between. */
static void signal_child(pid_t pid, pid_t parent, int number)
{
        _cleanup_(closep) int pid_fd = (int) syscall(SYS_pidfd_open, pid, 0);
        if (pid_fd >= 0 && is_child(pid, parent))
                (void) syscall(SYS_pidfd_send_signal, pid_fd, number, NULL, 0);
}

struct error *cgroup_signal_children(struct cgroups *c, const char *path, pid_t parent, int signal)
{
        const char *below;
        _cleanup_(freep) char *line = NULL;
        size_t size_bytes = 0;
        TRY(cgroup_find(c, path, &below));
        _cleanup_(freep) char *procs = format_string("%s/cgroup.procs", below);
        int fd = openat(c->hierarchies[0].fd, procs, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_(fclosep) FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        while (file && getline(&line, &size_bytes, file) > 0) {
                long pid = strtol(line, NULL, 10);
                if (pid > 0)
                        signal_child((pid_t) pid, parent, signal);
        }
        return NULL;
}

struct error *cgroup_processes(struct cgroups *c, const char *path, struct cgroup_processes *out)
{
        struct count count = { .looks = 0 };
        const char *below;
        TRY(cgroup_find(c, path, &below));
        _cleanup_(closep) int fd =
                openat(c->hierarchies[0].fd, below, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0)
                tree_walk(fd, processes_add, &count);
        if (count.looks >= LOOKS_MAX)
                count.sum.descriptors = count.sum.sockets = CGROUP_UNKNOWN;
        *out = count.sum;
        return NULL;
}
