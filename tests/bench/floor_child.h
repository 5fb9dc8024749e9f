/* floor_child.h - the processes of the floor's pod: what each does between clone3 and exec. Functions answer false with
 * errno set. Threads: one. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FLOOR_HIERARCHIES_MAX 16

struct floor_hierarchy {
        char name[32]; /* below /sys/fs/cgroup */
        bool is_v2;
        char cpus[256], mems[256]; /* cpuset's: what a new one must be given */
};

struct floor_process {
        pid_t pid;
        int pid_fd;
};

/* The merged directory as a detached mount; -1 on failure. */
int floor_overlay(const char *lower, const char *upper, const char *work);

/* How the processes get into a cgroup: by writing 0 to each v1 hierarchy's tasks, and born into the v2 directory (a write
 * to cgroup.procs waits for RCU). */
struct floor_entry {
        int tasks[FLOOR_HIERARCHIES_MAX];
        size_t n;
        int v2_fd; /* -1: no such hierarchy */
};

/* The pod's process has entered its cgroups when this returns. */
bool floor_pod(const struct floor_entry *entry, bool host_network, struct floor_process *out);
/* Returns when its exec was seen. */
bool floor_container(const struct floor_entry *entry, const struct floor_hierarchy hierarchies[], size_t n,
                     const char *cgroup, const struct floor_process *pod, int root_fd,
                     struct floor_process *out);
/* `true` in the container, to its exit. */
bool floor_exec(const struct floor_entry *entry, const struct floor_process *container);
