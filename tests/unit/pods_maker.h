/* pods_maker.h - a node for tests: real stores, real cgroups, one small image, and the handler of fake_runtime.h. Needs
 * root. */
#pragma once
#include "pods/state.h"
#include "tests/unit/fake_runtime.h"
#include "tests/unit/unit.h"

struct made_node {
        char *dir, *parent; /* ROOT and STATE; the pods' cgroup_parent */
        struct images *images;
        struct cni *cni;
        struct runtime *runtime;
        struct cgroups *cgroups;
        struct seccomp_cache *seccomp;
        struct pool *pool;
        struct node *node;
};

int made_node_setup(void **state);
int made_node_teardown(void **state); /* fails when supervisors are left */
#define IN_NODE(f) cmocka_unit_test_setup_teardown(f, made_node_setup, made_node_teardown)

/* What a restart of skiffd is to the node. */
void made_node_reopen(struct made_node *made);

/* The image of all containers: entrypoint /bin/app, cmd "serve", PATH, user app (1000:1000, in group 2000), working
 * directory /srv, stop signal SIGQUIT. */
#define MADE_IMAGE "example.org/app:1"

/* Runs a pod on the host's network; the id is the caller's. edit may be NULL. */
char *made_pod(struct made_node *made, const char *name, void (*edit)(Cri__PodSandboxConfig *config));

/* Creates a container of the image; edit may be NULL. made_create gives what the call gives. */
struct error *made_create(struct made_node *made, const char *pod_id, const char *name,
                          void (*edit)(Cri__ContainerConfig *config), char **out_id);
char *made_container(struct made_node *made, const char *pod_id, const char *name,
                     void (*edit)(Cri__ContainerConfig *config));
void made_start(struct made_node *made, const char *container_id);

/* A stop that is waited for: begin, and what it came to, which is the caller's. Between them it may be parked. */
struct made_stop {
        struct node_waiter waiter; /* the first */
        int done_fd;               /* an eventfd; readable when it has ended */
        struct error *e;
};
void made_stop_begin(struct made_node *made, const char *container_id, int64_t grace_s,
                     struct made_stop *stop);
struct error *made_stop_end(struct made_stop *stop);
struct error *made_stop(struct made_node *made, const char *container_id, int64_t grace_s); /* both */

/* Copies of the responses; the caller's (message_free). NULL: NOT_FOUND. */
Cri__ContainerStatusResponse *made_status(struct made_node *made, const char *container_id, bool verbose);
Cri__PodSandboxStatusResponse *made_pod_status(struct made_node *made, const char *pod_id);

/* Waits, some seconds at most, until the container or pod is in this state. */
void made_wait(struct made_node *made, const char *container_id, Cri__ContainerState state);
void made_wait_pod(struct made_node *made, const char *pod_id, Cri__PodSandboxState state);
