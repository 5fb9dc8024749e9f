/* node.h - the face of pods: what the CRI calls ask for, by CRI's own messages.
 *
 * A node owns the sandboxes and containers of one skiffd. Everything is kept in ROOT/pods.db as it happens, so a node
 * opened again after any death finds what was there: what ran still runs, what was half made is undone, what was half
 * removed is removed.
 *
 * Requests are checked by the caller for their shape (cri/validate); what they mean is checked here. Results are handed
 * to a `reply` function while the tables are locked: it must not call back. An id may be given by any
 * start of it that no other id has. An unknown id is NOT_FOUND, except where CRI wants success.
 *
 * Threads: any, at once, after node_open. */
#pragma once
#include "api/cri.pb-c.h"
#include "base/error.h"
#include "base/pool.h"
#include "base/session.h"
#include "base/trace.h"
#include "base/wait.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct apparmor;
struct cgroups;
struct cni;
struct images;
struct node;
struct runtime;
struct seccomp_cache;
struct selinux;
struct share;

/* What can change while the node is open. */
struct node_settings {
        bool device_ownership; /* devices belong to the user and group that a container is asked to run as */
        uint64_t log_line_max_bytes;
        uint64_t rw_layer_max_bytes; /* that a container may write into its root; 0: no bound */
        uint64_t log_max_bytes;      /* of a container's log file; 0: no bound */
};

struct node_config {
        const char *root, *state;
        /* All borrowed, and must outlive the node. */
        struct images *images;
        struct cni *cni;
        struct runtime *runtime;
        struct cgroups *cgroups;
        struct seccomp_cache *seccomp;
        struct apparmor *apparmor;
        struct selinux *selinux;
        struct pool *pool;       /* for what goes on in the background */
        const char *seccomp_dir; /* where Localhost profiles with a relative name are; may be NULL */
        const char *cdi_dirs;    /* separated by colons, of CDI files; NULL: none */
        struct node_settings settings;
        const char *no_userns; /* why no pod can have a user namespace; NULL: it can */
};

/* Opens ROOT/pods.db and recovers. When it returns reads are right, and interrupted makes are being undone in the
 * background. */
MUST_CHECK struct error *node_open(const struct node_config *config, struct node **out);

/* Other settings, for containers that are made (rw_layer_max_bytes) or started from now on. */
void node_configure(struct node *node, const struct node_settings *settings);

/* The first part of an orderly end: calls that are parked end with UNAVAILABLE, at once, and none parks any more; nothing
 * new is begun in the background. Calls may come still. */
void node_close(struct node *node);

/* Waits until what goes on in the background has ended; false when timeout_ms was not enough: then the process
 * may end as it is, which is as safe as any death; node_free would wait on. */
MUST_CHECK bool node_idle(struct node *node, int64_t timeout_ms);

/* Waits for what goes on in the background, ends the node's threads; pods go on. Every call must have returned. */
void node_free(struct node *node);
DEFINE_FREEP(struct node, node_free)

/* A call that waits for something to happen, and no thread with it: it is parked in the node. The memory is the caller's;
 * it must stay until done was called, or node_waiter_leave has returned true. */
struct node_waiter {
        /* How it ended: once, on any thread (the caller's own, before the call returns, too), with no lock of the node
         * held. e, NULL for success, is its to free. It must not wait. */
        void (*done)(struct node_waiter *waiter, struct error *e);
        struct node_waiter *next, **at; /* the node's; NULL at first */
};

/* Takes a waiter out, whose client has gone: true when it was parked; done will not be called then. What it waited for
 * goes on. */
bool node_waiter_leave(struct node *node, struct node_waiter *waiter);

/* Where a result goes, once: message is of the call's response type, borrowed. */
struct node_reply {
        struct error *(*send)(void *context, const ProtobufCMessage *message);
        void *context;
};

/* --- sandboxes --- */

/* trace: whose request this is, here and below, for the network's plugins; NULL: nobody's. Errors: ALREADY_EXISTS names the id
 * that has the name; whatever fails, nothing is left. */
MUST_CHECK struct error *node_run_pod(struct node *node, const Cri__PodSandboxConfig *config,
                                      const char *handler, const struct trace *trace, const struct wait *wait,
                                      char **out_id);
/* Kills what runs in it and takes down its network and namespaces. Idempotent; an unknown id succeeds. */
MUST_CHECK struct error *node_stop_pod(struct node *node, const char *id, const struct trace *trace);
/* Removes it with its containers, stopping it first where it must. Idempotent; an unknown id succeeds. */
MUST_CHECK struct error *node_remove_pod(struct node *node, const char *id, const struct trace *trace);
/* What it says replaces what the pod's config said of overhead and resources; what it leaves out stays. Errors: NOT_FOUND;
 * FAILED_PRECONDITION when the pod is not ready; INVALID_ARGUMENT for what cannot be; UNAVAILABLE when systemd, which has
 * the pod's weight, does not answer. After an error all is as before. */
MUST_CHECK struct error *node_update_pod(struct node *node,
                                         const Cri__UpdatePodSandboxResourcesRequest *request,
                                         const struct wait *wait);
MUST_CHECK struct error *node_pod_status(struct node *node, const char *id, bool verbose,
                                         const struct node_reply *reply);
MUST_CHECK struct error *node_list_pods(struct node *node, const Cri__PodSandboxFilter *filter,
                                        const struct node_reply *reply);

/* --- containers --- */

/* Errors: ALREADY_EXISTS names the id that has the name; NOT_FOUND for the pod; FAILED_PRECONDITION when the pod is not
 * ready or the image is not here. Whatever fails, nothing is left. */
MUST_CHECK struct error *node_create_container(struct node *node, const Cri__CreateContainerRequest *request,
                                               const struct wait *wait, char **out_id);
/* Errors: NOT_FOUND; FAILED_PRECONDITION when it was started before. What fails in the container's own process leaves it
 * EXITED with 128, reason StartError. */
MUST_CHECK struct error *node_start_container(struct node *node, const char *id, const struct wait *wait);
/* grace_s: seconds between the stop signal and SIGKILL; a second call with less shortens the first. Idempotent; an
 * unknown id succeeds. While the grace runs the call is parked, and nothing that is asked of the container meanwhile waits
 * for it; the stop goes on when its caller leaves. */
void node_stop_container(struct node *node, const char *id, int64_t grace_s, struct node_waiter *waiter);
MUST_CHECK struct error *node_remove_container(struct node *node,
                                               const char *id); /* likewise; kills what runs */
MUST_CHECK struct error *node_container_status(struct node *node, const char *id, bool verbose,
                                               const struct node_reply *reply);
MUST_CHECK struct error *node_list_containers(struct node *node, const Cri__ContainerFilter *filter,
                                              const struct node_reply *reply);
MUST_CHECK struct error *node_update_container(struct node *node, const char *id,
                                               const Cri__LinuxContainerResources *resources);
MUST_CHECK struct error *node_reopen_log(struct node *node, const char *id, const struct wait *wait);
/* Its output is taken from share; what is over that, or over what a message holds, is cut, and said at the end of stderr.
 * Errors: DEADLINE_EXCEEDED when timeout_s (0: none) has passed; FAILED_PRECONDITION when it does not run. */
MUST_CHECK struct error *node_exec_sync(struct node *node, const Cri__ExecSyncRequest *request,
                                        struct share *share, const struct wait *wait,
                                        const struct node_reply *reply);

/* Makes an image of it, in whatever state it is: images_commit, whose errors it has. commit says all but the ids. pause: what
 * runs in it stands still while its files are read; should skiffd be killed then, the next one lets it go on. Errors:
 * NOT_FOUND for the container; FAILED_PRECONDITION when it cannot be paused. */
struct image_commit;
MUST_CHECK struct error *node_commit_container(struct node *node, const char *id, bool pause,
                                               const struct image_commit *commit, const struct wait *wait,
                                               char **out_image_id);

/* --- events: what becomes of pods and containers from now on --- */

struct node_listener;
/* Begins to listen: what happens from here on waits for it, up to a bound. The listener must be freed before the node. */
MUST_CHECK struct error *node_listen(struct node *node, struct node_listener **out);
/* Waits for the next: a packed ContainerEventResponse, borrowed until the next call. One thread a listener. Errors: those of
 * wait; RESOURCE_EXHAUSTED when it was so far behind that events are lost to it; UNAVAILABLE once the node closes. */
MUST_CHECK struct error *node_listener_next(struct node_listener *listener, const struct wait *wait,
                                            const void **bytes, size_t *len_bytes);
void node_listener_free(struct node_listener *listener); /* NULL is fine */
DEFINE_FREEP(struct node_listener, node_listener_free)

/* --- sessions (base/session.h): a check when they are asked for, and later, once, the opening --- */

/* Whether it could be opened now. Errors: NOT_FOUND; FAILED_PRECONDITION for what does not run; INVALID_ARGUMENT for what
 * never can: no command, no stream at all, a terminal with stderr, stdin or a terminal that the container does not have (attach
 * takes the container's own), a port that is none. */
MUST_CHECK struct error *node_check_exec(struct node *node, const Cri__ExecRequest *request);
MUST_CHECK struct error *node_check_attach(struct node *node, const Cri__AttachRequest *request);
MUST_CHECK struct error *node_check_forward(struct node *node, const Cri__PortForwardRequest *request);

/* Opens it: runtime_exec_open and its neighbours in runtime/handler.h. rows, columns: of the client's terminal, 0 when it did
 * not say. *out is the caller's. Errors: as the check's, and what kept it from starting. */
MUST_CHECK struct error *node_open_exec(struct node *node, const Cri__ExecRequest *request, uint16_t rows,
                                        uint16_t columns, const struct wait *wait, struct session_fds *out);
MUST_CHECK struct error *node_open_attach(struct node *node, const Cri__AttachRequest *request, uint16_t rows,
                                          uint16_t columns, const struct wait *wait, struct session_fds *out);
MUST_CHECK struct error *node_open_forward(struct node *node, const Cri__PortForwardRequest *request,
                                           const struct wait *wait, struct session_fds *out);

/* --- stats: what is known now; a figure that this host does not give is absent --- */

/* Of a container that has its cgroup (created, running, or ended and not removed). */
MUST_CHECK struct error *node_container_stats(struct node *node, const char *id,
                                              const struct node_reply *reply);
MUST_CHECK struct error *node_list_container_stats(struct node *node, const Cri__ContainerStatsFilter *filter,
                                                   const struct node_reply *reply);
MUST_CHECK struct error *node_pod_stats(struct node *node, const char *id, const struct node_reply *reply);
MUST_CHECK struct error *node_list_pod_stats(struct node *node, const Cri__PodSandboxStatsFilter *filter,
                                             const struct node_reply *reply);

/* --- metrics: the same and more by the names that cAdvisor gave them, for a scraper (metric_list.h) --- */

/* Names, labels and meaning of what node_list_pod_metrics tells. */
MUST_CHECK struct error *node_metric_descriptors(const struct node_reply *reply);
/* Of the pods that are ready and the containers that run. */
MUST_CHECK struct error *node_list_pod_metrics(struct node *node, const struct node_reply *reply);

/* What is wrong with the CDI files of this host: text lines for people, NULL-terminated, owned by the caller. */
char **node_cdi_problems(struct node *node);

/* What is left over of pods that no record knows: text lines for people, NULL-terminated, owned by the caller. */
MUST_CHECK struct error *node_leaks(struct node *node, char ***out);

/* Has the network's plugins told which pods there are, in the background, so that they drop what they keep of others. Where
 * pods come and go all the while it is left out, and logged: the next one will do. */
void node_collect(struct node *node);

/* Moves what the WAL holds into the database, and makes the ballast again: called now and then by the daemon. */
MUST_CHECK struct error *node_checkpoint(struct node *node);
