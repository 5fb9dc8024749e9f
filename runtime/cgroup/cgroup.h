/* cgroup.h - cgroups behind one face: v1 hierarchies (a hybrid host too), v2, and v2 where systemd makes a pod's.
 *
 * With systemd a pod is one delegated scope, "skiff-ID.scope" in the slice that it was asked for, whatever number of containers
 * it has: those are directories below it, made and limited as on plain v2, which systemd leaves alone. What systemd keeps
 * of the scope itself is set by properties only, as it writes the scope's files anew from them at every daemon-reload. A
 * scope needs a process that lives, so it is made around the pod's first one (cgroup_adopt) and goes with the last.
 *
 * A cgroup is named by its path below the hierarchies' roots ("/kubepods/besteffort/podX/ID"). Nothing is moved by
 * writing a pid from outside: on v1 a new process writes "0" to the `tasks` files, on v2 it is cloned into the
 * directory (writing cgroup.procs from the parent waits 5 to 12 ms for RCU on an idle machine, measured).
 *
 * Parents that do not exist are made, and noted, so that they can be removed when empty. Threads: any, at once, on
 * different cgroups. Source: cgroups(7), Documentation/admin-guide/cgroup-v1, -v2. */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroups; /* the host's hierarchies, found once */

/* Finds what is mounted. Errors: FAILED_PRECONDITION when there is no usable hierarchy. mount_root is "/sys/fs/cgroup"
 * (a parameter for tests). notes_path: a file of skiffd's state that lists the parents that cgroup_make had to make;
 * they are removed with their last child (kubelet's own parents never are). */
MUST_CHECK struct error *cgroups_open(const char *mount_root, const char *notes_path, struct cgroups **out);
void cgroups_free(struct cgroups *cgroups);
DEFINE_FREEP(struct cgroups, cgroups_free)
bool cgroups_is_v2(const struct cgroups *cgroups);

/* Who makes the cgroups of new pods: driver is "auto" (systemd where it is pid 1 and cgroups are v2), "cgroupfs" (skiffd
 * alone; so it is until this is called) or "systemd". Errors: FAILED_PRECONDITION when "systemd" cannot be. */
MUST_CHECK struct error *cgroups_choose(struct cgroups *cgroups, const char *driver);
bool cgroups_by_systemd(const struct cgroups *cgroups);

/* CRI's cgroup_parent as it is to be recorded; *out is the caller's. cgroupfs: an absolute path, "/skiff" for "". systemd: the
 * name of a slice, system.slice for ""; where one is given as a path of slices its last component counts. Errors:
 * INVALID_ARGUMENT. */
MUST_CHECK struct error *cgroup_parent_resolve(const struct cgroups *cgroups, const char *asked, char **out);

/* The directory that a pod's cgroups are made in, by such a parent, whatever the driver now: HOME/POD-ID (CGROUP_SANDBOX)
 * and HOME/CONTAINER-ID. It is the parent itself ("" for the root), or the pod's scope. The caller's. */
char *cgroup_home(const char *parent, const char *pod_id);
/* Whether such a parent is a slice, and so the pod's home its own. */
bool cgroup_parent_is_slice(const char *parent);

struct cgroup_hugepage_limit {
        const char *page_size; /* "2MB" */
        uint64_t limit_bytes;
};
struct cgroup_unified {
        const char *key, *value;
};

/* 0 or NULL means: leave as it is. */
struct cgroup_limits {
        int64_t cpu_period_us, cpu_quota_us /* -1: none */, cpu_shares;
        const char *cpuset_cpus, *cpuset_mems;
        int64_t memory_limit_bytes /* -1: none */,
                memory_swap_limit_bytes /* v1 memory+swap, as CRI has it; -1: none. Passed over on a host that does
                                           not count swap */
                ;
        int64_t pids_limit;
        const struct cgroup_hugepage_limit *hugepages;
        size_t n_hugepages;
        const struct cgroup_unified
                *unified; /* v2 only; on v1 INVALID_ARGUMENT. Files of controllers alone */
        size_t n_unified;
};

struct device_rule {
        bool allow;
        char type;            /* 'c', 'b' or 'a' for both */
        int64_t major, minor; /* -1: any */
        bool read, write, mknod;
};

/* What is to live in a cgroup. On v1 a directory costs 20 to 50 us to make and as much to remove, in each of a dozen
 * hierarchies: the pod's own processes get one where they are counted, stopped and found (memory, cpu, pids, freezer,
 * systemd) and sit in the parent, which is the pod's, where nothing is asked of them (devices, cpuset, blkio, ...). */
enum cgroup_kind { CGROUP_CONTAINER, CGROUP_SANDBOX };

/* Makes the cgroup (and parents) in the hierarchies and sets the limits. Idempotent. Undone by cgroup_remove. Errors:
 * INVALID_ARGUMENT for a limit that cannot be (a cpuset of cpus that the host has not, a quota too small, a setting that the
 * kernel does not know); FAILED_PRECONDITION for one whose controller this host, or this part of the tree, has not. */
MUST_CHECK struct error *cgroup_make(struct cgroups *cgroups, const char *path, enum cgroup_kind kind,
                                     const struct cgroup_limits *limits);
/* Sets all of the limits of a cgroup that is in use, or none: when one is refused the others are as they were. One caller
 * at a time a cgroup. Errors: as cgroup_make; FAILED_PRECONDITION when more memory is in use than the new limit, or the cgroup
 * is gone. */
MUST_CHECK struct error *cgroup_update(struct cgroups *cgroups, const char *path,
                                       const struct cgroup_limits *limits);

/* Sets which devices may be used: all is denied first, then what every container may do (make any node; use null, zero,
 * full, random, urandom, tty, ptmx, pts and, of its own network, net/tun) is allowed, then the rules in order; the last that
 * matches decides. On v1 devices.deny/allow, on v2 a BPF program. With allow_all nothing is restricted. */
MUST_CHECK struct error *cgroup_devices(struct cgroups *cgroups, const char *path,
                                        const struct device_rule *rules, size_t n_rules, bool allow_all);

/* What a new process needs to enter: descriptors owned by *out, closed by cgroup_entry_done. v1: files into each of
 * which the process itself writes "0"; v2: one directory for CLONE_INTO_CGROUP. */
#define CGROUP_ENTRY_MAX 16
struct cgroup_entry {
        bool is_v2_directory;
        int fds[CGROUP_ENTRY_MAX];
        size_t n;
};
MUST_CHECK struct error *cgroup_entry_open(struct cgroups *cgroups, const char *path, enum cgroup_kind kind,
                                           struct cgroup_entry *out);
void cgroup_entry_done(struct cgroup_entry *entry);

/* Whether a CGROUP_SANDBOX is in a scope: nobody enters that by himself, and cgroup_make leaves it to cgroup_adopt. */
bool cgroup_is_adopted(const char *path);
/* Has systemd make the scope around pid, a child that is held, and moves it into the CGROUP_SANDBOX path below that. When the
 * wait ends first the child is killed. cpu_shares: the pod's; 0: not said. The scope gets no limit of memory or CPU time: what
 * a pod's resources say of those is the sum of the limits that its containers declare (kubelet's PodLimits), and one container
 * without a limit beside one with would be killed at the other's. kubelet knows, and sets the pod's limits, where there are
 * any, on the slice. Undone by cgroup_remove. Errors: UNAVAILABLE when
 * systemd does not answer, or not in time; FAILED_PRECONDITION with its words when it refuses. */
MUST_CHECK struct error *cgroup_adopt(struct cgroups *cgroups, const char *path, pid_t pid,
                                      int64_t cpu_shares, const struct wait *wait);

/* Sets the CPU weight of the scope that such a path is in, which is systemd's to keep: shares as above, 0: systemd's own. Errors:
 * as cgroup_adopt. */
MUST_CHECK struct error *cgroup_set_shares(struct cgroups *cgroups, const char *path, int64_t cpu_shares,
                                           const struct wait *wait);

/* The CGROUP_SANDBOX paths in scopes that this skiffd (this notes_path) has made and that are there; NULL-terminated, the
 * caller's (free_strings). Without systemd none. */
MUST_CHECK struct error *cgroup_scopes(struct cgroups *cgroups, char ***out);

/* The file whose oom_kill counter tells of a process killed for want of memory: v1 memory.oom_control, v2
 * memory.events. */
MUST_CHECK struct error *cgroup_oom_open(struct cgroups *cgroups, const char *path, int *out_fd);

/* What tells of it while it happens: v1 an eventfd, v2 the same file as cgroup_oom_open (polled for POLLPRI). */
MUST_CHECK struct error *cgroup_oom_event(struct cgroups *cgroups, const char *path, int oom_fd, int *out_fd);

/* The directory that holds the cgroup's processes for signalling them, and below which an exec gets a cgroup of its own:
 * v2 its directory, v1 that of the freezer (whose `tasks` file is then the first of struct cgroup_entry). */
MUST_CHECK struct error *cgroup_tree_open(struct cgroups *cgroups, const char *path, int *out_fd);

/* The cgroup's own directories as detached mounts, for a view inside a container: on v1 one a hierarchy, with the name
 * that it has below /sys/fs/cgroup ("cpu,cpuacct"); on v2 none (the container mounts cgroup2 itself in its cgroup
 * namespace) unless whole: then the whole hierarchy as "". Owned by *out. */
struct cgroup_views {
        struct cgroup_view {
                char name[64];
                int fd;
        } views[CGROUP_ENTRY_MAX];
        size_t n;
};
MUST_CHECK struct error *cgroup_views_open(struct cgroups *cgroups, const char *path, bool whole,
                                           bool readonly, struct cgroup_views *out);
void cgroup_views_done(struct cgroup_views *views);

/* A signal to the processes in the cgroup itself, none below it, that are children of parent: the main process of a container
 * whose supervisor cannot be asked. Succeeds when there is none. */
MUST_CHECK struct error *cgroup_signal_children(struct cgroups *cgroups, const char *path, pid_t parent,
                                                int signal);

/* SIGKILL to everything in the cgroup and below (cgroup.kill on v2; freeze, signal, thaw on v1). Succeeds when it is
 * empty or absent. */
MUST_CHECK struct error *cgroup_kill(struct cgroups *cgroups, const char *path);

/* Stops everything in the cgroup and below (frozen), or lets it go on. Succeeds where there is none. Errors:
 * FAILED_PRECONDITION when a process does not stop, or the kernel has no freezer; nothing is stopped then. */
MUST_CHECK struct error *cgroup_freeze(struct cgroups *cgroups, const char *path, bool frozen);

/* Removes the cgroup and its children in every hierarchy, waiting for the last process to be gone (v1 has no event for
 * that: a bounded retry of rmdir); then the parents that skiff made, where they are empty. Succeeds where there is
 * none. Of a CGROUP_SANDBOX in a scope: the scope, with all that is in it, and the slices that were made for it, where
 * they are empty. Errors: UNAVAILABLE when that wants systemd, and it does not answer. */
MUST_CHECK struct error *cgroup_remove(struct cgroups *cgroups, const char *path, const struct wait *wait);

/* Time lost waiting: PSI, as the kernel gives it (Documentation/accounting/psi.rst). */
struct cgroup_stall {
        double avg10, avg60, avg300; /* percent */
        uint64_t total_us;
};
struct cgroup_pressure {
        bool has; /* v1 has none, nor a kernel without PSI */
        struct cgroup_stall some, full;
};

#define CGROUP_NO_LIMIT UINT64_MAX
struct cgroup_stats {
        uint64_t cpu_usage_ns, memory_usage_bytes, memory_working_set_bytes, memory_rss_bytes, page_faults,
                major_page_faults, swap_usage_bytes, pids;
        uint64_t memory_limit_bytes, swap_limit_bytes; /* CGROUP_NO_LIMIT: none */
        bool has_memory, has_cpu, has_pids, has_swap;
        struct cgroup_pressure cpu_pressure, memory_pressure, io_pressure;
};
/* Errors: with error_errnum_of ENOENT or ENODEV where there is no such cgroup, or none any more. */
MUST_CHECK struct error *cgroup_stats(struct cgroups *cgroups, const char *path, struct cgroup_stats *out);

/* --- all that a cgroup counts, for monitoring: more files than cgroup_stats reads, each of them once --- */

#define CGROUP_UNKNOWN UINT64_MAX /* a figure that this host, or this kernel, does not give */

/* What went to and came from a block device, since the cgroup was made. */
struct cgroup_device {
        unsigned major, minor;
        uint64_t read_bytes, written_bytes, reads, writes;
};

struct cgroup_hugepage_use {
        char page_size[16]; /* "2MB" */
        uint64_t usage_bytes, max_usage_bytes;
};

/* Owns devices and hugepages. The page faults come twice: of the cgroup alone, and with those below it. */
struct cgroup_metrics {
        uint64_t cpu_usage_ns, cpu_user_ns, cpu_system_ns, cfs_periods, cfs_throttled_periods,
                cfs_throttled_ns;
        uint64_t memory_usage_bytes, memory_working_set_bytes, memory_rss_bytes, memory_cache_bytes,
                memory_mapped_bytes, memory_active_file_bytes, memory_inactive_file_bytes, memory_swap_bytes,
                memory_kernel_bytes, memory_max_usage_bytes, memory_failures, oom_kills;
        uint64_t page_faults, major_page_faults, all_page_faults, all_major_page_faults;
        uint64_t threads, threads_max; /* threads_max: 0 is no limit */
        struct cgroup_pressure cpu_pressure, memory_pressure, io_pressure;
        struct cgroup_device *devices;
        size_t n_devices;
        struct cgroup_hugepage_use *hugepages;
        size_t n_hugepages;
};
/* Errors: as cgroup_stats. */
MUST_CHECK struct error *cgroup_metrics(struct cgroups *cgroups, const char *path,
                                        struct cgroup_metrics *out);
void cgroup_metrics_done(struct cgroup_metrics *metrics);

/* The processes in a cgroup and below it, and what they have open. CGROUP_UNKNOWN where it is more than is counted. */
struct cgroup_processes {
        uint64_t processes, descriptors, sockets;
};
/* Errors: as cgroup_stats. */
MUST_CHECK struct error *cgroup_processes(struct cgroups *cgroups, const char *path,
                                          struct cgroup_processes *out);
