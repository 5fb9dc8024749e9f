/* daemon.h - what the handlers of CRI's calls work on, and the table of them. Private to cri/.
 * Threads: the parts are each safe for any thread; the struct itself does not change while calls are served. */
#pragma once
#include "base/budget.h"
#include "cri/server.h"
#include <stdbool.h>
#include <stddef.h>

struct cgroups;
struct cni;
struct images;
struct node;

struct daemon {
        struct node *node;
        struct images *images;
        struct cni *cni;
        struct cgroups *cgroups;
        bool recursive_readonly;   /* the kernel has mount_setattr */
        struct budget exec_output; /* what all execs under way may hold of output, beside a little each */
};

struct image_auth;
struct pull_watcher;

/* images_pull with a line in the log, whichever way it ended: what a node spent its time and its disk on. In image_rpc.c. */
MUST_CHECK struct error *pull_and_log(struct daemon *daemon, const char *image, const struct image_auth *auth,
                                      const struct pull_watcher *watcher, struct rpc_call *call, char **id);

/* Handlers by family; each file fills a part of the table. */
extern const struct rpc status_rpcs[], sandbox_rpcs[], container_rpcs[], stats_rpcs[], image_rpcs[],
        admin_rpcs[];
extern const size_t n_status_rpcs, n_sandbox_rpcs, n_container_rpcs, n_stats_rpcs, n_image_rpcs, n_admin_rpcs;

#define RUNTIME_SERVICE "runtime.v1.RuntimeService"
#define IMAGE_SERVICE "runtime.v1.ImageService"
#define ADMIN_SERVICE "skiff.admin.v1.Admin"
