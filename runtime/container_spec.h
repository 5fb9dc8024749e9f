/* container_spec.h - what is to run, in the kernel's terms. No CRI, no JSON.
 *
 * pods/spec/spec.c fills it, the handler brings it to life. A spec owns everything in it. Paths in a container are absolute
 * and resolved below its root by the child, by descriptor; sources on the host were opened by skiffd. */
#pragma once
#include "base/error.h"
#include "runtime/cgroup/cgroup.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum pid_mode { PID_MODE_CONTAINER, PID_MODE_POD, PID_MODE_NODE, PID_MODE_TARGET };

/* Numbers as in capability.h; bit n of a set is capability n. Inheritable is always empty (CVE-2022-29162). */
struct capability_sets {
        uint64_t bounding, effective, permitted, ambient;
};

enum mount_kind {
        MOUNT_BIND, /* a host file or directory, or a mount that comes with the start: struct runtime_start */
        MOUNT_PROC, /* procfs of the container's pid namespace */
        MOUNT_SYSFS, /* sysfs of the pod's network namespace (a bind of the host's when the pod uses the host's) */
        MOUNT_TMPFS,  /* data: "mode=755,size=65536k" */
        MOUNT_DEVPTS, /* a new instance, newinstance,ptmxmode=0666,mode=0620,gid=5 */
        MOUNT_MQUEUE, /* of the pod's ipc namespace */
        MOUNT_SHM,    /* the pod's /dev/shm, kept by the supervisor */
        MOUNT_CGROUP, /* the container's own cgroups, v1 or v2 as the host has them */
};

enum mount_propagation { MOUNT_PRIVATE, MOUNT_SLAVE, MOUNT_SHARED };

/* MOUNT_ATTR_* bits of mount_setattr(2), which all are low ones. */
struct mount_change {
        uint32_t set, clear;
};

/* Small: a supervisor's memory is what these take while a container starts. */
struct container_mount {
        enum mount_kind kind;
        enum mount_propagation propagation;
        char *target;    /* in the container */
        char *host_path; /* MOUNT_BIND: opened by the handler, at start */
        char *image_id; /* MOUNT_BIND without a host_path: what pods mounts for it; no matter to the handler */
        char *data;     /* MOUNT_TMPFS: mount options; MOUNT_BIND of a mount: what of it to show, NULL: all */
        bool readonly, recursive_readonly, nosuid, nodev, noexec;
        bool alone;    /* MOUNT_BIND: without what is mounted below it */
        bool idmapped; /* MOUNT_BIND of a host_path: its files' ids are those of the pod's user namespace */
        int source_fd; /* MOUNT_BIND: a detached mount instead of host_path; -1: none */
        struct mount_change itself, tree; /* MOUNT_BIND: more of it; and of it with what is mounted below */
};

struct container_device {
        char *path; /* in the container: "/dev/fuse" */
        char type;  /* 'c', 'b' or, without numbers, 'p' */
        uint32_t major, minor, mode, uid, gid;
};

/* When a hook runs: the stages of the OCI runtime spec, in its order. */
enum hook_stage {
        HOOK_PRESTART,
        HOOK_CREATE_RUNTIME,
        HOOK_CREATE_CONTAINER,
        HOOK_START_CONTAINER,
        HOOK_POSTSTART,
        HOOK_POSTSTOP,
        HOOK_STAGES, /* how many there are */
};

/* Its name in the specification: "createContainer". */
const char *hook_stage_name(enum hook_stage stage);

/* A program that is run with the container's state, as JSON, on its standard input. */
struct container_hook {
        enum hook_stage stage;
        char *path;         /* START_CONTAINER: in the container; else on the host */
        char **argv, **env; /* NULL-terminated, never NULL */
        int64_t timeout_s;  /* 0, and more than it: HOOK_TIMEOUT_S */
};
#define HOOK_TIMEOUT_S 300

struct container_rlimit {
        int resource; /* RLIMIT_* */
        uint64_t soft, hard;
};

/* A process to run in a container: its main one, or an exec. */
struct process_spec {
        char **argv, **env; /* NULL-terminated */
        char *cwd;          /* made when absent (as Docker does), "/" at least */
        uint32_t uid, gid, umask;
        uint32_t *groups; /* set outright, the primary among them (CVE-2023-25173) */
        size_t n_groups;
        struct capability_sets capabilities;
        bool no_new_privs;
        struct container_rlimit *rlimits;
        size_t n_rlimits;
        int oom_score_adj; /* set where the kernel lets us */
        bool set_oom_score_adj;
        /* From the exec on; NULL: what who starts it has, whom nobody confines. The context is that of its keys too. */
        char *apparmor, *selinux;
        /* Else it is left out where the pod's supervisor is of a build that knows none. */
        bool apparmor_is_asked, selinux_is_asked;
};

struct seccomp_program; /* runtime/seccomp.h: finished BPF, shared by all that use the profile */

struct container_spec {
        char *id;
        char *hostname; /* of the pod, for messages only: the UTS namespace is the supervisor's */
        struct process_spec process;
        enum pid_mode pid_mode;
        char *pid_target; /* PID_MODE_TARGET: a container's id in the same pod */
        bool private_cgroup_namespace;
        const struct seccomp_program *seccomp; /* borrowed; NULL: unconfined */
        char *mount_context,
                *shm_context; /* SELinux's, of what is mounted for it, and of the pod's /dev/shm; NULL: none */
        bool readonly_rootfs, stdin_open, stdin_once;
        bool tty; /* a terminal of its own devpts for its three streams; /dev/console is it too */
        struct container_mount *mounts; /* in the order to mount */
        size_t n_mounts;
        char **masked_paths, **readonly_paths; /* NULL-terminated */
        struct container_device *devices;      /* made in /dev; the cgroup decides who may use them */
        size_t n_devices;
        struct device_rule *device_rules;
        size_t n_device_rules;
        struct container_hook *hooks; /* in the order to run, each in its stage */
        size_t n_hooks;
        bool all_devices;  /* privileged */
        bool host_network; /* for MOUNT_SYSFS */
        char *cgroup_path;
        struct cgroup_limits limits; /* pointers in it are owned by this spec too */
        int stop_signal;
};

struct container_spec *container_spec_new(void); /* zeroed, source_fds -1 where mounts are added later */
void container_spec_free(struct container_spec *spec);
DEFINE_FREEP(struct container_spec, container_spec_free)
void container_mount_done(struct container_mount *mount); /* what it owns */
void process_spec_done(struct process_spec *process);
