#include "pods/lifecycle/parking.h"
#include "pods/events.h"
#include "pods/feed.h"
#include "pods/table.h"

static bool runs(const struct container *c)
{
        return c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING;
}

static void link_in(struct container *c, struct node_waiter *waiter)
{
        waiter->next = c->stopping.waiters;
        waiter->at = &c->stopping.waiters;
        if (waiter->next)
                waiter->next->at = &waiter->next;
        c->stopping.waiters = waiter;
}

static void unlink_from(struct node_waiter *waiter)
{
        *waiter->at = waiter->next;
        if (waiter->next)
                waiter->next->at = waiter->at;
        waiter->next = NULL;
        waiter->at = NULL;
}

static void set_alarm(struct container *c, int64_t kill_at_ns, void (*due)(struct alarm *alarm))
{
        c->stopping.kill_at_ns = kill_at_ns;
        c->stopping.alarm.fire = due;
        if (events_alarm_set(c->pod->node->events, &c->stopping.alarm, kill_at_ns))
                (void) container_ref(c); /* the alarm's */
}

struct error *parking_enter(struct container *c, int64_t kill_at_ns, void (*due)(struct alarm *alarm),
                            struct node_waiter *waiter, bool *parked, bool *first)
{
        struct node *node = c->pod->node;
        struct error *e = NULL;
        *parked = *first = false;
        (void) pthread_mutex_lock(&node->lock);
        if (node->closing) {
                e = error_new(ERROR_UNAVAILABLE, "skiffd is stopping");
        } else if (runs(c)) {
                *parked = true;
                *first = !c->stopping.asked;
                c->stopping.asked = true;
                link_in(c, waiter);
                if (*first || kill_at_ns < c->stopping.kill_at_ns)
                        set_alarm(c, kill_at_ns, due);
        }
        (void) pthread_mutex_unlock(&node->lock);
        return e;
}

/* With the lock held. The list is the caller's then, and nobody can leave it any more. */
static struct node_waiter *take_all(struct container *c)
{
        struct node_waiter *all = c->stopping.waiters;
        for (struct node_waiter *waiter = all; waiter; waiter = waiter->next)
                waiter->at = NULL;
        c->stopping.waiters = NULL;
        return all;
}

/* Frees e. */
static void tell_all(struct node_waiter *all, struct error *e)
{
        while (all) {
                struct node_waiter *waiter = all;
                all = all->next; /* done may free the waiter */
                waiter->next = NULL;
                waiter->done(waiter, e ? error_new(error_code_of(e), "%s", error_message(e)) : NULL);
        }
        error_free(e);
}

void parking_settle(struct container *c, struct error *e)
{
        struct node *node = c->pod->node;
        (void) pthread_mutex_lock(&node->lock);
        struct node_waiter *all = take_all(c);
        c->stopping.asked = false;
        bool was_set = events_alarm_drop(node->events, &c->stopping.alarm);
        (void) pthread_mutex_unlock(&node->lock);
        tell_all(all, e);
        if (was_set)
                container_unref(c);
}

bool node_waiter_leave(struct node *node, struct node_waiter *waiter)
{
        (void) pthread_mutex_lock(&node->lock);
        bool waited = waiter->at != NULL;
        if (waited)
                unlink_from(waiter);
        (void) pthread_mutex_unlock(&node->lock);
        return waited;
}

/* Calls on each container with waiters settle it; the table is walked anew each time, since the lock is let go. */
static struct container *next_parked(struct node *node)
{
        struct container *c = NULL, *next = NULL, *found = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_ITER(by_id, node->containers, c, next)
        {
                if (!found && c->stopping.asked)
                        found = container_ref(c);
        }
        (void) pthread_mutex_unlock(&node->lock);
        return found;
}

void node_close(struct node *node)
{
        (void) pthread_mutex_lock(&node->lock);
        node->closing = true;
        if (node->feed)
                feed_close(node);
        (void) pthread_mutex_unlock(&node->lock);
        for (struct container *c; (c = next_parked(node)); container_unref(c))
                parking_settle(c, error_new(ERROR_UNAVAILABLE,
                                            "skiffd is stopping; the container has been asked to end"));
}
