#include "base/clock.h"
#include "runtime/cgroup/tree.h"
#include "runtime/supervisor/attach.h"
#include "runtime/supervisor/child.h"
#include "runtime/supervisor/spawn.h"
#include "runtime/supervisor/stdio.h"
#include "runtime/supervisor/sys.h"
#include "runtime/supervisor/terminal.h"
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define OOM_LOOK_NS 20000000
#define OOM_LOOKS_MAX 100
#define LINGER_NS 250000000 /* how long a process that outlived the container may hold its pipes */

struct workload *workload_find(struct pod *pod, const char *id)
{
        for (struct workload *c = pod->containers; c; c = c->next)
                if (c->running && !c->ended && strcmp(c->id, id) == 0)
                        return c;
        return NULL;
}

static struct workload *workload_named(struct pod *pod, const char *id)
{
        for (struct workload *c = pod->containers; c; c = c->next)
                if (strcmp(c->id, id) == 0)
                        return c;
        return NULL;
}

static void workload_free(struct workload *c)
{
        struct pod *pod = c->pod;
        for (struct workload **at = &pod->containers; *at; at = &(*at)->next) {
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        }
        if (c->starter)
                c->starter->container = NULL;
        exec_orphan(pod, c);
        free(c->left);
        struct source *sources[] = { &c->exit, &c->report, &c->oom_event };
        for (size_t i = 0; i < LENGTH(sources); i++) {
                loop_remove(&pod->loop, sources[i]);
                if (sources[i]->fd != c->oom_fd) /* on v2 they are one */
                        closep(&sources[i]->fd);
        }
        terminal_release(c);
        stdio_close(c);
        attach_end(c);
        timer_stop(&pod->loop, &c->linger);
        timer_stop(&pod->loop, &c->oom_look);
        for (size_t i = 0; i < c->n_entries; i++)
                closep(&c->entries[i]);
        closep(&c->tree_fd);
        closep(&c->oom_fd);
        closep(&c->stdin_fd);
        closep(&c->log.fd);
        free(c);
}

/* --- out of memory --- */

/* The number behind "oom_kill " in v1's memory.oom_control and v2's memory.events. */
static uint64_t oom_kills(const struct workload *c)
{
        char text[512];
        ssize_t n_bytes = c->oom_fd < 0 ? 0 : pread(c->oom_fd, text, sizeof(text) - 1, 0);
        if (n_bytes <= 0)
                return 0;
        text[n_bytes] = '\0';
        const char *at = strncmp(text, "oom_kill ", 9) == 0 ? text : strstr(text, "\noom_kill ");
        return at ? strtoull(strchr(at, ' '), NULL, 10) : 0;
}

static void oom_look(struct timer *timer)
{
        struct workload *c = CONTAINER_OF(timer, struct workload, oom_look);
        struct wire_writer w;
        uint64_t kills = oom_kills(c);
        if (!c->running || c->ended)
                return;
        if (kills <= c->oom_kills_told) {
                if (++c->oom_looks < OOM_LOOKS_MAX)
                        timer_arm(&c->pod->loop, timer, clock_monotonic_ns() + OOM_LOOK_NS);
                return;
        }
        c->oom_kills_told = kills;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_OOM);
        wire_put_text(&w, c->id);
        events_send(c->pod, &w);
        wire_done(&w);
}

/* v1 says so before it kills, so the counter is looked at a moment later, and for a while. */
static void oom_event_ready(struct source *source, uint32_t events)
{
        struct workload *c = CONTAINER_OF(source, struct workload, oom_event);
        uint64_t times;
        bool gone = events & EPOLLHUP;
        if (source->fd == c->oom_fd)
                (void) oom_kills(c); /* v2: reading it is what makes the next change an event again */
        else if (read(source->fd, &times, sizeof(times)) != (ssize_t) sizeof(times))
                gone = true;
        if (gone)
                loop_remove(&c->pod->loop, source);
        c->oom_looks = 0;
        c->oom_look.fire = oom_look;
        timer_arm(&c->pod->loop, &c->oom_look, clock_monotonic_ns() + OOM_LOOK_NS);
}

/* --- its end --- */

static void workload_finish(struct workload *c)
{
        struct runtime_exit record;
        memset(&record, 0, sizeof(record)); /* padding goes to the file too */
        memcpy(record.container_id, c->id, sizeof(record.container_id));
        stdio_finish(c);
        attach_end(c);
        record.started_wall_ns = c->started_wall_ns;
        record.exit_code = c->status;
        record.signal = c->signal;
        record.finished_wall_ns = c->finished_wall_ns;
        record.oom_killed = oom_kills(c) > c->oom_kills_before;
        exit_record(c->pod, &record);
        workload_free(c);
}

static void linger_over(struct timer *timer)
{
        workload_finish(CONTAINER_OF(timer, struct workload, linger));
}

void workload_stream_ended(struct workload *c)
{
        if (c->ended && c->out.source.fd < 0 && c->err.source.fd < 0)
                workload_finish(c);
}

/* Failed before exec, or nobody waits any more: nothing is left of it. */
static void workload_forget(struct workload *c)
{
        struct connection *starter = c->starter;
        struct child_report failure = c->failure;
        if (failure.stage == STAGE_NONE)
                failure = (struct child_report){ .stage = STAGE_CLONE, .errnum = ECHILD };
        tree_kill(c->tree_fd, c->entry_is_v2_directory);
        workload_free(c);
        if (starter)
                connection_fail(starter, &failure);
}

static void report_read(struct workload *c)
{
        enum report_state state =
                c->report.fd < 0 ? REPORT_NONE : report_look(c->report.fd, false, &c->failure);
        if (state == REPORT_NONE)
                return;
        loop_remove(&c->pod->loop, &c->report);
        closep(&c->report.fd);
        if (state ==
            REPORT_ENDED) /* the exec, or a death before it (for want of memory, say): an exit like any other */
                c->running = !c->cancelled;
}

static void report_ready(struct source *source, uint32_t events)
{
        (void) events;
        report_read(CONTAINER_OF(source, struct workload, report));
}

static void exit_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct workload *c = CONTAINER_OF(source, struct workload, exit);
        siginfo_t info = { 0 };
        report_read(c);
        if (c->running && c->log_awaited && c->starter) {
                /* On its way to us: it was sent before what the process needed to run, or will be. */
                loop_remove(&c->pod->loop, source);
                c->exit_put_off = true;
                return;
        }
        if (waitid(P_PIDFD, (id_t) source->fd, &info, WEXITED | WNOHANG | __WALL) < 0 || !info.si_pid)
                return;
        loop_remove(&c->pod->loop, source);
        if (!c->running || c->cancelled) {
                workload_forget(c);
                return;
        }
        c->finished_wall_ns = clock_wall_ns();
        c->ended = true;
        c->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
        c->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
        /* With a pid namespace of its own all its processes are dead already; else they must not outlive it. */
        if (c->pid_mode != PID_MODE_CONTAINER)
                tree_kill(c->tree_fd, c->entry_is_v2_directory);
        terminal_take(c);
        terminal_release(c);
        stdio_drain(c);
        if (c->out.source.fd < 0 && c->err.source.fd < 0) {
                workload_finish(c);
                return;
        }
        c->linger.fire = linger_over;
        timer_arm(&c->pod->loop, &c->linger, clock_monotonic_ns() + LINGER_NS);
}

/* --- its start --- */

static int take(int *fds, uint32_t index)
{
        return index == PROTOCOL_NO_FD ? -1 : TAKE_FD(fds[index]);
}

void workload_reserve(struct pod *pod)
{
        if (!pod->spare)
                pod->spare = calloc(1, sizeof(*pod->spare));
}

static struct workload *workload_new(struct pod *pod, const struct container_message *m, int *fds)
{
        workload_reserve(pod);
        struct workload *c = TAKE(pod->spare);
        if (!c)
                return NULL;
        *c = (struct workload){ .pod = pod,
                                .pid_mode = m->spec.pid_mode,
                                .exit = { .fd = -1, .ready = exit_ready },
                                .report = { .fd = -1, .ready = report_ready },
                                .oom_event = { .fd = -1, .ready = oom_event_ready },
                                .entry_is_v2_directory = m->entry_is_v2_directory,
                                .tree_fd = take(fds, m->tree),
                                .oom_fd = take(fds, m->oom),
                                .stdin_fd = -1,
                                .stdin_once = m->spec.stdin_once,
                                .tty = m->spec.tty,
                                .console.fd = -1,
                                .slave_fd = -1,
                                .log = { .fd = -1, .max_bytes = m->log_max_bytes },
                                .log_awaited = m->log_follows };
        memcpy(c->id, m->spec.id, strlen(m->spec.id) + 1);
        for (size_t i = 0; i < m->n_entries; i++)
                c->entries[c->n_entries++] = take(fds, m->entries[i]);
        c->oom_event.fd = m->oom_event == PROTOCOL_NO_FD ? -1
                          : m->oom_event == m->oom       ? c->oom_fd
                                                         : take(fds, m->oom_event);
        stdio_init(c, m->log_line_max_bytes);
        c->next = pod->containers;
        pod->containers = c;
        return c;
}

/* Whose pid namespace it is born into. -1: ours. *ok is false where there is none to be had. */
static int pid_namespace_of(struct pod *pod, const struct container_spec *spec, bool *ok)
{
        *ok = true;
        if (spec->pid_mode == PID_MODE_POD && pod->flags & POD_SHARE_PID)
                return pod->infra.exit.fd;
        if (spec->pid_mode == PID_MODE_TARGET) {
                struct workload *target = workload_find(pod, spec->pid_target);
                *ok = target != NULL;
                return target ? target->exit.fd : -1;
        }
        /* Never skiff-pod's own: it would be the pid 1 that the container sees. */
        *ok = spec->pid_mode == PID_MODE_CONTAINER || pod->flags & POD_HOST_PID;
        return -1;
}

static void fail(struct child_report *report, enum stage stage, int errnum)
{
        *report = (struct child_report){ .stage = stage, .errnum = errnum };
}

static void workload_watch(struct workload *c)
{
        struct pod *pod = c->pod;
        error_ignore(
                loop_add(&pod->loop, &c->exit, EPOLLIN)); /* fails for want of memory only: killed below */
        error_ignore(loop_add(&pod->loop, &c->report, EPOLLIN));
        terminal_watch(c);
        if (!c->log_awaited)
                stdio_watch(c);
        if (c->oom_event.fd >= 0)
                error_ignore(loop_add(&pod->loop, &c->oom_event, /* without it an OOM is told at the end */
                                      c->oom_event.fd == c->oom_fd ? EPOLLPRI : EPOLLIN));
}

static void workload_spawn(struct workload *c, const struct container_message *m, int *fds,
                           struct child_report *report)
{
        _cleanup_(closep) int report_fd = -1, out_fd = -1, err_fd = -1, in_fd = -1, console_fd = -1;
        bool ok;
        struct spawn spawn = { .flags = CLONE_NEWNS,
                               .pid_namespace = pid_namespace_of(c->pod, &m->spec, &ok),
                               .cgroup_fd = c->entry_is_v2_directory ? c->entries[0] : -1 };
        if (m->spec.pid_mode == PID_MODE_CONTAINER)
                spawn.flags |= CLONE_NEWPID;
        if (!ok) {
                fail(report, STAGE_NO_CONTAINER, 0);
                return;
        }
        if (report_socket(&c->report.fd, &report_fd) < 0 ||
            (c->tty ? terminal_socket(c, &console_fd)
                    : stdio_pipes(c, m->spec.stdin_open, &in_fd, &out_fd, &err_fd)) < 0) {
                fail(report, STAGE_PIPE, errno);
                return;
        }
        c->oom_kills_before = c->oom_kills_told = oom_kills(c);
        struct child child = { .pod = c->pod,
                               .message = m,
                               .process = &m->spec.process,
                               .seccomp = m->spec.seccomp,
                               .fds = fds,
                               .container_fd = -1,
                               .talk_fd = fds[m->rootfs],
                               .enter_fds = c->entries,
                               .n_enter_fds = c->entry_is_v2_directory ? 0 : c->n_entries,
                               .report_fd = report_fd,
                               .stdin_fd = in_fd,
                               .stdout_fd = out_fd,
                               .stderr_fd = err_fd,
                               .console_fd = console_fd };
        c->pid = spawn_clone(c->pod, &spawn, &c->exit.fd, report);
        if (c->pid == 0)
                child_run(&child);
}

/* The answer that skiffd needs while the process is being made: it looks at the report itself. Until the start is
 * committed, the end of the connection is a cancel: skiffd may have given up just before. */
static void spawned_send(struct workload *c)
{
        struct wire_writer w;
        const int fds[] = { c->exit.fd, c->report.fd };
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_SPAWNED);
        connection_send(c->starter, &w, fds, LENGTH(fds));
        wire_done(&w);
}

void workload_start(struct pod *pod, struct connection *connection, const struct container_message *m,
                    int *fds, size_t n_fds, struct child_report *report)
{
        (void) n_fds; /* the decoder has checked every index */
        const struct workload *other = workload_named(pod, m->spec.id);
        if (other) { /* with a starter it is not taken yet, and ends if that is gone */
                bool stays = other->running && !other->ended && !other->cancelled && !other->starter;
                fail(report, stays ? STAGE_RUNNING_ALREADY : STAGE_ENDING, 0);
                return;
        }
        if (pod->flags & POD_SHARE_PID && pod->infra.exit.fd < 0) {
                fail(report, STAGE_NO_INFRA, 0);
                return;
        }
        infra_settled(pod, report);
        if (report->stage != STAGE_NONE)
                return;
        struct workload *c = workload_new(pod, m, fds);
        if (!c) {
                fail(report, STAGE_MEMORY, ENOMEM);
                return;
        }
        c->started_wall_ns = m->started_wall_ns;
        workload_spawn(c, m, fds, report);
        if (report->stage != STAGE_NONE) {
                workload_free(c);
                return;
        }
        c->starter = connection;
        connection->container = c;
        workload_watch(c);
        spawned_send(c);
}

static void exit_watch_again(struct workload *c)
{
        if (c->exit_put_off)
                error_ignore(loop_add(&c->pod->loop, &c->exit, EPOLLIN)); /* as in workload_watch */
        c->exit_put_off = false;
}

void workload_log(struct workload *c, int log_fd)
{
        log_open(&c->log, log_fd);
        c->log_awaited = false;
        stdio_watch(c);
        exit_watch_again(c);
}

void workload_commit(struct workload *c)
{
        report_read(c); /* skiffd has seen the exec, maybe before us */
        c->starter->container = NULL;
        c->starter = NULL;
}

static void kill_whole(struct workload *c)
{
        tree_kill(c->tree_fd, c->entry_is_v2_directory);
        (void) sys_pidfd_signal(c->exit.fd, SIGKILL);
}

void workload_cancel(struct workload *c)
{
        c->starter = NULL;
        c->cancelled = true;
        exit_watch_again(c);
        kill_whole(c);
}

/* --- what is asked of one that runs --- */

void workload_reopen_log(struct workload *c, int log_fd)
{
        log_open(&c->log, log_fd);
}

void workload_kill_all(struct pod *pod)
{
        for (struct workload *c = pod->containers; c; c = c->next)
                kill_whole(c);
        if (pod->infra.exit.fd >= 0)
                (void) sys_pidfd_signal(pod->infra.exit.fd, SIGKILL);
}
