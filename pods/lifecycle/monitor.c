#include "pods/lifecycle/monitor.h"
#include "base/clock.h"
#include "base/log.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/sandbox.h"
#include "pods/table.h"
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define EVENTS_AT_ONCE 64
#define RETRY_MS 5000
#define RETRY_NS (RETRY_MS * INT64_C(1000000))

struct monitor {
        struct node *node;
        int epoll_fd, stop_fd;
        pthread_t thread;
};

/* --- background work --- */

struct job {
        struct sandbox *pod;
        struct error *(*work)(struct sandbox *pod);
        const char *what;
};

static void job_run(void *argument)
{
        struct job *job = argument;
        struct node *node = job->pod->node;
        log_error(LOG_LEVEL_WARN, job->work(job->pod), job->what, "pod", job->pod->id);
        sandbox_unref(job->pod);
        free(job);
        (void) pthread_mutex_lock(&node->lock);
        node->background--;
        (void) pthread_cond_broadcast(&node->changed);
        (void) pthread_mutex_unlock(&node->lock);
}

void background_run(struct sandbox *pod, struct error *(*work)(struct sandbox *pod), const char *what)
{
        struct job *job = NEW(struct job);
        *job = (struct job){ .pod = sandbox_ref(pod), .work = work, .what = what };
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->node->background++;
        (void) pthread_mutex_unlock(&pod->node->lock);
        struct error *e = pool_run(pod->node->config.pool, POOL_POD, job_run, job);
        if (!e)
                return;
        log_error(LOG_LEVEL_WARN, e, what, "pod", pod->id);
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->node->background--;
        (void) pthread_mutex_unlock(&pod->node->lock);
        sandbox_unref(pod);
        free(job);
}

/* --- events --- */

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
        background_run(pod, sandbox_stop, "stop a pod that died");
}

static void handle_exit(struct sandbox *pod, const struct runtime_exit *exit)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(pod->node, exit->container_id);
        if (c && c->pod == pod)
                container_exited(c, exit);
}

static void handle_event(struct sandbox *pod, const struct runtime_event *event)
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
                monitor_forget(pod);
                containers_lost(pod);
                pod_lost(pod, "a pod's supervisor has died");
                break;
        }
}

static void drain(struct sandbox *pod)
{
        for (bool got = true; got;) {
                struct runtime_event event;
                struct error *e = runtime_pod_next_event(pod->runtime, &event, &got);
                if (e) {
                        log_error(LOG_LEVEL_WARN, e, "read a pod's events", "pod", pod->id);
                        event = (struct runtime_event){ .kind = RUNTIME_EVENT_LOST };
                        handle_event(pod, &event);
                        return;
                }
                if (got)
                        handle_event(pod, &event);
                if (got && event.kind == RUNTIME_EVENT_LOST)
                        return;
        }
}

/* The pod of a file descriptor may have been forgotten meanwhile: it is looked up by id. */
static void handle_ready(struct monitor *monitor, int fd)
{
        struct sandbox *pod = NULL, *found = NULL, *next = NULL;
        (void) pthread_mutex_lock(&monitor->node->lock);
        HASH_ITER(by_id, monitor->node->pods, pod, next)
        {
                if (pod->watched && runtime_pod_event_fd(pod->runtime) == fd) {
                        found = sandbox_ref(pod);
                        break;
                }
        }
        (void) pthread_mutex_unlock(&monitor->node->lock);
        if (found)
                drain(found);
        sandbox_unref(found);
}

static struct error *retry_undo(struct sandbox *pod)
{
        return sandbox_undo_make(pod);
}

/* Makes that could not be undone, and pods that could not be stopped after they died. */
static void retry(struct node *node)
{
        struct sandbox *pod = NULL, *next = NULL;
        struct sandbox *list[64];
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
                        background_run(list[i], sandbox_stop, "stop a pod that died");
                else
                        background_run(list[i], retry_undo, "undo a pod that could not be made");
                sandbox_unref(list[i]);
        }
}

static void *monitor_main(void *argument)
{
        struct monitor *monitor = argument;
        int64_t retry_ns = clock_monotonic_ns() + RETRY_NS;
        for (;;) {
                struct epoll_event events[EVENTS_AT_ONCE];
                int n = epoll_wait(monitor->epoll_fd, events, LENGTH(events), RETRY_MS);
                for (int i = 0; i < n; i++) {
                        if (events[i].data.fd == monitor->stop_fd)
                                return NULL;
                        handle_ready(monitor, events[i].data.fd);
                }
                if (clock_monotonic_ns() < retry_ns) /* on a busy node no wait times out */
                        continue;
                retry(monitor->node);
                retry_ns = clock_monotonic_ns() + RETRY_NS;
        }
}

struct error *monitor_watch(struct sandbox *pod)
{
        struct monitor *monitor = pod->node->monitor;
        int fd = runtime_pod_event_fd(pod->runtime);
        struct epoll_event readable = { .events = EPOLLIN, .data.fd = fd };
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->watched = true;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (epoll_ctl(monitor->epoll_fd, EPOLL_CTL_ADD, fd, &readable) < 0)
                return error_errno(errno, "watch a pod's events");
        return NULL;
}

void monitor_forget(struct sandbox *pod)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        bool watched = pod->watched;
        pod->watched = false;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (watched) /* fails only where it is not in the set */
                (void) epoll_ctl(pod->node->monitor->epoll_fd, EPOLL_CTL_DEL,
                                 runtime_pod_event_fd(pod->runtime), NULL);
}

struct error *monitor_open(struct node *node, struct monitor **out)
{
        struct monitor *monitor = NEW(struct monitor);
        *monitor = (struct monitor){ .node = node,
                                     .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                                     .stop_fd = eventfd(0, EFD_CLOEXEC) };
        struct epoll_event readable = { .events = EPOLLIN, .data.fd = monitor->stop_fd };
        int errnum = 0;
        if (monitor->epoll_fd < 0 || monitor->stop_fd < 0 ||
            epoll_ctl(monitor->epoll_fd, EPOLL_CTL_ADD, monitor->stop_fd, &readable) < 0)
                errnum = errno;
        else
                errnum = pthread_create(&monitor->thread, NULL, monitor_main, monitor);
        if (errnum) {
                closep(&monitor->epoll_fd);
                closep(&monitor->stop_fd);
                free(monitor);
                return error_errno(errnum, "start the pod monitor");
        }
        *out = monitor;
        return NULL;
}

void monitor_free(struct monitor *monitor)
{
        const uint64_t one = 1;
        if (!monitor)
                return;
        if (write(monitor->stop_fd, &one, sizeof(one)) < 0)
                abort(); /* an eventfd that is written once takes it */
        (void) pthread_join(monitor->thread, NULL);
        closep(&monitor->epoll_fd);
        closep(&monitor->stop_fd);
        free(monitor);
}
