/* Stop and remove: what is done to end a container. What follows from its end is in container_exit.c. */
#include "base/clock.h"
#include "base/log.h"
#include "images/images.h"
#include "pods/background.h"
#include "pods/feed.h"
#include "pods/lifecycle/bundle.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/parking.h"
#include "pods/lifecycle/settle.h"
#include "pods/records.h"
#include "pods/spec/spec.h"
#include "pods/table.h"
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>

#define END_TIMEOUT_MS 120000
#define KILLED_SOON_MS 1000     /* from SIGKILL to the exit, as a rule */
#define KILLED_TIMEOUT_MS 15000 /* and at most: longer is a process stuck in the kernel */
#define SUPERVISOR_ANSWERS_MS 5000
#define EXITS_LOOK_MS 20

/* --- the kill --- */

/* Who is to be asked about a container. */
enum asked {
        ASK_NOBODY,     /* it does not run */
        ASK_SUPERVISOR, /* as it should be */
        ASK_CGROUP,     /* its supervisor lives, or may, and cannot be asked */
        ASK_LOST,       /* it has none */
};

static enum asked whom_to_ask(struct container *c)
{
        struct sandbox *pod = c->pod;
        (void) pthread_mutex_lock(&pod->node->lock);
        bool running = c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING;
        bool dark = pod->runtime ? runtime_pod_undriven(pod->runtime) != NULL : pod->unreached;
        enum asked asked = !running       ? ASK_NOBODY
                           : dark         ? ASK_CGROUP
                           : pod->runtime ? ASK_SUPERVISOR
                                          : ASK_LOST;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return asked;
}

/* The descriptor that tells of its end. With the lock taken here. */
static struct error *watch_exit(struct container *c)
{
        struct error *e = NULL;
        (void) pthread_mutex_lock(&c->pod->node->lock);
        bool running = c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING;
        if (c->exited_fd < 0 && (c->exited_fd = eventfd(running ? 0 : 1, EFD_CLOEXEC)) < 0)
                e = error_errno(errno, "make an eventfd");
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        return e;
}

/* From outside. Its supervisor, which sees the end, notes it in the exits file, where nothing tells of it. */
static struct error *kill_by_cgroup(struct container *c, const struct wait *wait)
{
        TRY(cgroup_kill(c->pod->node->config.cgroups, c->cgroup_path));
        for (;;) {
                settle_exits(c->pod);
                if (whom_to_ask(c) == ASK_NOBODY)
                        return NULL;
                TRY(wait_delay(wait, EXITS_LOOK_MS, "wait for a killed container"));
        }
}

/* The main process by the supervisor, so that its end is told in order. The rest goes with it where the pid namespace is
 * the container's own; elsewhere container_exited kills it by the cgroup. */
static struct error *kill_all(void *object, const struct wait *wait)
{
        struct container *c = object;
        struct wait asked = wait_within(wait, SUPERVISOR_ANSWERS_MS),
                    killed = wait_within(wait, KILLED_TIMEOUT_MS);
        if (whom_to_ask(c) == ASK_CGROUP)
                return kill_by_cgroup(c, &killed);
        TRY(watch_exit(c));
        struct error *e = runtime_container_signal(c->pod->runtime, c->id, SIGKILL, &asked);
        if (!e) {
                struct wait soon = wait_within(&killed, KILLED_SOON_MS);
                e = wait_fd(&soon, c->exited_fd, POLLIN, "wait for a killed container");
                if (!e)
                        return NULL;
        }
        (void) pthread_mutex_lock(&c->pod->node->lock);
        bool lost = c->pod->lost; /* there is no supervisor to ask: containers_lost follows */
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        if (!lost && error_code_of(e) != ERROR_DEADLINE_EXCEEDED)
                return e;
        error_ignore(e);
        /* The supervisor does not answer, or what it killed is frozen: from outside, then, which thaws. */
        TRY(cgroup_kill(c->pod->node->config.cgroups, c->cgroup_path));
        return wait_fd(&killed, c->exited_fd, POLLIN, "wait for a killed container");
}

/* Two tables, since no thread stays with a stop from the one to the other; to people they are one. */
static struct error *ask_to_end(void *object, const struct wait *wait);
static const struct step ask_table[] = { { "signal", ask_to_end, NULL } };
static const struct step kill_table[] = { { "kill", kill_all, NULL } };
static const struct steps ask_container = { .name = "stop_container",
                                            .table = ask_table,
                                            .n = LENGTH(ask_table) };
static const struct steps kill_container = { .name = "stop_container",
                                             .table = kill_table,
                                             .n = LENGTH(kill_table) };

/* times are of the first steps (the signal) or of those after it. */
static void note_times(struct container *c, const struct step_times *times, bool is_first)
{
        (void) pthread_mutex_lock(&c->pod->node->lock);
        struct step_times *all = &c->stop_times;
        if (is_first || all->n + times->n > STEPS_MAX || all->n > 1)
                *all = (struct step_times){ .table = times->table };
        for (size_t i = 0; i < times->n; i++)
                all->step[all->n++] = times->step[i];
        (void) pthread_mutex_unlock(&c->pod->node->lock);
}

/* With the operation held. */
static struct error *kill_held(struct container *c)
{
        struct wait wait = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        struct step_times times = { 0 };
        enum asked asked = whom_to_ask(c);
        if (asked == ASK_NOBODY)
                return NULL;
        if (asked == ASK_LOST) {
                containers_lost(c->pod);
                return NULL;
        }
        struct error *e = steps_end(&kill_container, c, &wait, &times);
        note_times(c, &times, false);
        return e;
}

struct error *container_kill(struct container *c)
{
        bool joined;
        struct error *result;
        TRY(operation_begin(&c->operation, &c->pod->node->lock, OPERATION_STOP, NULL, &joined, &result));
        if (joined)
                return result;
        struct error *e = kill_held(c);
        operation_end(&c->operation, &c->pod->node->lock, e);
        return e;
}

/* --- the stop with a grace --- */

/* On a thread of the pool. What it comes to goes to the calls that wait; that of a success they have already. */
static struct error *kill_parked(struct container *c)
{
        parking_settle(c, container_kill(c));
        return NULL;
}

/* The alarm's reference goes to the job. */
static void grace_is_over(struct alarm *alarm)
{
        struct container *c =
                (struct container *) (void *) ((char *) alarm - offsetof(struct container, stopping.alarm));
        background_container(c, kill_parked, "kill a container whose grace is over");
}

/* A container must be stoppable whatever has become of what its spec was made from. */
static int stop_signal_of(struct container *c)
{
        struct error *e = spec_ensure(c->pod->node, c);
        if (!e)
                return c->spec->stop_signal;
        log_error(LOG_LEVEL_WARN, e, "stop with SIGTERM, since the spec cannot be built again", "container",
                  c->id);
        return SIGTERM;
}

/* Without a supervisor that could be asked: its children are the main processes of its containers. */
static struct error *signal_by_cgroup(struct container *c, int number)
{
        (void) pthread_mutex_lock(&c->pod->node->lock);
        pid_t supervisor = c->pod->runtime ? runtime_pod_supervisor_pid(c->pod->runtime) : 0;
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        if (supervisor <= 0)
                return error_new(ERROR_UNAVAILABLE, "the pod's supervisor cannot be found now");
        return cgroup_signal_children(c->pod->node->config.cgroups, c->cgroup_path, supervisor, number);
}

static struct error *ask_to_end(void *object, const struct wait *wait)
{
        struct container *c = object;
        struct wait asked = wait_within(wait, SUPERVISOR_ANSWERS_MS);
        if (whom_to_ask(c) == ASK_CGROUP)
                return signal_by_cgroup(c, stop_signal_of(c));
        struct error *e = runtime_container_signal(c->pod->runtime, c->id, stop_signal_of(c), &asked);
        /* Of one that does not answer or is gone the end is told all the same, or the alarm sees to it. */
        if (e &&
            (error_code_of(e) == ERROR_DEADLINE_EXCEEDED || error_code_of(e) == ERROR_FAILED_PRECONDITION)) {
                log_error(LOG_LEVEL_WARN, e, "ask a container to end", "container", c->id);
                return NULL;
        }
        return e;
}

/* Cancels a start that is under way. The container is parked with the operation held, so that none begins in between, and
 * given back at once. */
static struct error *park(struct container *c, int64_t grace_ms, struct node_waiter *waiter, bool *parked,
                          bool *first)
{
        int64_t now_ns = clock_monotonic_ns();
        int64_t at_ns =
                grace_ms > INT64_MAX / 2000000 - now_ns / 1000000 ? INT64_MAX : now_ns + grace_ms * 1000000;
        bool joined;
        struct error *result;
        *parked = *first = false;
        TRY(operation_begin(&c->operation, &c->pod->node->lock, OPERATION_ASK, NULL, &joined, &result));
        struct error *e = NULL;
        if (whom_to_ask(c) == ASK_LOST)
                containers_lost(c->pod);
        else
                e = parking_enter(c, at_ns, grace_is_over, waiter, parked, first);
        operation_end(&c->operation, &c->pod->node->lock, e);
        return e;
}

static struct error *stop_gracefully(struct container *c, int64_t grace_ms, struct node_waiter *waiter,
                                     bool *parked)
{
        bool first;
        struct wait wait = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        struct step_times times = { 0 };
        TRY(park(c, grace_ms, waiter, parked, &first));
        if (!first)
                return NULL;
        struct error *e = steps_end(&ask_container, c, &wait, &times);
        note_times(c, &times, true);
        if (e)
                parking_settle(c, e); /* all who have come meanwhile, too */
        return NULL;
}

void node_stop_container(struct node *node, const char *id, int64_t grace_s, struct node_waiter *waiter)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        bool parked = false;
        struct error *e = NULL;
        if (c && grace_s <= 0)
                e = container_kill(c);
        else if (c)
                e = stop_gracefully(c, grace_s > INT64_MAX / 1000 ? INT64_MAX : grace_s * 1000, waiter,
                                    &parked);
        if (!parked)
                waiter->done(waiter, e);
}

/* --- remove --- */

struct error *container_drop_rootfs(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        TRY(bundle_remove(c));
        return rootfs_remove(c->pod->node->config.images, c->id);
}

struct error *container_drop_cgroup(void *object, const struct wait *wait)
{
        struct container *c = object;
        return cgroup_remove(c->pod->node->config.cgroups, c->cgroup_path, wait);
}

static struct error *end_process(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        return kill_held(c);
}

static struct error *remove_record(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        TRY(record_gone_later(record_container_gone(c->pod->node->db, c->id), c->id));
        table_remove_container(c->pod->node, c);
        (void) pthread_mutex_lock(&c->pod->node->lock);
        feed_container(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT);
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        return NULL;
}

static const struct step remove_table[] = {
        { "process", end_process, NULL },
        { "cgroup", container_drop_cgroup, NULL },
        { "rootfs", container_drop_rootfs, NULL },
        { "record", remove_record, NULL },
};
static const struct steps remove_container = { .name = "remove_container",
                                               .table = remove_table,
                                               .n = LENGTH(remove_table) };

static struct error *remove_held(struct container *c)
{
        struct wait wait = wait_of_ms(END_TIMEOUT_MS);
        (void) pthread_mutex_lock(&c->pod->node->lock);
        bool made = c->state != CONTAINER_MAKING;
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        if (!made)
                return NULL; /* its making was cancelled for this, and undone */
        TRY(end_process(c, &wait));
        (void) pthread_mutex_lock(&c->pod->node->lock);
        c->state = CONTAINER_REMOVING;
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        error_ignore(record_container_progress(c->pod->node->db, c)); /* a full disk must not keep it */
        return steps_end(&remove_container, c, &wait, NULL);
}

struct error *container_remove(struct container *c)
{
        bool joined;
        struct error *result;
        TRY(operation_begin(&c->operation, &c->pod->node->lock, OPERATION_REMOVE, NULL, &joined, &result));
        if (joined)
                return result;
        struct error *e = remove_held(c);
        operation_end(&c->operation, &c->pod->node->lock, e);
        return e;
}

struct error *node_remove_container(struct node *node, const char *id)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        return c ? container_remove(c) : NULL;
}
