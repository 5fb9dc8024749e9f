#include "pods/feed.h"
#include "pods/status.h"
#include <poll.h>
#include <sys/eventfd.h>

/* What a listener may be behind: a burst of thousands of pods is not. */
#define BEHIND_EVENTS_MAX 20000
#define BEHIND_BYTES_MAX (32U << 20)
#define EVENT_BYTES_MAX (16U << 20) /* what a client takes */

struct event {
        size_t references;
        struct buf bytes;
};

struct link {
        struct event *event;
        struct link *next;
};

struct node_listener {
        struct node *node;
        struct node_listener *next, **at;
        struct link *first, **last;
        size_t n, behind_bytes;
        struct event *taken; /* the one that was handed out */
        int wake_fd;         /* eventfd: readable when there is something */
        bool is_cut;
};

struct feed {
        struct node_listener *listeners;
        bool is_closed;
};

struct feed *feed_new(void)
{
        return NEW(struct feed);
}

void feed_free(struct feed *feed)
{
        free(feed);
}

static void event_unref(struct event *event)
{
        if (!event || --event->references)
                return;
        buf_done(&event->bytes);
        free(event);
}

static void wake(const struct node_listener *listener)
{
        (void) eventfd_write(listener->wake_fd, 1); /* full: it is readable all the same */
}

static struct event *pop(struct node_listener *listener)
{
        struct link *link = listener->first;
        struct event *event = link->event;
        listener->first = link->next;
        if (!listener->first)
                listener->last = &listener->first;
        listener->n--;
        listener->behind_bytes -= event->bytes.len_bytes;
        free(link);
        return event;
}

static void drop_all(struct node_listener *listener)
{
        while (listener->first)
                event_unref(pop(listener));
}

static void push(struct node_listener *listener, struct event *event)
{
        if (listener->is_cut)
                return;
        if (listener->n == BEHIND_EVENTS_MAX ||
            listener->behind_bytes + event->bytes.len_bytes > BEHIND_BYTES_MAX) {
                drop_all(listener);
                listener->is_cut = true;
        } else {
                struct link *link = NEW(struct link);
                link->event = event;
                event->references++;
                *listener->last = link;
                listener->last = &link->next;
                listener->n++;
                listener->behind_bytes += event->bytes.len_bytes;
        }
        wake(listener);
}

static void publish(struct sandbox *pod, const char *id, Cri__ContainerEventType type)
{
        struct feed *feed = pod->node->feed;
        if (!feed || !feed->listeners)
                return;
        struct event *event = NEW(struct event);
        event->references = 1;
        buf_init(&event->bytes, EVENT_BYTES_MAX);
        struct error *e = status_event_pack(pod, id, type, &event->bytes);
        for (struct node_listener *l = feed->listeners; l && !e; l = l->next)
                push(l, event);
        error_ignore(e); /* larger than a client takes: its statuses cannot be asked for either */
        event_unref(event);
}

void feed_container(struct container *c, Cri__ContainerEventType type)
{
        publish(c->pod, c->id, type);
}

void feed_pod(struct sandbox *pod, Cri__ContainerEventType type)
{
        publish(pod, pod->id, type);
}

void feed_close(struct node *node)
{
        node->feed->is_closed = true;
        for (struct node_listener *l = node->feed->listeners; l; l = l->next)
                wake(l);
}

/* --- a listener --- */

struct error *node_listen(struct node *node, struct node_listener **out)
{
        _cleanup_(closep) int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wake_fd < 0)
                return error_errno(errno, "eventfd");
        struct node_listener *listener = NEW(struct node_listener);
        listener->node = node;
        listener->wake_fd = TAKE_FD(wake_fd);
        listener->last = &listener->first;
        (void) pthread_mutex_lock(&node->lock);
        listener->next = node->feed->listeners;
        listener->at = &node->feed->listeners;
        if (listener->next)
                listener->next->at = &listener->next;
        node->feed->listeners = listener;
        (void) pthread_mutex_unlock(&node->lock);
        *out = listener;
        return NULL;
}

/* With the lock. *got: whether there was one. */
static struct error *take(struct node_listener *listener, bool *got)
{
        eventfd_t ignored;
        event_unref(TAKE(listener->taken));
        *got = listener->first != NULL;
        if (*got)
                listener->taken = pop(listener);
        if (*got)
                return NULL;
        (void) eventfd_read(listener->wake_fd, &ignored); /* nothing in it, nothing to take out */
        if (listener->is_cut)
                return error_new(ERROR_RESOURCE_EXHAUSTED,
                                 "this listener was too far behind, and events are lost to it");
        return listener->node->feed->is_closed ? error_new(ERROR_UNAVAILABLE, "skiffd is stopping") : NULL;
}

struct error *node_listener_next(struct node_listener *listener, const struct wait *wait, const void **bytes,
                                 size_t *len_bytes)
{
        for (;;) {
                bool got = false;
                (void) pthread_mutex_lock(&listener->node->lock);
                struct error *e = take(listener, &got);
                (void) pthread_mutex_unlock(&listener->node->lock);
                TRY(e);
                if (got)
                        break;
                TRY(wait_fd(wait, listener->wake_fd, POLLIN, "wait for an event"));
        }
        *bytes = listener->taken->bytes.bytes;
        *len_bytes = listener->taken->bytes.len_bytes;
        return NULL;
}

void node_listener_free(struct node_listener *listener)
{
        if (!listener)
                return;
        (void) pthread_mutex_lock(&listener->node->lock);
        *listener->at = listener->next;
        if (listener->next)
                listener->next->at = listener->at;
        drop_all(listener);
        event_unref(listener->taken);
        (void) pthread_mutex_unlock(&listener->node->lock);
        closep(&listener->wake_fd);
        free(listener);
}
