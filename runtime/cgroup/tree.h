/* tree.h - the processes of a container or an exec, by the cgroup that holds them.
 *
 * A process group or a session can be left (setsid, double fork); a cgroup cannot, since containers see theirs
 * read-only. So each exec has a cgroup of its own below its container's: on v2 below the container's directory, on v1 in
 * one hierarchy, the freezer's where there is one, which also stops a tree from growing while it is killed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Makes a cgroup `name` below parent_fd. *dir_fd is the directory; *tasks_fd on v1 the file to enter it by. -1 on
 * failure. */
int tree_make(int parent_fd, const char *name, bool is_v2, int *dir_fd, int *tasks_fd);

/* Calls visit for the cgroup dir_fd and for each below it, at any depth, parents first; visit does not keep the descriptor.
 * What comes and goes meanwhile may be missed. Bounded in descriptors and memory. */
void tree_walk(int dir_fd, void (*visit)(int dir_fd, void *context), void *context);

/* rmdir of the cgroup `name` below at_fd and of all below it, at any depth. 0 when it is gone; else -1 with errno, EBUSY
 * while a process is in one of them. */
int tree_remove(int at_fd, const char *name);

/* Stops all of it, or lets it go on. 0 when it is so, and for one that has no process; else -1 with errno: ETIMEDOUT when a
 * process did not stop in two seconds (an uninterruptible wait); then it goes on. */
int tree_freeze(int dir_fd, bool is_v2, bool frozen);

/* SIGKILL to everything in it and below, and to what is being born meanwhile too, where the kernel has the means
 * (cgroup.kill, the freezer). Nothing for -1. */
void tree_kill(int dir_fd, bool is_v2);
