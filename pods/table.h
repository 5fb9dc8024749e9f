/* table.h - the objects of a node, by id and by name, and their counted references. Threads: said at each function. */
#pragma once
#include "pods/state.h"

/* New objects with one reference, in no table. They own config. pod_id is only used for the container's name. */
struct sandbox *sandbox_new(const char *id, Cri__PodSandboxConfig *config, const char *handler);
struct container *container_new(const char *id, const char *pod_id, Cri__ContainerConfig *config);

/* Any thread. The last reference frees; objects in a table are held by it. NULL is fine. */
struct sandbox *sandbox_ref(struct sandbox *pod);
void sandbox_unref(struct sandbox *pod);
DEFINE_FREEP(struct sandbox, sandbox_unref)
struct container *container_ref(struct container *container);
void container_unref(struct container *container);
DEFINE_FREEP(struct container, container_unref)

/* Puts an object in, which reserves its name. Errors: ALREADY_EXISTS naming the id that has the name. Takes the lock. */
MUST_CHECK struct error *table_add_pod(struct node *node, struct sandbox *pod);
MUST_CHECK struct error *table_add_container(struct node *node, struct container *container);

/* Takes it out; the name is free. Takes the lock. Harmless when it is not in. */
void table_remove_pod(struct node *node, struct sandbox *pod);
void table_remove_container(struct node *node, struct container *container);

/* Frees the name alone: a failed make whose undo is still to be retried. Takes the lock. */
void table_release_pod_name(struct node *node, struct sandbox *pod);

/* A reference by id, or by a start of one that no other id has (people type those); or NULL. Takes the lock. */
struct sandbox *table_find_pod(struct node *node, const char *id);
struct container *table_find_container(struct node *node, const char *id);
struct sandbox *table_find_pod_by_name(struct node *node, const char *name);
struct container *table_find_container_by_name(struct node *node, const char *name);

/* References to all containers of a pod, NULL-terminated; freed with container_list_free. Takes the lock. */
struct container **table_containers_of(struct sandbox *pod);
void container_list_free(struct container **list);
DEFINE_FREEP(struct container *, container_list_free)
