#include "pods/lifecycle/recover.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cni/cni.h"
#include "images/images.h"
#include "pods/background.h"
#include "pods/events.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/network.h"
#include "pods/lifecycle/pod_directory.h"
#include "pods/lifecycle/sandbox.h"
#include "pods/lifecycle/settle.h"
#include "pods/message.h"
#include "pods/pause.h"
#include "pods/records.h"
#include "pods/spec/selinux.h"
#include "pods/table.h"
#include "runtime/cgroup/cgroup.h"
#include <dirent.h>
#include <string.h>

#define ATTACH_TIMEOUT_MS 1000 /* to connect to all: only a full backlog makes one wait */
#define ANSWERS_TIMEOUT_MS 1000
#define SCOPE_END_MS 30000

/* --- records to tables --- */

/* What was half made has no claim to its name: it may have been made again since, and that one must not be dropped. Nor may
 * any other for its name's sake: a pod that runs is never disowned. */
static void load_pod(void *context, struct sandbox *pod)
{
        struct node *node = context;
        if (pod->state == POD_MAKING) {
                free(pod->name);
                pod->name = format_string("making/%s", pod->id);
        }
        struct error *e = sandbox_derive(node, pod);
        log_error(LOG_LEVEL_ERROR, e, "load a pod's record", "pod", pod->id);
        e = table_add_pod(node, pod);
        if (e) {
                log_error(LOG_LEVEL_ERROR, e, "two records have one name", "pod", pod->id);
                free(pod->name);
                pod->name = format_string("twin/%s", pod->id);
                log_error(LOG_LEVEL_ERROR, table_add_pod(node, pod), "load a pod's record", "pod", pod->id);
        }
        sandbox_unref(pod);
}

static void load_container(void *context, struct container *c, const char *pod_id)
{
        struct node *node = context;
        c->pod = table_find_pod(node, pod_id);
        if (c->state == CONTAINER_MAKING) { /* as above */
                free(c->name);
                c->name = format_string("making/%s", c->id);
        }
        struct error *e = c->pod ? container_derive(node, c)
                                 : error_new(ERROR_DATA_LOSS, "its pod %s has no record", pod_id);
        if (!e)
                e = table_add_container(node, c);
        log_error(LOG_LEVEL_ERROR, e, "load a container's record", "container", c->id);
        container_unref(c);
}

static void load_broken(void *context, const char *id, struct error *e)
{
        (void) context;
        log_error(LOG_LEVEL_ERROR, e, "a record cannot be read", "id", id);
}

/* --- one pod --- */

/* Nothing of an earlier boot runs, and how it ended nobody knows. */
static void settle_rebooted(struct sandbox *pod)
{
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        for (struct container **c = list; *c; c++) {
                (void) pthread_mutex_lock(&pod->node->lock);
                if ((*c)->state == CONTAINER_RUNNING || (*c)->state == CONTAINER_STARTING) {
                        (*c)->state = CONTAINER_EXITED;
                        (*c)->exit_code = 255;
                        (*c)->finished_ns = clock_wall_ns();
                        (*c)->reason = dup_string("Unknown");
                        (*c)->message = dup_string("the node was rebooted while it ran");
                }
                (void) pthread_mutex_unlock(&pod->node->lock);
                log_error(LOG_LEVEL_WARN, record_container_progress(pod->node->db, *c), "record a container",
                          "container", (*c)->id);
        }
}

/* Asks the pod's supervisor, where there is one; its answer is not waited for. */
static void reach(struct sandbox *pod, const struct wait *wait)
{
        selinux_pair_restore(pod);
        bool is_rebooted = strcmp(pod->boot_id, pod->node->boot_id) != 0;
        struct error *e = pod_directory_open(pod, &pod->dir_fd);
        if (!e && !is_rebooted && pod->dir_fd >= 0 && (pod->state == POD_READY || pod->state == POD_STOPPING))
                e = runtime_pod_attach(pod->node->config.runtime, pod->id, pod->dir_fd, wait, &pod->runtime);
        pod->unreached = e != NULL && !is_rebooted; /* it may live: react.c tries again */
        log_error(LOG_LEVEL_WARN, e, "find a pod's supervisor", "pod", pod->id);
}

static void await_answer(struct sandbox *pod, const struct wait *wait)
{
        bool lives = true;
        struct error *e = pod->runtime ? runtime_pod_await(pod->runtime, wait, &lives) : NULL;
        if (!lives)
                runtime_pod_free(TAKE(pod->runtime));
        if (e && error_code_of(e) != ERROR_DEADLINE_EXCEEDED && error_code_of(e) != ERROR_UNAVAILABLE)
                pod->unreached = true;
        log_error(LOG_LEVEL_WARN, e, "a pod's supervisor does not answer; the pod is left as it is", "pod",
                  pod->id);
        const char *undriven = pod->runtime ? runtime_pod_undriven(pod->runtime) : NULL;
        if (undriven)
                log_event(LOG_LEVEL_WARN, undriven, "pod", pod->id, NULL);
}

/* Nothing runs on without its supervisor: in a pod with the host's pid namespace the kernel has not seen to that. */
static void kill_unowned(struct sandbox *pod)
{
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        for (struct container **c = list; *c; c++)
                log_error(LOG_LEVEL_WARN, cgroup_kill(pod->node->config.cgroups, (*c)->cgroup_path),
                          "kill what runs without a supervisor", "container", (*c)->id);
}

static void recover_pod(struct sandbox *pod)
{
        log_error(LOG_LEVEL_WARN, network_restore(pod), "read a pod's network", "pod", pod->id);
        if (strcmp(pod->boot_id, pod->node->boot_id) != 0) {
                settle_rebooted(pod);
        } else {
                if (!pod->runtime && !pod->unreached) /* there is none, for sure */
                        kill_unowned(pod);
                settle_containers(pod);
        }
        bool alive = pod->unreached || (pod->runtime && runtime_pod_keeper_alive(pod->runtime));
        if (pod->state == POD_READY && !alive) {
                pod->lost = true;
                if (!pod->runtime)
                        containers_lost(pod);
        }
        if (pod->runtime && pod->state == POD_READY && !pod->unreached)
                log_error(LOG_LEVEL_ERROR, events_watch(pod), "watch a pod", "pod", pod->id);
}

/* All are asked before the first answer is waited for, and there is one deadline for all answers: those who are frozen cost
 * the start that time once, however many they are. */
static void recover_pods(struct node *node)
{
        struct sandbox *pod = NULL, *next = NULL;
        struct wait wait = wait_of_ms(ATTACH_TIMEOUT_MS);
        /* Nobody else is here yet, so the table is walked without the lock. */
        HASH_ITER(by_id, node->pods, pod, next)
        {
                reach(pod, &wait);
        }
        wait = wait_of_ms(ANSWERS_TIMEOUT_MS);
        HASH_ITER(by_id, node->pods, pod, next)
        {
                await_answer(pod, &wait);
        }
        HASH_ITER(by_id, node->pods, pod, next)
        {
                recover_pod(pod);
        }
        pauses_recover(node);
}

/* --- what was under way --- */

static struct error *finish_containers(struct sandbox *pod)
{
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        for (struct container **c = list; *c; c++) {
                (void) pthread_mutex_lock(&pod->node->lock);
                enum container_state state = (*c)->state;
                (void) pthread_mutex_unlock(&pod->node->lock);
                if (state == CONTAINER_MAKING)
                        TRY(container_undo_make(*c));
                else if (state == CONTAINER_REMOVING)
                        TRY(container_remove(*c));
        }
        return NULL;
}

static struct error *finish(struct sandbox *pod)
{
        TRY(finish_containers(pod));
        (void) pthread_mutex_lock(&pod->node->lock); /* a client's call may be under way */
        enum pod_state state = pod->state;
        bool lost = pod->lost;
        (void) pthread_mutex_unlock(&pod->node->lock);
        switch (state) {
        case POD_MAKING:
                return sandbox_undo_make(pod);
        case POD_READY:
                return lost ? sandbox_stop(pod) : NULL;
        case POD_STOPPING:
                return sandbox_stop(pod);
        case POD_REMOVING:
                return sandbox_remove(pod);
        case POD_STOPPED:
                break;
        }
        return NULL;
}

/* A create of the same name waits for the undo: the object is taken before the socket answers. */
static void finish_later(struct node *node)
{
        struct sandbox *pod = NULL, *next = NULL;
        size_t n = 0, i = 0;
        (void) pthread_mutex_lock(&node->lock);
        struct sandbox **list = NEW_ARRAY(struct sandbox *, HASH_CNT(by_id, node->pods) + 1U);
        HASH_ITER(by_id, node->pods, pod, next)
        {
                list[n++] = sandbox_ref(pod);
        }
        (void) pthread_mutex_unlock(&node->lock);
        for (i = 0; i < n; i++) {
                background_pod(list[i], finish, "finish what was under way");
                sandbox_unref(list[i]);
        }
        free(list);
}

/* In the background: what hangs (a network filesystem whose server is gone) must not keep the node from its start. Whatever
 * is made meanwhile is in the tables before its files are. */
static struct error *sweep_away(struct node *node)
{
        return recover_sweep(node, true, NULL);
}

struct error *recover(struct node *node)
{
        const struct records_reader reader = { load_pod, load_container, load_broken, node };
        TRY(records_read(node->db, &reader));
        recover_pods(node);
        log_error(LOG_LEVEL_WARN, network_collect(node), "tell CNI plugins which pods there are", NULL, NULL);
        finish_later(node);
        background_node(node, sweep_away, "remove what no record knows");
        return NULL;
}

/* --- the sweep --- */

struct sweep {
        struct node *node;
        bool remove;
        char **found;
        size_t n;
};

static void sweep_note(struct sweep *sweep, char *sentence)
{
        sweep->found = grow_array(sweep->found, sweep->n + 2, sizeof(char *));
        sweep->found[sweep->n++] = sentence;
        sweep->found[sweep->n] = NULL;
}

static bool pod_exists(struct node *node, const char *id)
{
        _cleanup_(sandbox_unrefp) struct sandbox *pod = table_find_pod(node, id);
        return pod != NULL;
}

static bool container_exists(struct node *node, const char *id)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        return c != NULL;
}

static struct error *sweep_rootfs(struct sweep *sweep)
{
        _cleanup_(free_stringsp) char **ids = NULL;
        TRY(rootfs_list(sweep->node->config.images, &ids));
        for (char **id = ids; id && *id; id++) {
                if (container_exists(sweep->node, *id))
                        continue;
                if (sweep->remove)
                        log_error(LOG_LEVEL_WARN, rootfs_remove(sweep->node->config.images, *id),
                                  "a leftover stays", "rootfs", *id);
                else
                        sweep_note(sweep, format_string("rootfs %s belongs to no container", *id));
        }
        return NULL;
}

static struct error *sweep_directory(struct sweep *sweep, const char *path, const char *prefix,
                                     const char *what,
                                     struct error *(*remove)(struct sweep *sweep, const char *name))
{
        _cleanup_(closedirp) DIR *dir = opendir(path);
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
                size_t prefix_bytes = strlen(prefix);
                if (strncmp(entry->d_name, prefix, prefix_bytes) != 0 ||
                    !id_is_valid(entry->d_name + prefix_bytes) ||
                    pod_exists(sweep->node, entry->d_name + prefix_bytes))
                        continue;
                if (sweep->remove)
                        log_error(LOG_LEVEL_WARN, remove(sweep, entry->d_name), "a leftover stays", what,
                                  entry->d_name);
                else
                        sweep_note(sweep,
                                   format_string("%s %s/%s belongs to no pod", what, path, entry->d_name));
        }
        return NULL;
}

static struct error *remove_pod_directory(struct sweep *sweep, const char *name)
{
        _cleanup_(closep) int fd = openat(sweep->node->state_fd, "pods", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "open");
        return file_remove_tree(fd, name);
}

/* Whatever runs in a scope whose pod has no record, nobody can reach it. */
static struct error *sweep_scopes(struct sweep *sweep)
{
        struct cgroups *cgroups = sweep->node->config.cgroups;
        _cleanup_(free_stringsp) char **paths = NULL;
        TRY(cgroup_scopes(cgroups, &paths));
        for (char **path = paths; *path; path++) {
                struct wait wait = wait_of_ms(SCOPE_END_MS);
                if (pod_exists(sweep->node, strrchr(*path, '/') + 1))
                        continue;
                if (sweep->remove)
                        log_error(LOG_LEVEL_WARN, cgroup_remove(cgroups, *path, &wait), "a leftover stays",
                                  "cgroup", *path);
                else
                        sweep_note(sweep, format_string("cgroup %s belongs to no pod", *path));
        }
        return NULL;
}

/* Makes that failed and could not be undone: nobody sees them, and they are tried again. */
static void sweep_unfinished(struct sweep *sweep)
{
        struct sandbox *pod = NULL, *next = NULL;
        (void) pthread_mutex_lock(&sweep->node->lock);
        HASH_ITER(by_id, sweep->node->pods, pod, next)
        {
                if (pod->state == POD_MAKING && pod->operation.kind == OPERATION_NONE)
                        sweep_note(
                                sweep,
                                format_string(
                                        "pod %s failed to start and cannot be undone yet: see skiffd's log",
                                        pod->id));
        }
        (void) pthread_mutex_unlock(&sweep->node->lock);
}

struct error *recover_sweep(struct node *node, bool remove, char ***out)
{
        struct sweep sweep = { .node = node, .remove = remove };
        _cleanup_(freep) char *pods = format_string("%s/pods", node->state);
        struct error *e = sweep_rootfs(&sweep);
        if (!remove)
                sweep_unfinished(&sweep);
        if (!e)
                e = sweep_scopes(&sweep);
        if (!e)
                e = sweep_directory(&sweep, pods, "", "directory", remove_pod_directory);
        if (e || !out) {
                free_strings(sweep.found);
                return e;
        }
        *out = sweep.found ? sweep.found : NEW_ARRAY(char *, 1);
        return NULL;
}
