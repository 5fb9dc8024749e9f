#include "runtime/cgroup/tree.h"
#include "base/cleanup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define STEPS_MAX 1000000 /* a process that still runs may make cgroups as fast as they are removed */
#define FREEZE_TRIES 20
#define PAUSE_TRIES 4000
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

/* --- the way through a tree, whose depth and width are the container's choice: one directory is open at a time --- */

#define PLACES 64

static DIR *open_below(int dir_fd, const char *name)
{
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                closep(&fd);
        return dir;
}

static const struct dirent *next_below(DIR *dir)
{
        const struct dirent *entry;
        while ((entry = readdir(dir)))
                if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
                    strcmp(entry->d_name, "..") != 0)
                        return entry;
        return NULL;
}

/* A cgroup never gets another parent, so that ".." leads where the way came from. *left: the inode of what is left. */
static DIR *climb(DIR *dir, ino_t *left)
{
        struct stat st;
        _cleanup_(closedirp) DIR *from = dir;
        *left = fstat(dirfd(from), &st) < 0 ? 0 : st.st_ino;
        return open_below(dirfd(from), "..");
}

/* The way down, and where it goes on in its upper levels; below them the place is found again by the child's inode. */
struct way {
        DIR *dir;
        size_t depth;
        long places[PLACES];
};

static bool way_down(struct way *way, const char *name)
{
        DIR *below = open_below(dirfd(way->dir), name);
        if (!below)
                return false; /* gone meanwhile */
        if (way->depth < PLACES)
                way->places[way->depth] = telldir(way->dir);
        way->depth++;
        (void) closedir(way->dir);
        way->dir = below;
        return true;
}

static void way_up(struct way *way)
{
        ino_t left;
        const struct dirent *entry;
        way->dir = climb(way->dir, &left);
        if (way->depth-- > PLACES)
                while (way->dir && (entry = next_below(way->dir)) && entry->d_ino != left)
                        ;
        else if (way->dir)
                seekdir(way->dir, way->places[way->depth]);
}

void tree_walk(int dir_fd, void (*visit)(int dir_fd, void *context), void *context)
{
        struct way way = { .dir = open_below(dir_fd, ".") };
        visit(dir_fd, context);
        while (way.dir) {
                const struct dirent *child = next_below(way.dir);
                if (child && way_down(&way, child->d_name))
                        visit(dirfd(way.dir), context);
                else if (!child && way.depth == 0)
                        break;
                else if (!child)
                        way_up(&way);
        }
        if (way.dir)
                (void) closedir(way.dir);
}

static bool is_removed(int at_fd, const char *name)
{
        return unlinkat(at_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

/* All below dir; closes it. What was tried again after all below it went has a process. */
static int empty(DIR *dir)
{
        size_t depth = 0;
        ino_t left = 0;
        for (int steps = 0; dir && steps < STEPS_MAX; steps++) {
                const struct dirent *child = next_below(dir);
                if (!child && depth == 0) {
                        (void) closedir(dir);
                        return 0;
                }
                if (!child) {
                        dir = climb(dir, &left);
                        depth--;
                } else if (!is_removed(dirfd(dir), child->d_name)) {
                        DIR *below = child->d_ino == left ? NULL : open_below(dirfd(dir), child->d_name);
                        (void) closedir(dir);
                        dir = below;
                        depth++;
                }
        }
        if (dir)
                (void) closedir(dir);
        errno = EBUSY;
        return -1;
}

int tree_remove(int at_fd, const char *name)
{
        if (is_removed(at_fd, name))
                return 0;
        if (errno != EBUSY && errno != ENOTEMPTY)
                return -1;
        DIR *dir = open_below(at_fd, name);
        if (!dir)
                return errno == ENOENT ? 0 : -1;
        if (empty(dir) < 0)
                return -1;
        return is_removed(at_fd, name) ? 0 : -1;
}

/* --- its processes --- */

/* Numbers are those of our own pid namespace: the kernel translates for the reader. */
static void kill_members(int dir_fd, void *context)
{
        (void) context;
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
                                (void) kill(pid, SIGKILL);
                        pid = 0;
                }
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
                tree_walk(dir_fd, kill_members, NULL);
        for (int i = 0; i < GONE_TRIES; i++) {
                if (!is_populated(dir_fd))
                        return;
                nap();
        }
        freeze(dir_fd);
        tree_walk(dir_fd, kill_members, NULL);
        (void) put(dir_fd, "freezer.state", "THAWED");
}

/* Whether the file has this in it. */
static bool says(int dir_fd, const char *file, const char *text)
{
        char state[128] = "";
        _cleanup_(closep) int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC);
        return fd >= 0 && read(fd, state, sizeof(state) - 1) > 0 && strstr(state, text);
}

int tree_freeze(int dir_fd, bool is_v2, bool frozen)
{
        const char *file = is_v2 ? "cgroup.freeze" : "freezer.state";
        const char *thawed = is_v2 ? "0" : "THAWED";
        if (put(dir_fd, file, !frozen ? thawed : is_v2 ? "1" : "FROZEN") < 0)
                return -1;
        for (int i = 0; frozen && i < PAUSE_TRIES; i++) {
                if (says(dir_fd, is_v2 ? "cgroup.events" : file, is_v2 ? "frozen 1" : "FROZEN"))
                        return 0;
                nap();
        }
        if (!frozen)
                return 0;
        (void) put(dir_fd, file, thawed);
        errno = ETIMEDOUT;
        return -1;
}

void tree_kill(int dir_fd, bool is_v2)
{
        if (dir_fd < 0 || (is_v2 && put(dir_fd, "cgroup.kill", "1") == 0))
                return;
        kill_v1(dir_fd);
}
