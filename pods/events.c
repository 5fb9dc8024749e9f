#include "pods/events.h"
#include "base/clock.h"
#include "base/log.h"
#include "pods/table.h"
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define EVENTS_AT_ONCE 64
#define RETRY_NS INT64_C(5000000000)

struct events {
        struct node *node;
        const struct events_subscriber *subscriber;
        int epoll_fd, wake_fd;
        pthread_t thread;

        pthread_mutex_t lock;       /* below this; taken after node->lock */
        struct alarm *first, *last; /* the nearest first */
        bool stopping;
};

/* --- alarms --- */

static void wake(struct events *events)
{
        const uint64_t one = 1;
        if (write(events->wake_fd, &one, sizeof(one)) < 0)
                return; /* full: readable all the same */
}

static void alarm_unlink(struct events *events, struct alarm *alarm)
{
        *(alarm->prev ? &alarm->prev->next : &events->first) = alarm->next;
        *(alarm->next ? &alarm->next->prev : &events->last) = alarm->prev;
        alarm->prev = alarm->next = NULL;
        alarm->is_set = false;
}

/* From the end: as a rule one that is set later is due later. */
static void alarm_link(struct events *events, struct alarm *alarm)
{
        struct alarm *before = events->last;
        while (before && before->due_ns > alarm->due_ns)
                before = before->prev;
        alarm->prev = before;
        alarm->next = before ? before->next : events->first;
        *(alarm->prev ? &alarm->prev->next : &events->first) = alarm;
        *(alarm->next ? &alarm->next->prev : &events->last) = alarm;
        alarm->is_set = true;
}

bool events_alarm_set(struct events *events, struct alarm *alarm, int64_t due_ns)
{
        (void) pthread_mutex_lock(&events->lock);
        bool was_set = alarm->is_set;
        if (was_set)
                alarm_unlink(events, alarm);
        alarm->due_ns = due_ns;
        alarm_link(events, alarm);
        bool is_nearest = events->first == alarm;
        (void) pthread_mutex_unlock(&events->lock);
        if (is_nearest)
                wake(events);
        return !was_set;
}

bool events_alarm_drop(struct events *events, struct alarm *alarm)
{
        (void) pthread_mutex_lock(&events->lock);
        bool was_set = alarm->is_set;
        if (was_set)
                alarm_unlink(events, alarm);
        (void) pthread_mutex_unlock(&events->lock);
        return was_set;
}

/* The next alarm that is due, taken out; NULL when none is. */
static struct alarm *alarm_take_due(struct events *events)
{
        int64_t now_ns = clock_monotonic_ns();
        (void) pthread_mutex_lock(&events->lock);
        struct alarm *due = events->first && events->first->due_ns <= now_ns ? events->first : NULL;
        if (due)
                alarm_unlink(events, due);
        (void) pthread_mutex_unlock(&events->lock);
        return due;
}

static int wait_ms(struct events *events, int64_t retry_ns)
{
        (void) pthread_mutex_lock(&events->lock);
        int64_t due_ns = events->first && events->first->due_ns < retry_ns ? events->first->due_ns : retry_ns;
        (void) pthread_mutex_unlock(&events->lock);
        int64_t left_ns = due_ns - clock_monotonic_ns();
        return left_ns <= 0 ? 0 : (int) ((left_ns + 999999) / 1000000);
}

/* --- supervisors --- */

static void drain(struct events *events, struct sandbox *pod)
{
        for (bool got = true; got;) {
                struct runtime_event event;
                struct error *e = runtime_pod_next_event(pod->runtime, &event, &got);
                if (e) {
                        /* What it says cannot be read: asked anew, it tells all that is so now. */
                        log_error(LOG_LEVEL_WARN, e, "read a pod's events", "pod", pod->id);
                        event = (struct runtime_event){ .kind = RUNTIME_EVENT_DISCONNECTED };
                        got = true;
                }
                bool last =
                        got && (event.kind == RUNTIME_EVENT_LOST || event.kind == RUNTIME_EVENT_DISCONNECTED);
                if (last)
                        events_forget(pod);
                if (got)
                        events->subscriber->happened(pod, &event);
                if (last)
                        return;
        }
}

/* The pod of a file descriptor may have been forgotten meanwhile: it is looked up by id. */
static void handle_ready(struct events *events, int fd)
{
        struct sandbox *pod = NULL, *found = NULL, *next = NULL;
        (void) pthread_mutex_lock(&events->node->lock);
        HASH_ITER(by_id, events->node->pods, pod, next)
        {
                if (pod->watched && runtime_pod_event_fd(pod->runtime) == fd) {
                        found = sandbox_ref(pod);
                        break;
                }
        }
        (void) pthread_mutex_unlock(&events->node->lock);
        if (found)
                drain(events, found);
        sandbox_unref(found);
}

/* False when the thread is to end. */
static bool handle_wake(struct events *events)
{
        uint64_t times;
        if (read(events->wake_fd, &times, sizeof(times)) < 0)
                return true; /* not written: nothing */
        (void) pthread_mutex_lock(&events->lock);
        bool stopping = events->stopping;
        (void) pthread_mutex_unlock(&events->lock);
        return !stopping;
}

static void *events_main(void *argument)
{
        struct events *events = argument;
        int64_t retry_ns = clock_monotonic_ns() + RETRY_NS;
        for (;;) {
                struct epoll_event ready[EVENTS_AT_ONCE];
                int n = epoll_wait(events->epoll_fd, ready, LENGTH(ready), wait_ms(events, retry_ns));
                for (int i = 0; i < n; i++) {
                        if (ready[i].data.fd != events->wake_fd)
                                handle_ready(events, ready[i].data.fd);
                        else if (!handle_wake(events))
                                return NULL;
                }
                for (struct alarm *due; (due = alarm_take_due(events));)
                        due->fire(due);
                if (clock_monotonic_ns() < retry_ns) /* on a busy node no wait times out */
                        continue;
                events->subscriber->retry(events->node);
                retry_ns = clock_monotonic_ns() + RETRY_NS;
        }
}

struct error *events_watch(struct sandbox *pod)
{
        struct events *events = pod->node->events;
        int fd = runtime_pod_event_fd(pod->runtime);
        struct epoll_event readable = { .events = EPOLLIN, .data.fd = fd };
        (void) pthread_mutex_lock(&pod->node->lock);
        pod->watched = true;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (epoll_ctl(events->epoll_fd, EPOLL_CTL_ADD, fd, &readable) < 0)
                return error_errno(errno, "watch a pod's events");
        return NULL;
}

void events_forget(struct sandbox *pod)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        bool watched = pod->watched;
        pod->watched = false;
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (watched) /* fails only where it is not in the set */
                (void) epoll_ctl(pod->node->events->epoll_fd, EPOLL_CTL_DEL,
                                 runtime_pod_event_fd(pod->runtime), NULL);
}

/* --- open and free --- */

static void events_done(struct events *events)
{
        closep(&events->epoll_fd);
        closep(&events->wake_fd);
        (void) pthread_mutex_destroy(&events->lock);
        free(events);
}

struct error *events_open(struct node *node, const struct events_subscriber *subscriber, struct events **out)
{
        struct events *events = NEW(struct events);
        events->node = node;
        events->subscriber = subscriber;
        events->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        events->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        (void) pthread_mutex_init(&events->lock, NULL);
        struct epoll_event readable = { .events = EPOLLIN, .data.fd = events->wake_fd };
        int errnum = 0;
        if (events->epoll_fd < 0 || events->wake_fd < 0 ||
            epoll_ctl(events->epoll_fd, EPOLL_CTL_ADD, events->wake_fd, &readable) < 0)
                errnum = errno;
        else
                errnum = pthread_create(&events->thread, NULL, events_main, events);
        if (errnum) {
                events_done(events);
                return error_errno(errnum, "start the thread of pods' events");
        }
        *out = events;
        return NULL;
}

void events_free(struct events *events)
{
        if (!events)
                return;
        (void) pthread_mutex_lock(&events->lock);
        events->stopping = true;
        (void) pthread_mutex_unlock(&events->lock);
        wake(events);
        (void) pthread_join(events->thread, NULL);
        events_done(events);
}
