#include "pods/lifecycle/react.h"
#include "base/log.h"
#include "pods/background.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/pod_directory.h"
#include "pods/lifecycle/sandbox.h"
#include "pods/lifecycle/settle.h"
#include "pods/table.h"

/* True once a pod. What its containers came to is settled before anybody is told that it is not ready. */
static void pod_lost(struct sandbox *pod, const char *why)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        bool news = !pod->lost;
        bool is_meant = pod->state != POD_READY && pod->state != POD_MAKING; /* a stop has ended it */
        pod->lost = true;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (!news)
                return;
        log_event(is_meant ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, why, "pod", pod->id, NULL);
        background_pod(pod, sandbox_stop, "stop a pod that died");
}

static void handle_exit(struct sandbox *pod, const struct runtime_exit *exit)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(pod->node, exit->container_id);
        if (c && c->pod == pod)
                container_exited(c, exit);
}

static void supervisor_lost(struct sandbox *pod)
{
        containers_lost(pod);
        pod_lost(pod, "a pod's supervisor has died");
}

/* It has answered: late, or after it was asked anew. */
static void attached(struct sandbox *pod)
{
        const char *undriven = runtime_pod_undriven(pod->runtime);
        if (undriven)
                log_event(LOG_LEVEL_WARN, undriven, "pod", pod->id, NULL);
        else
                log_event(LOG_LEVEL_INFO, "a pod's supervisor has answered", "pod", pod->id, NULL);
        settle_containers(pod);
        if (!runtime_pod_keeper_alive(pod->runtime))
                pod_lost(pod, "the process that holds a pod's namespaces has died");
}

static void set_unreached(struct sandbox *pod, bool unreached)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->unreached = unreached;
        (void) pthread_mutex_unlock(&pod->node->lock);
}

/* Of a pod that is connected to no more. It runs on; what cannot be done now is done with the next retry. */
static void ask_again(struct sandbox *pod)
{
        const struct wait now = wait_of_ms(0);
        bool lives = false;
        struct error *e = runtime_pod_reattach(pod->runtime, &now, &lives);
        if (!e && lives)
                e = events_watch(pod);
        set_unreached(pod, e != NULL);
        if (!e && !lives)
                supervisor_lost(pod);
        log_error(LOG_LEVEL_WARN, e, "find a pod's supervisor again", "pod", pod->id);
}

/* One that ends each connection before it has said anything is asked with the next retry, not in circles. */
static void disconnected(struct sandbox *pod)
{
        log_event(LOG_LEVEL_WARN, "the connection to a pod's supervisor has ended, and it lives", "pod",
                  pod->id, NULL);
        if (runtime_pod_is_known(pod->runtime))
                ask_again(pod);
        else
                set_unreached(pod, true);
}

static void happened(struct sandbox *pod, const struct runtime_event *event)
{
        switch (event->kind) {
        case RUNTIME_EVENT_EXIT:
                handle_exit(pod, &event->exit);
                break;
        case RUNTIME_EVENT_OOM:
                log_event(LOG_LEVEL_INFO, "a process was killed for want of memory", "container",
                          event->exit.container_id, NULL);
                break;
        case RUNTIME_EVENT_INFRA_EXIT:
                pod_lost(pod, "the process that holds a pod's namespaces has died");
                break;
        case RUNTIME_EVENT_LOST:
                supervisor_lost(pod);
                break;
        case RUNTIME_EVENT_DISCONNECTED:
                disconnected(pod);
                break;
        case RUNTIME_EVENT_ATTACHED:
                attached(pod);
                break;
        }
}

/* A supervisor that could not even be connected to at the start. */
static void reach_again(struct sandbox *pod)
{
        const struct wait now = wait_of_ms(0);
        struct runtime_pod *found = NULL;
        _cleanup_(closep) int dir_fd = -1;
        struct error *e = pod_directory_open(pod, &dir_fd);
        if (!e && dir_fd >= 0)
                e = runtime_pod_attach(pod->node->config.runtime, pod->id, dir_fd, &now, &found);
        if (e) {
                log_error(LOG_LEVEL_WARN, e, "find a pod's supervisor", "pod", pod->id);
                return;
        }
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->unreached = false;
        bool taken = found && !pod->runtime;
        if (taken)
                pod->runtime = found;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (taken)
                log_error(LOG_LEVEL_ERROR, events_watch(pod), "watch a pod", "pod", pod->id);
        else if (found)
                runtime_pod_free(found);
        else
                supervisor_lost(pod);
}

/* What no event tells. */
static void look_at(struct sandbox *pod)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        bool ready = pod->state == POD_READY && !pod->lost && pod->operation.kind == OPERATION_NONE;
        bool unreached = pod->unreached;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (!ready)
                return;
        if (unreached && pod->runtime)
                ask_again(pod);
        else if (unreached)
                reach_again(pod);
        else if (pod->runtime && runtime_pod_undriven(pod->runtime))
                settle_exits(pod); /* no event tells of them */
}

static struct error *retry_undo(struct sandbox *pod)
{
        return sandbox_undo_make(pod);
}

static bool is_due(const struct sandbox *pod)
{
        bool idle = pod->operation.kind == OPERATION_NONE;
        bool ends = pod->lost && (pod->state == POD_READY || pod->state == POD_STOPPING);
        bool is_dark = pod->unreached || (pod->runtime && runtime_pod_undriven(pod->runtime));
        return idle && (pod->state == POD_MAKING || ends || (pod->state == POD_READY && is_dark));
}

static void retry_pod(struct sandbox *pod)
{
        if (pod->lost)
                background_pod(pod, sandbox_stop, "stop a pod that died");
        else if (pod->state == POD_MAKING)
                background_pod(pod, retry_undo, "undo a pod that could not be made");
        else
                look_at(pod);
}

/* Makes that could not be undone, pods that could not be stopped after they died, supervisors that do not answer. */
static void retry(struct node *node)
{
        struct sandbox *pod = NULL, *next = NULL;
        size_t n = 0;
        (void) pthread_mutex_lock(&node->lock);
        struct sandbox **list = NEW_ARRAY(struct sandbox *, HASH_CNT(by_id, node->pods) + 1U);
        HASH_ITER(by_id, node->pods, pod, next)
        {
                if (is_due(pod))
                        list[n++] = sandbox_ref(pod);
        }
        (void) pthread_mutex_unlock(&node->lock);
        for (size_t i = 0; i < n; i++) {
                retry_pod(list[i]);
                sandbox_unref(list[i]);
        }
        free(list);
}

const struct events_subscriber react = { happened, retry };
