/* Stop and remove, and what happens when a container ends. */
#include "base/clock.h"
#include "base/log.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/sandbox.h"
#include "pods/records.h"
#include "pods/spec/spec.h"
#include "pods/table.h"
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#define END_TIMEOUT_MS 120000
#define KILLED_SOON_MS 1000     /* from SIGKILL to the exit, as a rule */
#define KILLED_TIMEOUT_MS 15000 /* and at most: longer is a process stuck in the kernel */
#define SUPERVISOR_ANSWERS_MS 5000

static void poke(int fd)
{
        const uint64_t one = 1;
        if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
                return; /* full: readable all the same */
}

/* --- the end of a container --- */

static void set_text(char **to, const char *text)
{
        free(*to);
        *to = dup_string(text);
}

void container_exited(struct container *c, const struct runtime_exit *exit)
{
        struct node *node = c->pod->node;
        (void) pthread_mutex_lock(&node->lock);
        /* The exit of a start that was cancelled may come when the next one is under way. */
        bool news = (c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING) &&
                    exit->started_wall_ns == c->started_ns;
        if (news) {
                c->state = CONTAINER_EXITED;
                c->pid = 0;
                c->exit_code = exit->exit_code;
                c->finished_ns = exit->finished_wall_ns;
                c->oom_killed = exit->oom_killed;
                set_text(&c->reason, exit->oom_killed       ? "OOMKilled"
                                     : exit->exit_code == 0 ? "Completed"
                                                            : "Error");
                poke(c->exited_fd);
        }
        bool shared_pids =
                !c->spec || c->spec->pid_mode != PID_MODE_CONTAINER; /* or not known after a restart */
        (void) pthread_mutex_unlock(&node->lock);
        if (!news)
                return;
        /* In a pid namespace of its own the kernel has killed the rest; in a shared one they would live on. */
        if (shared_pids)
                log_error(LOG_LEVEL_WARN, cgroup_kill(node->config.cgroups, c->cgroup_path),
                          "kill what an ended container left", "container", c->id);
        log_error(LOG_LEVEL_WARN, record_container_progress(node->db, c), "record an exit", "container",
                  c->id);
}

static void container_lost(struct container *c)
{
        struct runtime_exit killed = { .exit_code = 128 + SIGKILL,
                                       .signal = SIGKILL,
                                       .finished_wall_ns = clock_wall_ns() };
        (void) pthread_mutex_lock(&c->pod->node->lock);
        killed.started_wall_ns = c->started_ns;
        if (c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING)
                set_text(&c->message, "the pod's supervisor was killed");
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        container_exited(c, &killed);
}

void containers_lost(struct sandbox *pod)
{
        struct runtime_exit *exits = NULL;
        size_t n = 0;
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        if (!*list)
                return;
        /* A descriptor of our own: the monitor's thread comes here while an operation may close the pod's. */
        _cleanup_(closep) int dir_fd = -1;
        struct error *e = sandbox_open_directory(pod, &dir_fd);
        if (!e && dir_fd >= 0)
                e = runtime_exits_read(dir_fd, &exits, &n);
        log_error(LOG_LEVEL_WARN, e, "read a pod's exits", "pod", pod->id);
        for (struct container **c = list; *c; c++)
                for (size_t i = 0; i < n; i++)
                        if (strcmp(exits[i].container_id, (*c)->id) == 0)
                                container_exited(*c, &exits[i]);
        free(exits);
        for (struct container **c = list; *c; c++)
                container_lost(*c);
}

/* --- stop --- */

/* The descriptor that tells of its end, and whether it has still to come. With the lock taken here. */
static struct error *watch_exit(struct container *c, bool *running)
{
        struct error *e = NULL;
        (void) pthread_mutex_lock(&c->pod->node->lock);
        *running = c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING;
        if (*running && c->exited_fd < 0 && (c->exited_fd = eventfd(0, EFD_CLOEXEC)) < 0)
                e = error_errno(errno, "make an eventfd");
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        return e;
}

/* Waits until it has ended or kill_at_ns has come, which another Stop may bring forward. */
static struct error *wait_grace(struct container *c, bool *ended)
{
        struct node *node = c->pod->node;
        for (;;) {
                (void) pthread_mutex_lock(&node->lock);
                struct wait wait = { .deadline_ns = c->kill_at_ns, .cancel_fd = -1 };
                (void) pthread_mutex_unlock(&node->lock);
                struct pollfd fds[] = { { .fd = c->exited_fd, .events = POLLIN },
                                        { .fd = c->stop_poke_fd, .events = POLLIN } };
                int left_ms = wait_left_ms(&wait);
                if (poll(fds, LENGTH(fds), left_ms) < 0 && errno != EINTR)
                        return error_errno(errno, "poll");
                *ended = fds[0].revents != 0;
                if (*ended || left_ms == 0)
                        return NULL;
                uint64_t pokes;
                if (fds[1].revents && read(c->stop_poke_fd, &pokes, sizeof(pokes)) < 0)
                        return error_errno(errno, "read an eventfd");
        }
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

struct stop {
        struct container *c;
        bool running;
};

static struct error *signal_it(void *object, const struct wait *wait)
{
        struct stop *stop = object;
        struct container *c = stop->c;
        TRY(watch_exit(c, &stop->running));
        (void) pthread_mutex_lock(&c->pod->node->lock);
        bool graceful = c->kill_at_ns > clock_monotonic_ns();
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        if (!stop->running || !graceful)
                return NULL;
        struct wait asked = wait_within(wait, SUPERVISOR_ANSWERS_MS);
        struct error *silent = runtime_container_signal(c->pod->runtime, c->id, stop_signal_of(c), &asked);
        if (silent && error_code_of(silent) == ERROR_DEADLINE_EXCEEDED) {
                error_ignore(silent); /* it cannot be asked to end: kill_all has other ways */
                return NULL;
        }
        TRY(silent);
        bool ended = false;
        TRY(wait_grace(c, &ended));
        stop->running = !ended;
        return NULL;
}

/* The main process by the supervisor, so that its end is told in order. The rest goes with it where the pid namespace is
 * the container's own; elsewhere container_exited kills it by the cgroup. */
static struct error *kill_all(void *object, const struct wait *wait)
{
        struct stop *stop = object;
        struct container *c = stop->c;
        struct wait asked = wait_within(wait, SUPERVISOR_ANSWERS_MS),
                    killed = wait_within(wait, KILLED_TIMEOUT_MS);
        if (!stop->running)
                return NULL;
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

static const struct step stop_table[] = { { "signal", signal_it, NULL }, { "kill", kill_all, NULL } };
static const struct steps stop_container = { .name = "stop_container",
                                             .table = stop_table,
                                             .n = LENGTH(stop_table) };

/* With the operation held; kill_at_ns is set. */
static struct error *stop_held(struct container *c)
{
        struct stop stop = { .c = c };
        struct wait wait = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        struct step_times times = { 0 };
        (void) pthread_mutex_lock(&c->pod->node->lock);
        bool running = c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING;
        bool connected = c->pod->runtime != NULL;
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        if (!running)
                return NULL;
        if (!connected) {
                containers_lost(c->pod);
                return NULL;
        }
        struct error *e = steps_end(&stop_container, &stop, &wait, &times);
        (void) pthread_mutex_lock(&c->pod->node->lock);
        c->stop_times = times;
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        return e;
}

/* Brings the moment of SIGKILL forward, for whoever stops it now or next. */
static struct error *hasten(struct container *c, int64_t grace_ms)
{
        struct error *e = NULL;
        int64_t now_ns = clock_monotonic_ns();
        int64_t at_ns =
                grace_ms > INT64_MAX / 2000000 - now_ns / 1000000 ? INT64_MAX : now_ns + grace_ms * 1000000;
        (void) pthread_mutex_lock(&c->pod->node->lock);
        if (c->stop_poke_fd < 0 && (c->stop_poke_fd = eventfd(0, EFD_CLOEXEC)) < 0)
                e = error_errno(errno, "make an eventfd");
        if (c->operation.kind != OPERATION_STOP || at_ns < c->kill_at_ns)
                c->kill_at_ns = at_ns;
        poke(c->stop_poke_fd);
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        return e;
}

struct error *container_stop(struct container *c, int64_t grace_ms)
{
        bool joined;
        struct error *result;
        TRY(hasten(c, grace_ms));
        TRY(operation_begin(&c->operation, &c->pod->node->lock, OPERATION_STOP, NULL, &joined, &result));
        if (joined)
                return result;
        struct error *e = stop_held(c);
        operation_end(&c->operation, &c->pod->node->lock, e);
        return e;
}

struct error *node_stop_container(struct node *node, const char *id, int64_t grace_s)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        if (!c)
                return NULL;
        return container_stop(c, grace_s <= 0 ? 0 : grace_s > INT64_MAX / 1000 ? INT64_MAX : grace_s * 1000);
}

/* --- remove --- */

static struct error *end_process(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        return stop_held(c);
}

static struct error *remove_record(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        TRY(record_gone_later(record_container_gone(c->pod->node->db, c->id), c->id));
        table_remove_container(c->pod->node, c);
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
        TRY(hasten(c, 0));
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
