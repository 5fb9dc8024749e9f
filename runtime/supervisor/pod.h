/* pod.h - what skiff-pod keeps: its pod, containers, execs and connections.
 *
 * One thread, one loop. A container or an exec is made by a request, answered when its process has been exec'ed (or
 * could not be), and freed when its process has ended and its output is drained. */
#pragma once
#include "base/loop.h"
#include "runtime/native/protocol.h"
#include "runtime/supervisor/log.h"
#include <stdbool.h>
#include <sys/types.h>

/* Descriptors that skiffd hands over at the start. */
enum { FD_LISTENER = 3, FD_EXITS = 4, FD_FIRST = 5 };

/* Of a pod that shares a pid namespace. */
struct infra {
        struct source exit;   /* its pidfd; -1 once it has ended */
        struct source report; /* until it is settled; then -1 */
};

struct unwritten_exit { /* a record that found the disk full: tried again with the next */
        struct runtime_exit record;
        struct unwritten_exit *next;
};

struct pod {
        struct loop loop;
        struct source listener;
        int exits_fd;
        int proc_fd;         /* detached procfs of our pid namespace */
        int self_fd;         /* pidfd of our own */
        int netns_fd;        /* the pod's, which is ours; -1 with the host's network */
        int userns_fd;       /* the containers', which owns that; -1: they have ours */
        uint32_t users_base; /* our id of its root */
        uint32_t flags;
        bool committed, started;
        char notice[128];
        uintptr_t heap_start; /* the program break before the first malloc */
        struct infra infra;
        struct connection *connections;
        struct workload *containers, *spare; /* spare: for the next to start, or NULL */
        struct exec *execs;
        struct unwritten_exit *unwritten;
};

/* --- main.c --- */

/* Does what POD_START asks: shm, oom score, namespaces, infra. shm_fd: the host's /dev/shm, borrowed, or -1. */
void pod_start(struct pod *pod, const struct pod_start *start, int shm_fd, struct child_report *report);

/* --- connection.c --- */

enum connection_kind {
        CONNECTION_NEW,
        CONNECTION_EVENTS,
        CONNECTION_START,
        CONNECTION_EXEC,
        CONNECTION_SESSION
};

struct connection {
        struct source source;
        struct pod *pod;
        struct connection *next;
        enum connection_kind kind;
        bool is_first;
        uint32_t version; /* START, EXEC: what its request is written in */
        /* START: what has come so far */
        int memfd;
        uint64_t spec_bytes;
        int *fds;
        size_t n_fds, want_fds;
        struct workload *container; /* START: whose start it waits for */
        struct exec *exec;          /* EXEC */
};

/* Takes fd over and watches it; is_first: the one that skiff-pod was born with, whose end before `commit` ends it. A
 * connection that is closed frees itself and what it had begun. */
MUST_CHECK struct error *connection_open(struct pod *pod, int fd, bool is_first);
void connection_close(struct connection *c);

/* Sends; a peer that does not read loses its connection. c may be NULL: nobody waits for the answer. */
void connection_send(struct connection *c, struct wire_writer *w, const int *fds, size_t n_fds);
void connection_answer(struct connection *c, enum message_type type);
void connection_fail(struct connection *c, const struct child_report *report);
void connection_fail_stage(struct connection *c, enum stage stage, int errnum);
void connection_fds_close(int *fds, size_t n); /* those that are not -1; leaves -1 */

/* To every event connection. */
void events_send(struct pod *pod, struct wire_writer *w);

/* --- namespaces.c --- */

/* The pod's network, IPC and UTS namespaces are those that skiffd started us in, and who owns them is the containers' user
 * namespace: finds that, and gives them their hostname and sysctls.
 * *report says where it failed (stage not NONE). */
void namespaces_set(struct pod *pod, const struct pod_start *start, struct child_report *report);

/* Makes the calling process, a child of ours, the root of the containers' user namespace, with no rights anywhere else. -1
 * and errno. Safe between clone and exec. */
int userns_enter(const struct pod *pod);

/* --- infra.c --- */

/* Makes pid 1 of the pid namespace that the pod's containers share. *report says where it failed (stage not NONE). */
void infra_start(struct pod *pod, struct child_report *report);

/* Waits, some microseconds at most, until infra is what it should be (no capabilities, no descriptors); *report says what
 * failed. No infra, nothing to wait for. */
void infra_settled(struct pod *pod, struct child_report *report);

/* --- workload.c --- */

struct stream {
        struct source source; /* our end of the pipe, or the terminal's master; -1 at its end */
        struct log_stream log;
        struct workload *container;
        int64_t held_ns; /* since when its log holds a line's beginning; monotonic */
        /* stdio.c: a flood */
        bool paused, wide;
        unsigned n_quick;
        int64_t read_ns; /* monotonic */
};

/* A container, as the process that is its parent has it. */
struct workload {
        struct workload *next;
        struct pod *pod;
        char id[PROTOCOL_ID_MAX + 1];
        enum pid_mode pid_mode;
        pid_t pid;
        struct source exit, report; /* pidfd; socket that ends at exec */
        struct child_report failure;
        struct connection *starter; /* NULL once committed, or gone */
        bool running, ended, cancelled;
        int status; /* as waitid gives it: exit code, or 128 + signal with `signal` set */
        int signal;
        int64_t started_wall_ns, finished_wall_ns;
        int entries[CGROUP_ENTRY_MAX];
        size_t n_entries;
        bool entry_is_v2_directory;
        int tree_fd, oom_fd; /* cgroup directory that holds its processes; -1 where there is none */
        int stdin_fd;        /* the writing end; -1: it has none open, or a terminal */
        bool stdin_once;     /* it is closed behind the first client that had it */
        bool tty;
        struct source console; /* terminal.h: until its terminal has come; then -1 */
        int slave_fd;
        struct source oom_event;
        uint64_t oom_kills_before, oom_kills_told;
        unsigned oom_looks;
        struct log_file log;
        bool log_awaited;       /* it follows the request; until then the pipes keep what is written */
        bool exit_put_off;      /* until the log has come */
        struct stream out, err; /* a terminal is `out` */
        struct timer flush, pause, rest, linger, oom_look;
        struct attached *attached;
        uint32_t n_execs;
        /* Execs whose cgroups are there still, since they left something in the background: by number. */
        uint32_t *left;
        size_t n_left, room_left, left_at;
};

struct workload *workload_find(struct pod *pod, const char *id); /* one that runs; else NULL */

/* Takes the memory for one that is to start, before its message takes more: what lies among a message's parts keeps their page. */
void workload_reserve(struct pod *pod);
/* Starts what m says, with descriptors fds (which become ours). On failure *report says where. */
void workload_start(struct pod *pod, struct connection *c, const struct container_message *m, int *fds,
                    size_t n_fds, struct child_report *report);
void workload_log(struct workload *container, int log_fd);
void workload_commit(struct workload *container); /* skiffd knows that it runs */
void workload_cancel(struct workload *container); /* its start's connection has closed before */
void workload_reopen_log(struct workload *container, int log_fd);
void workload_kill_all(struct pod *pod);

/* --- exec.c --- */

/* A process that was started in a running container: for whoever waits on its connection, or as a session, with a channel
 * that outlives the connection. */
struct exec {
        struct exec *next;
        struct pod *pod;
        struct workload *container;    /* NULL once that has gone */
        uint32_t number;               /* of its cgroup, among the container's */
        struct connection *connection; /* NULL once it has closed; a session's once it has been answered */
        pid_t pid;
        struct source exit, report;
        struct source channel; /* a session's, until its end */
        struct child_report failure;
        struct timer timer; /* the deadline or the grace, then the retries of killing */
        bool ended, killing, timed_out;
        bool is_session, hung_up; /* its client has gone before it has ended */
        int status;
        int parent_fd, tree_fd; /* cgroup: the container's, and its own below; -1 */
        bool is_v2;
        char tree_name[24];
        unsigned kill_rounds;
};

struct exec_ends {
        int in_fd, out_fd, err_fd; /* of the process; -1: the null device */
        int console_fd;            /* where its terminal's master goes, instead of these; -1: it has none */
        uint16_t rows, columns;    /* of the terminal; 0: not known */
        int channel_fd; /* -1: no session. It is taken, and -1 left, when the process has been started */
};
#define EXEC_ENDS_NONE                                                                                       \
        ((struct exec_ends){ .in_fd = -1, .out_fd = -1, .err_fd = -1, .console_fd = -1, .channel_fd = -1 })

/* Starts a process in a running container. c is told of its end; of a session's start alone, the end goes to the channel.
 * What fails before the clone is in *report. exec_kill kills it with all that it started, once or again. */
void exec_start(struct connection *c, struct workload *container, const struct exec_message *m,
                struct exec_ends *ends, int64_t timeout_ms, struct child_report *report);
void exec_closed(struct exec *exec);                                 /* its connection has closed */
void exec_orphan(struct pod *pod, const struct workload *container); /* it is about to go, with its cgroup */
void exec_kill(struct exec *exec);

/* --- exits.c --- */

/* Appends the record to the exits file and tells the event connections. */
void exit_record(struct pod *pod, const struct runtime_exit *record);
/* For a skiffd that has just attached: writes what found the disk full, and tells c of what still does. After the
 * snapshot. */
void exits_retry(struct connection *c);
