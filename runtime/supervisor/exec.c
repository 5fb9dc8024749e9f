#include "base/clock.h"
#include "runtime/cgroup/tree.h"
#include "runtime/supervisor/channel.h"
#include "runtime/supervisor/child.h"
#include "runtime/supervisor/spawn.h"
#include "runtime/supervisor/sys.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define KILL_RETRY_NS 2000000
#define KILL_ROUNDS_MAX 1000
#define TREE_NAME "exec.%u"
#define LEFT_LOOKS 8

/* The exec's own cgroup goes with its last process. False while there is one. */
static bool tree_gone(struct exec *x)
{
        if (x->parent_fd < 0 || x->tree_fd < 0)
                return true;
        if (unlinkat(x->parent_fd, x->tree_name, AT_REMOVEDIR) < 0 && errno == EBUSY)
                return false;
        closep(&x->tree_fd);
        return true;
}

/* Somebody in the background keeps it: it is tried again with the next execs. Without memory it goes with the container. */
static void left_add(struct workload *c, uint32_t number)
{
        if (c->n_left == c->room_left) {
                size_t room = c->room_left ? 2 * c->room_left : 8;
                uint32_t *more = realloc(c->left, room * sizeof(*more));
                if (!more)
                        return;
                c->left = more;
                c->room_left = room;
        }
        c->left[c->n_left++] = number;
}

/* A few at a time, in turn. */
static void left_sweep(struct workload *c)
{
        char name[24];
        for (size_t i = 0; i < LEFT_LOOKS && c->n_left; i++) {
                c->left_at = c->left_at < c->n_left ? c->left_at : 0;
                (void) snprintf(name, sizeof(name), TREE_NAME, c->left[c->left_at]);
                if (unlinkat(c->tree_fd, name, AT_REMOVEDIR) < 0 && errno == EBUSY)
                        c->left_at++;
                else
                        c->left[c->left_at] = c->left[--c->n_left];
        }
}

void exec_orphan(struct pod *pod, const struct workload *container)
{
        for (struct exec *x = pod->execs; x; x = x->next)
                if (x->container == container)
                        x->container = NULL;
}

static void exec_free(struct exec *x)
{
        struct pod *pod = x->pod;
        for (struct exec **at = &pod->execs; *at; at = &(*at)->next) {
                if (*at == x) {
                        *at = x->next;
                        break;
                }
        }
        struct source *sources[] = { &x->exit, &x->report };
        for (size_t i = 0; i < LENGTH(sources); i++) {
                loop_remove(&pod->loop, sources[i]);
                closep(&sources[i]->fd);
        }
        channel_close(&pod->loop, &x->channel);
        timer_stop(&pod->loop, &x->timer);
        if (!tree_gone(x) && x->container)
                left_add(x->container, x->number);
        closep(&x->tree_fd);
        closep(&x->parent_fd);
        if (x->connection)
                x->connection->exec = NULL;
        free(x);
}

static void kill_round(struct timer *timer)
{
        struct exec *x = CONTAINER_OF(timer, struct exec, timer);
        tree_kill(x->tree_fd, x->is_v2);
        if (!x->ended)
                (void) sys_pidfd_signal(x->exit.fd, SIGKILL);
        /* A dying process leaves its cgroup without an event on v1; SIGKILL bounds how long that takes, but for one
         * in an uninterruptible wait, which we do not wait for. */
        bool gone = x->ended && tree_gone(x);
        if (!gone && ++x->kill_rounds < KILL_ROUNDS_MAX) {
                timer_arm(&x->pod->loop, timer, clock_monotonic_ns() + KILL_RETRY_NS);
                return;
        }
        if (x->connection) /* its end says that all are dead */
                (void) shutdown(x->connection->source.fd, SHUT_RDWR);
        if (x->ended)
                exec_free(x);
}

void exec_kill(struct exec *x)
{
        if (x->killing)
                return;
        x->killing = true;
        x->timer.fire = kill_round;
        kill_round(&x->timer);
}

static void deadline_fire(struct timer *timer)
{
        struct exec *x = CONTAINER_OF(timer, struct exec, timer);
        x->timed_out = true;
        /* Before the kill, which ends the pipes: else skiffd would take their end for a normal one. */
        if (x->connection)
                connection_answer(x->connection, MESSAGE_EXEC_TIMED_OUT);
        exec_kill(x);
}

void exec_closed(struct exec *x)
{
        x->connection = NULL;
        if (x->is_session) /* its channel says whether somebody is there */
                return;
        /* After a normal end whoever it left in the background may stay, as after an exec by hand. */
        if (x->ended && !x->killing)
                exec_free(x);
        else
                exec_kill(x);
}

/* --- a session --- */

/* Its client is told by the answer that it runs, and by the channel what becomes of it. */
static void session_started(struct exec *x)
{
        if (!x->connection)
                return;
        connection_answer(x->connection, MESSAGE_OK);
        x->connection->exec = NULL;
        x->connection = NULL;
}

static void grace_over(struct timer *timer)
{
        exec_kill(CONTAINER_OF(timer, struct exec, timer));
}

/* Nothing comes that would mean anything: its terminal is its client's own. */
static void channel_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct exec *x = CONTAINER_OF(source, struct exec, channel);
        struct session_message ignored;
        if (channel_read(source, &ignored) != CHANNEL_ENDED)
                return;
        channel_close(&x->pod->loop, source);
        x->hung_up = true;
        (void) sys_pidfd_signal(x->exit.fd, SIGHUP);
        x->timer.fire = grace_over;
        timer_arm(&x->pod->loop, &x->timer, clock_monotonic_ns() + SESSION_GRACE_MS * INT64_C(1000000));
}

/* --- its end --- */

static void answer(struct exec *x)
{
        struct wire_writer w;
        if (x->is_session && x->failure.stage == STAGE_NONE) {
                const struct session_message message = { .kind = SESSION_EXIT, .value = x->status };
                if (x->channel.fd >= 0)
                        error_ignore(session_send(x->channel.fd, &message, -1)); /* the end says the rest */
                return;
        }
        if (!x->connection || x->timed_out)
                return;
        if (x->failure.stage != STAGE_NONE) {
                connection_fail(x->connection, &x->failure);
                return;
        }
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_EXEC_EXIT);
        wire_put_u32(&w, (uint32_t) x->status);
        connection_send(x->connection, &w, NULL, 0);
        wire_done(&w);
}

static void report_read(struct exec *x)
{
        enum report_state state =
                x->report.fd < 0 ? REPORT_NONE : report_look(x->report.fd, false, &x->failure);
        if (state == REPORT_NONE)
                return;
        loop_remove(&x->pod->loop, &x->report);
        closep(&x->report.fd);
        if (state == REPORT_ENDED && x->is_session)
                session_started(x);
}

static void report_ready(struct source *source, uint32_t events)
{
        (void) events;
        report_read(CONTAINER_OF(source, struct exec, report));
}

/* Whether something is to come still that frees it: a round of killing, the end of the grace, the connection's close. */
static bool is_awaited(const struct exec *x)
{
        if (x->killing || x->hung_up)
                return x->timer.armed;
        return !x->is_session && x->connection;
}

static void exit_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct exec *x = CONTAINER_OF(source, struct exec, exit);
        siginfo_t info = { 0 };
        report_read(x);
        if (waitid(P_PIDFD, (id_t) source->fd, &info, WEXITED | WNOHANG | __WALL) < 0 || !info.si_pid)
                return;
        loop_remove(&x->pod->loop, source);
        closep(&source->fd);
        x->ended = true;
        x->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
        if (!x->killing && tree_gone(x) &&
            x->hung_up) /* else the deadline, the grace or the container's end sees to it */
                timer_stop(&x->pod->loop, &x->timer);
        answer(x);
        if (!is_awaited(x))
                exec_free(x);
}

/* --- its start --- */

static int exec_spawn(struct exec *x, struct workload *container, const struct exec_message *m,
                      const struct exec_ends *ends, struct child_report *report)
{
        _cleanup_(closep) int report_fd = -1, tasks_fd = -1;
        int enter_fds[CGROUP_ENTRY_MAX];
        size_t n = 0;
        if (report_socket(&x->report.fd, &report_fd) < 0) {
                *report = (struct child_report){ .stage = STAGE_PIPE, .errnum = errno };
                return -1;
        }
        if (x->parent_fd >= 0 &&
            tree_make(x->parent_fd, x->tree_name, x->is_v2, &x->tree_fd, &tasks_fd) < 0) {
                *report = (struct child_report){ .stage = STAGE_CGROUP, .errnum = errno };
                return -1;
        }
        /* On v1 the first entry is in the hierarchy of the tree: the exec's own cgroup stands for it. */
        for (size_t i = 0; !x->is_v2 && i < container->n_entries; i++)
                enter_fds[n++] = i == 0 && tasks_fd >= 0 ? tasks_fd : container->entries[i];
        struct child child = { .pod = x->pod,
                               .process = &m->process,
                               .seccomp = &m->seccomp,
                               .container_fd = container->exit.fd,
                               .enter_fds = enter_fds,
                               .n_enter_fds = n,
                               .report_fd = report_fd,
                               .stdin_fd = ends->in_fd,
                               .stdout_fd = ends->out_fd,
                               .stderr_fd = ends->err_fd,
                               .console_fd = ends->console_fd,
                               .rows = ends->rows,
                               .columns = ends->columns };
        struct spawn spawn = { .pid_namespace = container->exit.fd, .cgroup_fd = x->is_v2 ? x->tree_fd : -1 };
        x->pid = spawn_clone(x->pod, &spawn, &x->exit.fd, report);
        if (x->pid == 0)
                child_run(&child);
        return x->pid < 0 ? -1 : 0;
}

static void exec_watch(struct exec *x, struct exec_ends *ends, int64_t timeout_ms)
{
        struct loop *loop = &x->pod->loop;
        error_ignore(loop_add(loop, &x->exit, EPOLLIN)); /* fails for want of memory only: all of these */
        error_ignore(loop_add(loop, &x->report, EPOLLIN));
        if (x->is_session)
                error_ignore(channel_open(loop, &x->channel, TAKE_FD(ends->channel_fd)));
        x->timer.fire = deadline_fire;
        if (timeout_ms > 0)
                timer_arm(loop, &x->timer, clock_monotonic_ns() + timeout_ms * 1000000);
}

void exec_start(struct connection *c, struct workload *container, const struct exec_message *m,
                struct exec_ends *ends, int64_t timeout_ms, struct child_report *report)
{
        struct pod *pod = c->pod;
        struct exec *x = calloc(1, sizeof(*x));
        if (!x) {
                *report = (struct child_report){ .stage = STAGE_MEMORY, .errnum = ENOMEM };
                return;
        }
        *x = (struct exec){ .pod = pod,
                            .exit = { .fd = -1, .ready = exit_ready },
                            .report = { .fd = -1, .ready = report_ready },
                            .channel = { .fd = -1, .ready = channel_ready },
                            .is_session = ends->channel_fd >= 0,
                            .tree_fd = -1,
                            .is_v2 = container->entry_is_v2_directory,
                            .next = pod->execs };
        x->parent_fd = container->tree_fd < 0 ? -1 : fcntl(container->tree_fd, F_DUPFD_CLOEXEC, 3);
        left_sweep(container);
        x->container = container;
        x->number = ++container->n_execs;
        (void) snprintf(x->tree_name, sizeof(x->tree_name), TREE_NAME, x->number);
        pod->execs = x;
        if (exec_spawn(x, container, m, ends, report) < 0) {
                exec_free(x);
                return;
        }
        x->connection = c;
        c->exec = x;
        exec_watch(x, ends, timeout_ms);
}
