#include "pods/lifecycle/react.h"
#include "base/log.h"
#include "pods/background.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/sandbox.h"
#include "pods/table.h"

#define RETRIED_AT_ONCE 64

/* True once a pod. What its containers came to is settled before anybody is told that it is not ready. */
static void pod_lost(struct sandbox *pod, const char *why)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        bool news = !pod->lost;
        pod->lost = true;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (!news)
                return;
        log_event(LOG_LEVEL_WARN, why, "pod", pod->id, NULL);
        background_pod(pod, sandbox_stop, "stop a pod that died");
}

static void handle_exit(struct sandbox *pod, const struct runtime_exit *exit)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(pod->node, exit->container_id);
        if (c && c->pod == pod)
                container_exited(c, exit);
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
                containers_lost(pod);
                pod_lost(pod, "a pod's supervisor has died");
                break;
        case RUNTIME_EVENT_DISCONNECTED:
                containers_lost(pod);
                pod_lost(pod, "a pod's supervisor has died");
                break;
        }
}

static struct error *retry_undo(struct sandbox *pod)
{
        return sandbox_undo_make(pod);
}

/* Makes that could not be undone, and pods that could not be stopped after they died. */
static void retry(struct node *node)
{
        struct sandbox *pod = NULL, *next = NULL;
        struct sandbox *list[RETRIED_AT_ONCE];
        size_t n = 0;
        (void) pthread_mutex_lock(&node->lock);
        HASH_ITER(by_id, node->pods, pod, next)
        {
                bool idle = pod->operation.kind == OPERATION_NONE;
                bool due = pod->state == POD_MAKING ||
                           (pod->lost && (pod->state == POD_READY || pod->state == POD_STOPPING));
                if (idle && due && n < LENGTH(list))
                        list[n++] = sandbox_ref(pod);
        }
        (void) pthread_mutex_unlock(&node->lock);
        for (size_t i = 0; i < n; i++) {
                if (list[i]->lost)
                        background_pod(list[i], sandbox_stop, "stop a pod that died");
                else
                        background_pod(list[i], retry_undo, "undo a pod that could not be made");
                sandbox_unref(list[i]);
        }
}

const struct events_subscriber react = { happened, retry };
