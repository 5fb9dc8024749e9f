/* protocol.h - the messages between skiffd and skiff-pod.
 *
 * Every request has a SOCK_SEQPACKET connection of its own to STATE/pods/ID/sock; closing it cancels what only it was
 * for. A message is flat bytes (wire.h) that begin with its type, at most PROTOCOL_MESSAGE_MAX of them, with the
 * descriptors that its comment names. Both sides check every length, count and index; what is malformed ends the
 * connection.
 *
 *     skiffd                                    skiff-pod
 *     POD_START (on an inherited socket)   ->                     the first connection; it must COMMIT, or skiff-pod ends
 *     ATTACH                               ->                     later ones
 *                                          <-   SNAPSHOT          then events: EXIT, OOM, INFRA_EXIT
 *                                          <-   REFUSED           to either: no version that both speak
 *     CONTAINER_START, FDS...              ->
 *                                          <-   SPAWNED (and FAILED later) or FAILED
 *     COMMIT                               ->                     else the end of the connection undoes the start
 *     EXEC                                 ->
 *                                          <-   FAILED, or EXEC_EXIT; EXEC_TIMED_OUT when the deadline came first
 *     SIGNAL, REOPEN_LOG, STOP             ->
 *                                          <-   OK or FAILED
 *     EXEC_OPEN, ATTACH_OPEN, FORWARD_OPEN ->                     a session: base/session.h
 *                                          <-   OK or FAILED      from then on its channel is all that counts
 *
 * A connection that has had its request takes no other but those that belong to it.
 *
 * What is too long for a message (a container's spec: environments of 2 MiB happen) is a sealed memfd, which skiff-pod
 * maps; its descriptors come in batches, and the spec names them by index.
 *
 * Versions. A skiff-pod outlives the skiffd that started it, so any two may meet. Each speaks a range of versions, and the
 * first message of either side tells it; the newest that is in both is what they speak. A range holds four: so a skiffd
 * drives any skiff-pod within three versions of its own. Within a version a struct only grows, at its end: a field that is
 * not there has its default, one that is not known is passed over (since version 3, where each struct has its length before
 * it), so a change that old ones need not understand is no new version. A new version is for what they must not miss.
 *     2   POD_START and ATTACH name just it; no lengths, nothing may be left over
 *     3   ranges, lengths, REFUSED
 *     4   sessions, terminals
 *     5   hooks, fifos among the devices, AppArmor profiles and SELinux contexts
 * The records in the exits file are of one form for ever: what more is to be told goes to another file. */
#pragma once
#include "runtime/container_spec.h"
#include "runtime/handler.h"
#include "runtime/native/wire.h"
#include "runtime/seccomp.h"

#define PROTOCOL_VERSION 5
#define PROTOCOL_OLDEST 2   /* that is spoken still: PROTOCOL_VERSION - 3 */
#define PROTOCOL_LENGTHS 3  /* the first whose structs have lengths */
#define PROTOCOL_SESSIONS 4 /* the first with sessions and terminals */
#define PROTOCOL_HOOKS 5    /* the first with hooks */
#define PROTOCOL_LABELS 5   /* the first with AppArmor profiles and SELinux contexts */
#define PROTOCOL_MESSAGE_MAX 65536
#define PROTOCOL_FDS_BATCH 128
#define PROTOCOL_FDS_MAX 1024
#define PROTOCOL_SPEC_MAX (16U << 20)
#define PROTOCOL_RUNNING_MAX 200 /* containers of one pod: their pidfds go in one message */
#define PROTOCOL_NO_FD UINT32_MAX
#define PROTOCOL_ID_MAX 64

enum message_type {
        MESSAGE_POD_START =
                1, /* u32 oldest, struct pod_start, u32 newest, users; descriptor: the host's /dev/shm with host_ipc */
        MESSAGE_ATTACH, /* u32 oldest, u32 newest: without the latter both are one */
        MESSAGE_COMMIT, /* the pod, on the first connection; a container, once it runs. No answer */
        MESSAGE_CONTAINER_START, /* u32 number of descriptors to come, u64 bytes of spec, u32 version; descriptor: memfd */
        MESSAGE_FDS,        /* descriptors */
        MESSAGE_LOG,        /* on a start's connection, when its spec says log_follows; descriptor: the log */
        MESSAGE_SIGNAL,     /* id, u32 signal, u32 0 */
        MESSAGE_REOPEN_LOG, /* id; descriptor: the new log */
        MESSAGE_EXEC, /* id, u64 bytes of spec, u64 timeout_ms, u32 version; descriptors: memfd, stdout, stderr */
        MESSAGE_EXEC_KILL, /* on an exec's connection: its tree dies even when its first process has ended */
        MESSAGE_STOP,      /* kills all containers and infra */
        /* id, u64 bytes of spec, u32 version, streams; descriptors: memfd, channel, then its ends of the pipes that the
         * streams are, in, out, err; or with a terminal a socket on which the process sends its master */
        MESSAGE_EXEC_OPEN,
        /* id, streams; descriptors: channel, then writing ends for out and err. With OK, where in is asked for and the
         * container has it open: a writing end */
        MESSAGE_ATTACH_OPEN,
        MESSAGE_FORWARD_OPEN, /* nothing; descriptor: channel */
        MESSAGE_REQUESTS,     /* how far they go */

        MESSAGE_OK = 100,
        MESSAGE_FAILED,   /* struct protocol_failure */
        MESSAGE_SNAPSHOT, /* struct protocol_snapshot; descriptors: pidfds of self, infra, netns, containers */
        MESSAGE_SPAWNED,  /* descriptors: its pidfd, the reading end of its report socket */
        MESSAGE_EXIT,     /* struct runtime_exit as bytes */
        MESSAGE_INFRA_EXIT,     /* nothing */
        MESSAGE_OOM,            /* id */
        MESSAGE_EXEC_EXIT,      /* u32 exit code */
        MESSAGE_EXEC_TIMED_OUT, /* nothing; the connection ends when all that it started is dead */
        MESSAGE_REFUSED,        /* u32 oldest, u32 newest: what this skiff-pod speaks */
};

/* What a process was doing when it failed. Between clone and exec it can only send this, errno and an index (of the
 * mount, the device, ...); stage_error in native/stage.c makes the sentence. */
enum stage {
        STAGE_NONE,
        STAGE_CGROUP,
        STAGE_NAMESPACES,
        STAGE_CGROUP_NAMESPACE,
        STAGE_SUPERVISOR_MOUNTS,
        STAGE_ROOTFS,
        STAGE_MOUNT_TARGET,
        STAGE_MOUNT,
        STAGE_MOUNT_FALSE, /* /proc or /sys is not what it must be */
        STAGE_DEVICE,
        STAGE_MASKED_PATH,
        STAGE_READONLY_PATH,
        STAGE_READONLY_ROOTFS,
        STAGE_STDIO,
        STAGE_RLIMIT,
        STAGE_SECCOMP,
        STAGE_NO_NEW_PRIVS,
        STAGE_GROUPS,
        STAGE_USER,
        STAGE_CAPABILITIES,
        STAGE_CWD,
        STAGE_CWD_OUTSIDE,
        STAGE_EXEC_NOT_FOUND, /* searched in $PATH */
        STAGE_EXEC,
        STAGE_HOSTNAME,
        STAGE_SYSCTL,
        STAGE_CLONE,
        STAGE_PID_NAMESPACE,
        STAGE_NO_CONTAINER,
        STAGE_RUNNING_ALREADY,
        STAGE_NO_INFRA,
        STAGE_TOO_MANY,
        STAGE_MESSAGE,
        STAGE_ROOT,
        STAGE_SHM,
        STAGE_PIPE,
        STAGE_MEMORY,
        STAGE_ENDING, /* one of that id is there still, and about to end: to be tried again */
        STAGE_TERMINAL,
        STAGE_CONSOLE,
        STAGE_USER_NAMESPACE,
        STAGE_HOOK_VIEW, /* the container's tree for hooks of the host */
        STAGE_HOOK,      /* the words are on the socket that the root filesystem came on */
        STAGE_APPARMOR,
        STAGE_SELINUX,
        STAGE_LAST = STAGE_SELINUX,
};

/* As the child writes it into its report socket. */
struct child_report {
        uint32_t stage;
        int32_t errnum;
        uint32_t index;
};

/* Kinds beyond enum mount_kind, made by skiffd when it sends a spec: a tmpfs (data: its options), and what goes into it
 * by the name that is the last part of the target: a bind, a symbolic link (data); at last the tmpfs becomes read-only. No
 * path is resolved for those, of which a container has a dozen. */
#define WIRE_MOUNT_TREE 100
#define WIRE_MOUNT_TREE_BIND 101
#define WIRE_MOUNT_TREE_LINK 102
#define WIRE_MOUNT_TREE_READONLY 103

struct protocol_range {
        uint32_t oldest, newest;
};
/* What this program speaks. */
struct protocol_range protocol_range(void);
#ifdef SKIFF_FAULTS
/* As an older or a newer one would: for tests. Before there are threads. */
void protocol_pretend(const struct protocol_range *range);
#endif
/* The newest version that is in both; 0: there is none. */
uint32_t protocol_agree(const struct protocol_range *one, const struct protocol_range *other);

/* The range as messages carry it: behind what came before. Without `newest` the peer speaks just `oldest`. */
void protocol_newest_get(struct wire_reader *r, struct protocol_range *range);

#define POD_HOST_NETWORK 1U
#define POD_HOST_IPC 2U
#define POD_HOST_PID 4U
#define POD_SHARE_PID 8U
#define POD_USERNS 16U /* its namespaces are owned by a user namespace of its own */

struct pod_start {
        uint32_t flags;
        uint64_t shm_size_bytes;
        bool set_oom_score_adj;
        int32_t oom_score_adj;
        const char *hostname; /* "": the host's */
        char **sysctls;       /* name, value, ...; the array is the reader's to free */
        uint32_t users_base;  /* the host's id of its root, with POD_USERNS; sent behind `newest` */
};
void pod_start_put(struct wire_writer *w, const struct pod_start *start);
void pod_start_get(struct wire_reader *r, struct pod_start *out);
/* What a message without it does not have is 0. POD_USERNS without it is bad. */
void pod_users_get(struct wire_reader *r, struct pod_start *out);

struct protocol_snapshot {
        uint32_t version, flags; /* the version that was agreed on, and that it is written in */
        bool infra_alive, has_netns;
        const char *notice;                /* "" for none */
        struct runtime_container *running; /* the reader's to free */
        size_t n_running;
};
void snapshot_put(struct wire_writer *w, const struct protocol_snapshot *snapshot);
void snapshot_get(struct wire_reader *r, struct protocol_snapshot *out);

/* What the process of a container with hooks does, beside starting. With of_host, when all is mounted but volumes with
 * propagation: on the socket that the root filesystem came on it sends a byte with a clone of its mounts, peers of them, and a
 * byte that comes back says that the hooks have run. Before it execs it runs those in spec.hooks, which are all of
 * START_CONTAINER, with state_begin, its process id and state_end on their standard input. */
struct hook_message {
        bool of_host;
        const char *state_begin, *state_end;
};
#define HOOK_TEXT_MAX 4096 /* of the words of one that failed, on that socket */

/* A container as it is sent: the spec, and where its descriptors are in the list that came with it. As a reader gives
 * it, strings point into the bytes and arrays are freed by container_message_done. */
struct container_message {
        struct container_spec spec; /* source_fd: an index until the caller resolves it */
        /* Indexes of descriptors. rootfs: a socket on which the mount comes when it is ready, to the process itself */
        uint32_t rootfs, oom, oom_event, tree;
        bool log_follows; /* in a message of its own, before the root filesystem */
        bool entry_is_v2_directory;
        uint32_t entries[CGROUP_ENTRY_MAX];
        size_t n_entries;
        uint64_t log_line_max_bytes;
        int64_t started_wall_ns;
        struct seccomp_program seccomp; /* spec.seccomp points here when there is one */
        uint64_t log_max_bytes;         /* of the log file; 0: no bound */
        struct hook_message hooks;
};
/* version: that both speak, here and below. An AppArmor profile or an SELinux context that was asked for and that it does not know is a
 * FAILED_PRECONDITION, which the writer keeps. */
void container_message_put(struct wire_writer *w, uint32_t version, const struct container_message *m);

/* Decodes and checks everything, indexes against n_fds too. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *container_message_get(const void *bytes, size_t len_bytes, uint32_t version,
                                               size_t n_fds, struct container_message *out);
void container_message_done(struct container_message *m);

struct exec_message {
        struct process_spec process;
        struct seccomp_program seccomp; /* len_bytes 0: none */
};
void exec_message_put(struct wire_writer *w, uint32_t version, const struct process_spec *process,
                      const struct seccomp_program *seccomp);
MUST_CHECK struct error *exec_message_get(const void *bytes, size_t len_bytes, uint32_t version,
                                          struct exec_message *out);
void exec_message_done(struct exec_message *m);

/* What the client of a session asks for, as EXEC_OPEN and ATTACH_OPEN carry it. What no client can ask for is bad. */
void streams_put(struct wire_writer *w, const struct session_streams *streams);
void streams_get(struct wire_reader *r, struct session_streams *out);

struct exec_open {
        const char *id; /* of the container; borrowed from the bytes */
        uint64_t spec_bytes;
        uint32_t version;
        struct session_streams streams;
};
void exec_open_put(struct wire_writer *w, const struct exec_open *open);
void exec_open_get(struct wire_reader *r, struct exec_open *out);

/* The sentence for a stage and errno, as users of other runtimes know it. spec may be NULL where none is concerned;
 * process is what was to be run. Code: FAILED_PRECONDITION. */
MUST_CHECK struct error *stage_error(const struct child_report *report, const struct container_spec *spec,
                                     const struct process_spec *process);
