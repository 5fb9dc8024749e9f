/* daemon.h - what the handlers of CRI's calls work on, and the table of them. Private to cri/.
 * Threads: the parts are each safe for any thread; the struct itself does not change while calls are served. */
#pragma once
#include "base/budget.h"
#include "cri/server.h"
#include "cri/stream/control.h"
#include <stdbool.h>
#include <stddef.h>

struct cgroups;
struct cni;
struct images;
struct node;
struct streamer;

struct daemon {
        struct node *node;
        struct images *images;
        struct cni *cni;
        struct cgroups *cgroups;
        struct streamer *streamer;
        bool recursive_readonly;   /* the kernel has mount_setattr */
        bool user_namespaces;      /* pods can have one here */
        struct budget exec_output; /* what all execs under way may hold of output, beside a little each */
};

struct image_auth;
struct pull_watcher;

/* Opens what a client has come for: struct streamer_config's open, with a struct daemon as its context. In stream_rpc.c. */
MUST_CHECK struct error *stream_open(void *context, enum control_kind kind, const ProtobufCMessage *request,
                                     uint16_t rows, uint16_t columns, const struct wait *wait,
                                     struct session_fds *out);

/* images_pull with a line in the log, whichever way it ended: what a node spent its time and its disk on. In image_rpc.c. */
MUST_CHECK struct error *pull_and_log(struct daemon *daemon, const char *image, const struct image_auth *auth,
                                      const struct pull_watcher *watcher, struct rpc_call *call, char **id);

/* Handlers by family; each file fills a part of the table. */
extern const struct rpc status_rpcs[], sandbox_rpcs[], container_rpcs[], stats_rpcs[], image_rpcs[],
        admin_rpcs[], stream_rpcs[], event_rpcs[];
extern const size_t n_status_rpcs, n_sandbox_rpcs, n_container_rpcs, n_stats_rpcs, n_image_rpcs, n_admin_rpcs,
        n_stream_rpcs, n_event_rpcs;

#define RUNTIME_SERVICE "runtime.v1.RuntimeService"
#define IMAGE_SERVICE "runtime.v1.ImageService"
#define ADMIN_SERVICE "skiff.admin.v1.Admin"
