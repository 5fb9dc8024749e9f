/* session.h - one CRI endpoint under measurement: pods and containers as kubelet would ask for them, each call timed.
 *
 * Every pod carries the run's label, so that session_sweep finds what an interrupted run left. Threads: a session belongs
 * to one; several sessions may share a target. */
#pragma once
#include "base/error.h"
#include "cri/client/client.h"
#include "tests/bench/samples.h"
#include <stdbool.h>
#include <sys/types.h>

/* What the containers sleep: tells the workload from what a runtime runs. */
#define WORKLOAD_SECONDS "864213"

/* Of the pods' ports. */
#define PORTS_FIRST 20000U
#define PORTS_N 10000U

/* What is timed; each is an RPC but for STREAM (from Exec's request to the exit code, with its client), STARTED (RunPodSandbox
 * to StartContainer's answer), LIFE (all of a pod)
 * and PULL_ALL (several at once: until the last has answered). */
enum timed {
        TIMED_RUN_POD,
        TIMED_CREATE,
        TIMED_START,
        TIMED_STARTED,
        TIMED_EXEC,
        TIMED_STREAM,
        TIMED_LIST,
        TIMED_STOP_CONTAINER,
        TIMED_REMOVE_CONTAINER,
        TIMED_STOP_POD,
        TIMED_REMOVE_POD,
        TIMED_LIFE,
        TIMED_PULL,
        TIMED_PULL_ALL,
        TIMED_REMOVE_IMAGE,
        TIMED_N,
};
const char *timed_name(enum timed timed);

struct timings {
        struct samples of[TIMED_N];
};
void timings_add_all(struct timings *to, const struct timings *from);
void timings_done(struct timings *timings);

struct workload {
        const char *image;
        bool host_network, unconfined;
        bool ports;          /* each pod has a port of the node: TCP, one after another from PORTS_FIRST on */
        const char *run;     /* the run's label: a random id */
        const char *log_dir; /* exists */
};

struct target {
        const char *name, *endpoint;
        const char *cgroup;        /* cpuacct cgroup that holds daemon and pods; NULL: not known */
        const char *cgroup_parent; /* of the pods */
        pid_t daemon_pid;          /* who listens at the endpoint */
        const char *image;         /* instead of the workload's; NULL: that one */
        bool userns;               /* its pods have user namespaces */
        bool host_network;         /* they have the host's network, whatever the workload says */
        const char *slice;         /* cgroup_parent, where systemd makes it; NULL: below cgroup */
};

struct session {
        const struct target *target;
        const struct workload *workload;
        struct client *client;
        const volatile sig_atomic_t *interrupted;
        struct timings timings;
};

/* Connects, and finds the daemon's pid. Errors: UNAVAILABLE when nobody listens. */
MUST_CHECK struct error *target_probe(struct target *target);

MUST_CHECK struct error *session_open(const struct target *target, const struct workload *workload,
                                      const volatile sig_atomic_t *interrupted, struct session *out);
void session_done(struct session *session);

/* A pod that was made: what to remove again. */
struct pod {
        char *id, *container_id; /* container_id may be NULL */
};
void pod_done(struct pod *pod);

MUST_CHECK struct error *pod_run(struct session *session, struct pod *pod);   /* RunPodSandbox */
MUST_CHECK struct error *pod_start(struct session *session, struct pod *pod); /* and its container, running */
MUST_CHECK struct error *pod_exec(struct session *session, const struct pod *pod); /* ExecSync of true */
MUST_CHECK struct error *pod_exec_stream(struct session *session,
                                         const struct pod *pod);            /* Exec of true, over SPDY */
MUST_CHECK struct error *pod_list(struct session *session);                 /* ListContainers */
MUST_CHECK struct error *pod_end(struct session *session, struct pod *pod); /* Stop and Remove, one by one */

MUST_CHECK struct error *image_pull(struct session *session, const char *image);
MUST_CHECK struct error *image_remove(struct session *session, const char *image);

/* Stops and removes every pod of this run at the target, heeding no interrupt. */
MUST_CHECK struct error *session_sweep(const struct target *target, const struct workload *workload);
