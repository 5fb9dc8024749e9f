/* The processes of a cgroup, and what they have open: from cgroup.procs and /proc. A process that ends meanwhile is not
 * counted any more; a walk is bounded, since a container may have as many of everything as it likes. */
#include "runtime/cgroup/cgroup_internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#define DEPTH_MAX 8
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
static void processes_add(struct count *count, int dir_fd)
{
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

static void tree_add(struct count *count, int parent_fd, const char *name, int depth)
{
        int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return;
        processes_add(count, fd);
        for (struct dirent *entry; depth < DEPTH_MAX && (entry = readdir(dir));)
                if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
                        tree_add(count, fd, entry->d_name, depth + 1);
}

struct error *cgroup_processes(struct cgroups *c, const char *path, struct cgroup_processes *out)
{
        struct count count = { .looks = 0 };
        const char *below;
        TRY(cgroup_find(c, path, &below));
        tree_add(&count, c->hierarchies[0].fd, below, 0);
        if (count.looks >= LOOKS_MAX)
                count.sum.descriptors = count.sum.sockets = CGROUP_UNKNOWN;
        *out = count.sum;
        return NULL;
}
