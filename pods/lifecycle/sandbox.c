#include "pods/lifecycle/sandbox.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cni/cni.h"
#include "pods/background.h"
#include "pods/events.h"
#include "pods/feed.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/network.h"
#include "pods/lifecycle/pod_directory.h"
#include "pods/message.h"
#include "pods/records.h"
#include "pods/resources.h"
#include "pods/spec/pod_files.h"
#include "pods/spec/selinux.h"
#include "pods/spec/spec.h"
#include "pods/spec/sysctls.h"
#include "pods/spec/userns.h"
#include "pods/table.h"
#include "runtime/cgroup/cgroup.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define STOP_TIMEOUT_MS 120000
#define SUPERVISOR_END_MS 500
#define SHM_SIZE_BYTES (64U << 20)

/* --- what follows from the record --- */

struct error *sandbox_derive(struct node *node, struct sandbox *pod)
{
        pod->node = node;
        if (!pod->cgroup_parent)
                TRY_WRAP(cgroup_parent_resolve(node->config.cgroups,
                                               pod->config->linux ? pod->config->linux->cgroup_parent : "",
                                               &pod->cgroup_parent),
                         "config.linux.cgroup_parent");
        pod->cgroup_home = cgroup_home(pod->cgroup_parent, pod->id);
        pod->cgroup_path = format_string("%s/%s", pod->cgroup_home, pod->id);
        TRY(userns_of_pod(pod->config, &pod->userns));
        return NULL;
}

/* --- run_pod: the steps --- */

static struct error *make_directory(void *object, const struct wait *wait)
{
        (void) wait;
        TRY(pod_directory_make(object));
        TRY(selinux_pair_take(object));
        return pod_files_write(object);
}

static struct error *remove_directory(void *object, const struct wait *wait)
{
        (void) wait;
        return pod_directory_remove(object);
}

static struct error *make_cgroup(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        const struct cgroup_limits none = { 0 };
        (void) wait;
        return cgroup_make(pod->node->config.cgroups, pod->cgroup_path, CGROUP_SANDBOX, &none);
}

static struct error *remove_cgroup(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        return cgroup_remove(pod->node->config.cgroups, pod->cgroup_path, wait);
}

static void sysctls_free(struct sysctl *sysctls, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free((char *) (uintptr_t) sysctls[i].name);
        free(sysctls);
}

/* By their paths; those of the pod's interface are set when that is there: network_add. Names are owned by the array. */
static struct sysctl *sysctls_of(const Cri__PodSandboxConfig *config, size_t *n)
{
        size_t n_asked = config->linux ? config->linux->n_sysctls : 0;
        struct sysctl *sysctls = NEW_ARRAY(struct sysctl, n_asked);
        *n = 0;
        for (size_t i = 0; i < n_asked; i++) {
                char *path = sysctl_path(config->linux->sysctls[i]->key);
                if (sysctl_is_of_interface(path))
                        free(path);
                else
                        sysctls[(*n)++] = (struct sysctl){ path, config->linux->sysctls[i]->value };
        }
        return sysctls;
}

static struct error *start_supervisor(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        const Cri__PodSandboxConfig *config = pod->config;
        struct sysctl *sysctls = NULL;
        struct pod_spec spec = {
                .id = pod->id,
                .dir_fd = pod->dir_fd,
                .hostname = pod->host_network || !*config->hostname ? NULL : config->hostname,
                .host_network = pod->host_network,
                .host_ipc = pod->host_ipc,
                .host_pid = pod->host_pid,
                .share_pid = pod->share_pid,
                .userns = pod->userns,
                .shm_size_bytes = SHM_SIZE_BYTES,
                .cgroup_path = pod->cgroup_path,
                .cpu_shares =
                        config->linux && config->linux->resources ? config->linux->resources->cpu_shares : 0,
                /* What kubelet asks for by itself; where the kernel does not let us the pod starts all the same. */
                .oom_score_adj = -998,
                .set_oom_score_adj = true,
        };
        spec.sysctls = sysctls = sysctls_of(config, &spec.n_sysctls);
        struct runtime_pod *runtime = NULL;
        struct error *e = runtime_pod_start(pod->node->config.runtime, &spec, wait, &runtime);
        sysctls_free(sysctls, spec.n_sysctls);
        if (e)
                return e;
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->runtime = runtime;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return NULL;
}

/* A supervisor ends when the last process of its pid namespace has. What it was about to kill when it was killed itself
 * may be frozen (v1), and then neither ends: cgroup_kill thaws. */
static struct error *end_supervisor(struct sandbox *pod, struct runtime_pod *runtime, const struct wait *wait)
{
        struct wait first = wait_within(wait, SUPERVISOR_END_MS);
        struct error *e = runtime_pod_stop(runtime, &first);
        if (!e || error_code_of(e) != ERROR_DEADLINE_EXCEEDED)
                return e;
        error_ignore(e); /* the second try tells */
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        for (struct container **c = list; *c; c++)
                TRY(cgroup_kill(pod->node->config.cgroups, (*c)->cgroup_path));
        TRY(cgroup_kill(pod->node->config.cgroups, pod->cgroup_path));
        return runtime_pod_stop(runtime, wait);
}

/* The same for one that was killed before. */
static struct error *await_end(struct sandbox *pod, const struct wait *wait)
{
        struct wait first = wait_within(wait, SUPERVISOR_END_MS);
        struct error *e = runtime_pod_reap(pod->runtime, &first);
        if (!e || error_code_of(e) != ERROR_DEADLINE_EXCEEDED)
                return e;
        error_ignore(e);
        TRY(cgroup_kill(pod->node->config.cgroups, pod->cgroup_path));
        return runtime_pod_reap(pod->runtime, wait);
}

/* A supervisor that we have no connection to (after a restart) is found again to be ended. What a dead one left running,
 * in a pod with the host's pid namespace, is in the pod's cgroup. */
static struct error *stop_supervisor(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        _cleanup_(runtime_pod_freep) struct runtime_pod *found = NULL;
        _cleanup_(closep) int dir_fd = -1;
        events_forget(pod);
        if (!pod->runtime) {
                TRY(pod_directory_open(pod, &dir_fd));
                if (dir_fd >= 0)
                        TRY(runtime_pod_attach(pod->node->config.runtime, pod->id, dir_fd, wait, &found));
        }
        struct runtime_pod *runtime = pod->runtime ? pod->runtime : found;
        if (runtime)
                TRY_WRAP(end_supervisor(pod, runtime, wait), "stop the supervisor");
        if (runtime && !pod->host_pid) /* its pid namespace has ended, with all that was in it */
                return NULL;
        return cgroup_kill(pod->node->config.cgroups, pod->cgroup_path);
}

static struct error *make_ready(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        TRY(events_watch(pod));
        TRY(runtime_pod_commit(pod->runtime, wait));
        TRY(record_pod_progress(pod->node->db, pod->id, POD_READY));
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->state = POD_READY;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return NULL;
}

/* The pod is not ready any more, whatever comes next: a crash from here on undoes it. */
static struct error *unmake_ready(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        (void) wait;
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->state = POD_MAKING;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return record_pod_progress(pod->node->db, pod->id, POD_MAKING);
}

/* No step is recorded by itself: every undo is harmless where its step never ran, so the one record written before the
 * first step says enough, and a pod start costs two commits instead of eight. */
static const struct step run_pod_table[] = {
        { "directory", make_directory, remove_directory },
        { "cgroup", make_cgroup, remove_cgroup },
        { "supervisor", start_supervisor, stop_supervisor },
        { "netns", network_pin, network_unpin },
        { "network", network_add, network_del },
        { "ready", make_ready, unmake_ready },
};

/* Only in memory: tells a failed make whether its undo got through. */
static struct error *note_begun(void *object, size_t begun)
{
        ((struct sandbox *) object)->begun = begun;
        return NULL;
}
static const struct steps run_pod = {
        .name = "run_pod", .table = run_pod_table, .n = LENGTH(run_pod_table), .record = note_begun
};

static struct error *forget(struct sandbox *pod)
{
        struct error *e = record_pod_gone(pod->node->db, pod->id);
        if (!e)
                table_remove_pod(pod->node, pod);
        return e;
}

struct error *sandbox_undo_make(struct sandbox *pod)
{
        bool joined;
        struct error *result;
        TRY(operation_begin(&pod->operation, &pod->node->lock, OPERATION_REMOVE, NULL, &joined, &result));
        if (joined)
                return result;
        trace_set(&pod->trace, NULL);
        struct error *e = steps_undo(&run_pod, pod, run_pod.n, 0);
        if (!e)
                e = forget(pod);
        operation_end(&pod->operation, &pod->node->lock, e);
        return e;
}

static struct error *run_recorded(struct sandbox *pod, const struct wait *wait)
{
        struct step_times times = { 0 };
        TRY(record_pod(pod->node->db, pod));
        struct error *e = fault_point("run_pod.record.after");
        if (!e)
                e = steps_make(&run_pod, pod, wait, &times);
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->run_times = times;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return e;
}

/* The name is free at once. A pod whose undo failed keeps its record and its place among the ids, unseen, until the
 * retry (react.c) has got through. */
static struct error *run_failed(struct sandbox *pod, struct error *e)
{
        table_release_pod_name(pod->node, pod);
        if (pod->begun == 0)
                error_ignore(forget(pod)); /* else the record is found by the retry too */
        return e;
}

static struct error *run_new(struct sandbox *pod, const struct wait *caller)
{
        struct wait wait;
        TRY(operation_wait(&pod->operation, &pod->node->lock, caller, &wait));
        struct error *e = run_recorded(pod, &wait);
        operation_wait_done(&wait);
        return e ? run_failed(pod, e) : NULL;
}

/* Makes way for a pod of the same name. A make or removal that a dead skiffd left behind is finished here and now; one
 * that is under way is waited for, and the same request meanwhile gets what the first one gets. in_use is owned here. */
static struct error *make_way(struct sandbox *other, struct sandbox *pod, const struct wait *wait,
                              struct error *in_use, char **same_id)
{
        _cleanup_(error_freep) struct error *refused = in_use;
        struct node *node = pod->node;
        bool joined;
        struct error *result;
        (void) pthread_mutex_lock(&node->lock);
        enum operation_kind busy = other->operation.kind;
        enum pod_state state = other->state;
        (void) pthread_mutex_unlock(&node->lock);
        if (busy == OPERATION_NONE && state == POD_MAKING)
                return sandbox_undo_make(other);
        if (busy == OPERATION_NONE && state == POD_REMOVING)
                return sandbox_remove(other);
        if (busy != OPERATION_MAKE && busy != OPERATION_REMOVE)
                return TAKE(refused);
        TRY(operation_begin(&other->operation, &node->lock, OPERATION_OTHER, wait, &joined, &result));
        bool made = busy == OPERATION_MAKE && other->state == POD_READY;
        operation_end(&other->operation, &node->lock, NULL);
        if (made && message_equal(&other->config->base, &pod->config->base))
                *same_id = dup_string(other->id);
        return NULL;
}

static struct error *claim_name(struct sandbox *pod, const struct wait *wait, char **same_id)
{
        while (!*same_id) {
                struct error *e = table_add_pod(pod->node, pod);
                if (!e)
                        return NULL;
                _cleanup_(sandbox_unrefp) struct sandbox *other =
                        table_find_pod_by_name(pod->node, pod->name);
                if (other)
                        TRY(make_way(other, pod, wait, e, same_id));
                else
                        error_free(e); /* gone meanwhile */
        }
        return NULL;
}

static void tell_made(struct sandbox *pod)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        feed_pod(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT);
        feed_pod(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
        (void) pthread_mutex_unlock(&pod->node->lock);
}

struct error *node_run_pod(struct node *node, const Cri__PodSandboxConfig *config, const char *handler,
                           const struct trace *trace, const struct wait *wait, char **out_id)
{
        char id[ID_LEN + 1];
        bool joined;
        struct error *result;
        _cleanup_(freep) char *same_id = NULL;
        TRY(spec_check_pod(node, config));
        TRY(pod_resources_check(config));
        TRY(pod_files_check(config));
        if (config->linux)
                TRY(sysctls_check(config->linux));
        TRY(network_check(config));
        id_make(id);
        _cleanup_(sandbox_unrefp) struct sandbox *pod = sandbox_new(id, message_copy(config), handler);
        TRY(sandbox_derive(node, pod));
        pod->boot_id = dup_string(node->boot_id);
        pod->created_ns = clock_wall_ns();
        trace_set(&pod->trace, trace);
        if (pod->userns.length && node->config.no_userns)
                return error_new(ERROR_FAILED_PRECONDITION, "a user namespace cannot be had on this node: %s",
                                 node->config.no_userns);
        TRY(operation_begin(&pod->operation, &node->lock, OPERATION_MAKE, wait, &joined, &result));
        struct error *e = claim_name(pod, wait, &same_id);
        if (!e && !same_id)
                e = run_new(pod, wait);
        if (!e && !same_id)
                tell_made(pod);
        operation_end(&pod->operation, &node->lock, e);
        if (e)
                return e;
        *out_id = same_id ? TAKE(same_id) : dup_string(pod->id);
        return NULL;
}

/* --- stop_pod and remove_pod: end tables --- */

static void note_state(struct sandbox *pod, enum pod_state state)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        bool is_news = pod->state != state;
        pod->state = state;
        if (is_news && state == POD_STOPPED)
                feed_pod(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
        (void) pthread_mutex_unlock(&pod->node->lock);
}

static struct error *set_state(struct sandbox *pod, enum pod_state state)
{
        note_state(pod, state);
        return record_pod_progress(pod->node->db, pod->id, state);
}

static struct error *stop_containers(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        (void) wait;
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        for (struct container **c = list; *c; c++) {
                struct error *e = container_kill(*c);
                /* A supervisor that does not answer, or dies meanwhile, is ended below, and everything of the pod with it. */
                if (e && (error_code_of(e) == ERROR_DEADLINE_EXCEEDED ||
                          error_code_of(e) == ERROR_FAILED_PRECONDITION)) {
                        log_error(LOG_LEVEL_WARN, e, "a container ends with its pod's supervisor",
                                  "container", (*c)->id);
                        continue;
                }
                TRY_WRAP(e, "stop container %s", (*c)->id);
        }
        return NULL;
}

/* Nothing of the pod runs any more but the supervisor, which is ours. In a shared pid namespace something may. */
static bool is_empty(struct sandbox *pod)
{
        bool empty = pod->runtime && !pod->host_pid && !pod->share_pid;
        (void) pthread_mutex_lock(&pod->node->lock);
        for (struct container *c = pod->containers; c && empty; c = c->next)
                empty = c->state != CONTAINER_RUNNING && c->state != CONTAINER_STARTING;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return empty;
}

static struct error *reap(struct sandbox *pod)
{
        struct wait wait = wait_of_ms(STOP_TIMEOUT_MS);
        return await_end(pod, &wait);
}

/* The supervisor of an empty pod is killed, and whoever waits for the stop has no need to wait until the kernel has taken
 * it apart as well: a removal does. Else its end is waited for, and what it took with it without a word is settled. */
static struct error *end_pod(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        if (is_empty(pod)) {
                events_forget(pod);
                TRY(runtime_pod_kill(pod->runtime));
                background_pod(pod, reap, "reap a pod's supervisor");
                return NULL;
        }
        TRY(stop_supervisor(pod, wait));
        containers_lost(pod);
        return NULL;
}

static struct error *mark_stopped(void *object, const struct wait *wait)
{
        (void) wait;
        /* On a full disk the record stays STOPPING: a later start runs the table again, which finds nothing to do. */
        error_ignore(set_state(object, POD_STOPPED));
        return NULL;
}

static const struct step stop_pod_table[] = {
        { "containers", stop_containers, NULL }, { "network", network_del, NULL },
        { "netns", network_unpin, NULL },        { "supervisor", end_pod, NULL },
        { "stopped", mark_stopped, NULL },
};
static const struct steps stop_pod = { .name = "stop_pod",
                                       .table = stop_pod_table,
                                       .n = LENGTH(stop_pod_table) };

static struct error *remove_containers(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        (void) wait;
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        for (struct container **c = list; *c; c++)
                TRY_WRAP(container_remove(*c), "remove container %s", (*c)->id);
        return NULL;
}

static struct error *await_supervisor(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        return pod->runtime ? await_end(pod, wait) : NULL;
}

static struct error *remove_record(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        (void) wait;
        TRY(record_gone_later(record_pod_gone(pod->node->db, pod->id), pod->id));
        table_remove_pod(pod->node, pod);
        (void) pthread_mutex_lock(&pod->node->lock);
        feed_pod(pod, CRI__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT);
        (void) pthread_mutex_unlock(&pod->node->lock);
        return NULL;
}

static const struct step remove_pod_table[] = {
        { "containers", remove_containers, NULL }, { "supervisor", await_supervisor, NULL },
        { "cgroup", remove_cgroup, NULL },         { "directory", remove_directory, NULL },
        { "record", remove_record, NULL },
};
static const struct steps remove_pod = { .name = "remove_pod",
                                         .table = remove_pod_table,
                                         .n = LENGTH(remove_pod_table) };

/* With the operation held. */
static struct error *stop_held(struct sandbox *pod)
{
        struct wait wait = wait_of_ms(STOP_TIMEOUT_MS);
        struct step_times times = { 0 };
        if (pod->state == POD_STOPPED)
                return NULL;
        if (pod->host_network && is_empty(pod))
                note_state(pod,
                           POD_STOPPING); /* a crash finds it READY still, and its supervisor alive or dead */
        else
                error_ignore(set_state(pod, POD_STOPPING)); /* a full disk must not keep a pod alive */
        struct error *e = steps_end(&stop_pod, pod, &wait, &times);
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->stop_times = times;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return e;
}

struct error *sandbox_stop_for(struct sandbox *pod, const struct trace *trace)
{
        bool joined;
        struct error *result;
        TRY(operation_begin(&pod->operation, &pod->node->lock, OPERATION_STOP, NULL, &joined, &result));
        if (joined)
                return result;
        trace_set(&pod->trace, trace);
        /* A pod whose making was cancelled for this has undone itself; there is nothing left to stop. */
        struct error *e = pod->state == POD_MAKING ? NULL : stop_held(pod);
        operation_end(&pod->operation, &pod->node->lock, e);
        return e;
}

static struct error *remove_held(struct sandbox *pod)
{
        struct wait wait = wait_of_ms(STOP_TIMEOUT_MS);
        if (pod->state == POD_MAKING)
                return NULL;
        if (pod->state != POD_REMOVING)
                TRY(stop_held(pod));
        error_ignore(set_state(pod, POD_REMOVING)); /* likewise */
        return steps_end(&remove_pod, pod, &wait, NULL);
}

struct error *sandbox_remove_for(struct sandbox *pod, const struct trace *trace)
{
        bool joined;
        struct error *result;
        TRY(operation_begin(&pod->operation, &pod->node->lock, OPERATION_REMOVE, NULL, &joined, &result));
        if (joined)
                return result;
        trace_set(&pod->trace, trace);
        struct error *e = remove_held(pod);
        operation_end(&pod->operation, &pod->node->lock, e);
        return e;
}

struct error *sandbox_stop(struct sandbox *pod)
{
        return sandbox_stop_for(pod, NULL);
}

struct error *sandbox_remove(struct sandbox *pod)
{
        return sandbox_remove_for(pod, NULL);
}

struct error *node_stop_pod(struct node *node, const char *id, const struct trace *trace)
{
        _cleanup_(sandbox_unrefp) struct sandbox *pod = table_find_pod(node, id);
        return pod ? sandbox_stop_for(pod, trace) : NULL;
}

struct error *node_remove_pod(struct node *node, const char *id, const struct trace *trace)
{
        _cleanup_(sandbox_unrefp) struct sandbox *pod = table_find_pod(node, id);
        return pod ? sandbox_remove_for(pod, trace) : NULL;
}
