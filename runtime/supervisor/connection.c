#include "base/socket.h"
#include "runtime/supervisor/pod.h"
#include "runtime/supervisor/sys.h"
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RECEIVE_FDS PROTOCOL_FDS_BATCH

static void connection_ready(struct source *source, uint32_t events);

struct error *connection_open(struct pod *pod, int fd, bool is_first)
{
        struct connection *c = calloc(1, sizeof(*c));
        if (!c)
                return error_errno(ENOMEM, "connection");
        *c = (struct connection){ .source = { .fd = fd, .ready = connection_ready },
                                  .pod = pod,
                                  .is_first = is_first,
                                  .memfd = -1 };
        struct error *e = loop_add(&pod->loop, &c->source, EPOLLIN);
        if (e) {
                free(c);
                return e;
        }
        c->next = pod->connections;
        pod->connections = c;
        return NULL;
}

static void fds_close(int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                closep(&fds[i]);
}

void connection_close(struct connection *c)
{
        struct pod *pod = c->pod;
        for (struct connection **at = &pod->connections; *at; at = &(*at)->next) {
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        }
        if (c->container)
                workload_cancel(c->container);
        if (c->exec)
                exec_closed(c->exec);
        loop_remove(&pod->loop, &c->source);
        closep(&c->source.fd);
        closep(&c->memfd);
        fds_close(c->fds, c->n_fds);
        free(c->fds);
        bool orphan = c->is_first && !pod->committed;
        free(c);
        if (orphan) { /* skiffd died, or gave up, before the pod was its own */
                workload_kill_all(pod);
                _exit(0);
        }
}

void connection_send(struct connection *c, struct wire_writer *w, const int *fds, size_t n_fds)
{
        if (!c)
                return;
        struct wait now =
                wait_of_ms(0); /* never waits for a reader: skiffd attaches again and gets a snapshot */
        struct error *e = wire_end(w);
        if (!e)
                e = socket_send(c->source.fd, w->bytes.bytes, w->bytes.len_bytes, fds, n_fds, &now);
        if (!e)
                return;
        error_ignore(e);
        (void) shutdown(c->source.fd, SHUT_RDWR); /* its end is then seen by the loop, which frees it */
}

void connection_answer(struct connection *c, enum message_type type)
{
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, (uint32_t) type);
        connection_send(c, &w, NULL, 0);
        wire_done(&w);
}

void connection_fail(struct connection *c, const struct child_report *report)
{
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_FAILED);
        wire_put_u32(&w, report->stage);
        wire_put_u32(&w, (uint32_t) report->errnum);
        wire_put_u32(&w, report->index);
        connection_send(c, &w, NULL, 0);
        wire_done(&w);
}

static void fail_stage(struct connection *c, enum stage stage, int errnum)
{
        struct child_report report = { .stage = stage, .errnum = errnum };
        connection_fail(c, &report);
}

void events_send(struct pod *pod, struct wire_writer *w)
{
        for (struct connection *c = pod->connections; c; c = c->next)
                if (c->kind == CONNECTION_EVENTS)
                        connection_send(c, w, NULL, 0);
}

/* --- the requests --- */

static void snapshot_send(struct connection *c, uint32_t version)
{
        struct pod *pod = c->pod;
        struct wire_writer w;
        int fds[PROTOCOL_RUNNING_MAX + 3];
        size_t n_fds = 0;
        struct runtime_container *running = calloc(PROTOCOL_RUNNING_MAX, sizeof(*running));
        struct protocol_snapshot snapshot = { .version = version,
                                              .flags = pod->flags,
                                              .infra_alive = pod->infra.exit.fd >= 0,
                                              .has_netns = pod->netns_fd >= 0,
                                              .notice = pod->notice,
                                              .running = running };
        fds[n_fds++] = pod->self_fd;
        if (snapshot.infra_alive)
                fds[n_fds++] = pod->infra.exit.fd;
        if (snapshot.has_netns)
                fds[n_fds++] = pod->netns_fd;
        for (struct workload *i = pod->containers; i && running; i = i->next) {
                /* One that no skiffd has taken yet may end with the connection that started it. One that has ended and
                 * whose output is not: its exit is still to be told. */
                if (!i->running || i->starter || i->cancelled || snapshot.n_running == PROTOCOL_RUNNING_MAX)
                        continue;
                struct runtime_container *r = &running[snapshot.n_running++];
                memcpy(r->id, i->id, sizeof(r->id));
                r->started_wall_ns = i->started_wall_ns;
                fds[n_fds++] = i->exit.fd;
        }
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_SNAPSHOT);
        snapshot_put(&w, &snapshot);
        c->kind = CONNECTION_EVENTS;
        connection_send(c, &w, fds, n_fds);
        wire_done(&w);
        free(running);
        exits_retry(c);
}

/* The connection stays: whoever is refused sees by it for how long we live. */
static void refused_send(struct connection *c)
{
        struct protocol_range ours = protocol_range();
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_REFUSED);
        wire_put_u32(&w, ours.oldest);
        wire_put_u32(&w, ours.newest);
        connection_send(c, &w, NULL, 0);
        wire_done(&w);
}

static bool on_attach(struct connection *c, struct wire_reader *r)
{
        struct protocol_range ours = protocol_range(), theirs = { .oldest = wire_get_u32(r) };
        protocol_newest_get(r, &theirs);
        if (r->bad || c->kind != CONNECTION_NEW)
                return false;
        uint32_t version = protocol_agree(&ours, &theirs);
        if (version)
                snapshot_send(c, version);
        else
                refused_send(c);
        return true;
}

/* Returns false when the message is not one that may come here. */
static bool on_pod_start(struct connection *c, struct wire_reader *r, int *fds)
{
        struct pod_start start = { 0 };
        struct child_report report = { 0 };
        struct protocol_range ours, theirs = { .oldest = wire_get_u32(r) };
        pod_start_get(r, &start);
        protocol_newest_get(r, &theirs);
        struct error *e = wire_close_newer(r, "pod");
        bool good = !e && c->is_first && !c->pod->started;
        error_ignore(e); /* the connection ends for it */
#ifdef SKIFF_FAULTS
        if (good) /* a test's skiffd that pretends to be of another version is to have such a skiff-pod */
                protocol_pretend(&theirs);
#endif
        ours = protocol_range();
        uint32_t version = protocol_agree(&ours, &theirs);
        if (good && version)
                pod_start(c->pod, &start, fds[0], &report);
        free(start.sysctls);
        if (good && !version)
                refused_send(c);
        else if (good && report.stage != STAGE_NONE)
                connection_fail(c, &report);
        else if (good)
                snapshot_send(c, version);
        return good;
}

/* What a request is written in; before there was a word for it, the oldest. False when it is none of ours. */
static bool request_version(struct wire_reader *r, uint32_t *version)
{
        struct protocol_range ours = protocol_range();
        *version = wire_has_more(r) ? wire_get_u32(r) : ours.oldest;
        return !r->bad && *version >= ours.oldest && *version <= ours.newest;
}

/* A sealed memfd with len_bytes of spec, mapped; NULL when it is not that. */
static void *spec_map(int memfd, uint64_t len_bytes)
{
        const int seals = F_SEAL_WRITE | F_SEAL_SHRINK;
        if (len_bytes == 0 || len_bytes > PROTOCOL_SPEC_MAX || (fcntl(memfd, F_GET_SEALS) & seals) != seals ||
            lseek(memfd, 0, SEEK_END) < (off_t) len_bytes)
                return NULL;
        void *bytes = mmap(NULL, len_bytes, PROT_READ, MAP_PRIVATE, memfd, 0);
        return bytes == MAP_FAILED ? NULL : bytes;
}

/* All of a container's descriptors are here: it can start. */
static void start_now(struct connection *c)
{
        struct container_message m;
        struct child_report report = { .stage = STAGE_MESSAGE };
        void *bytes = spec_map(c->memfd, c->spec_bytes);
        struct error *e =
                bytes ? container_message_get(bytes, c->spec_bytes, c->version, c->n_fds, &m) : NULL;
        if (bytes && !e) {
                report.stage = STAGE_NONE;
                workload_start(c->pod, c, &m, c->fds, c->n_fds, &report);
                container_message_done(&m);
        }
        error_ignore(e); /* said as STAGE_MESSAGE: only a skiffd at fault can get here */
        if (bytes)
                (void) munmap(bytes, c->spec_bytes);
        closep(&c->memfd);
        fds_close(c->fds, c->n_fds);
        freep(&c->fds);
        c->n_fds = 0;
        if (report.stage != STAGE_NONE)
                connection_fail(c, &report);
}

static bool on_container_start(struct connection *c, struct wire_reader *r, int *fds)
{
        uint32_t want = wire_get_u32(r);
        c->spec_bytes = wire_get_u64(r);
        if (!request_version(r, &c->version) || fds[0] < 0 || c->memfd >= 0 || want == 0 ||
            want > PROTOCOL_FDS_MAX || c->kind != CONNECTION_NEW)
                return false;
        c->fds = calloc(want, sizeof(*c->fds));
        c->kind = CONNECTION_START;
        c->memfd = TAKE_FD(fds[0]);
        c->want_fds = want;
        return c->fds != NULL;
}

static bool on_fds(struct connection *c, int *fds, size_t n)
{
        if (c->memfd < 0 || n == 0 || n > c->want_fds - c->n_fds)
                return false;
        for (size_t i = 0; i < n; i++)
                c->fds[c->n_fds++] = TAKE_FD(fds[i]);
        if (c->n_fds == c->want_fds)
                start_now(c);
        return true;
}

/* A start that was refused meanwhile has no use for it. */
static bool on_log(struct connection *c, int *fds)
{
        if (c->kind != CONNECTION_START || fds[0] < 0)
                return false;
        if (c->container && c->container->log_awaited)
                workload_log(c->container, TAKE_FD(fds[0]));
        return true;
}

static bool on_signal(struct connection *c, struct wire_reader *r)
{
        struct workload *container = workload_find(c->pod, wire_get_text(r));
        int signal = (int) wire_get_u32(r);
        (void) wire_get_u32(r);
        if (r->bad)
                return false;
        if (container) /* one that has ended needs no signal */
                (void) sys_pidfd_signal(container->exit.fd, signal);
        connection_answer(c, MESSAGE_OK);
        return true;
}

static bool on_reopen_log(struct connection *c, struct wire_reader *r, int *fds)
{
        struct workload *container = workload_find(c->pod, wire_get_text(r));
        if (r->bad || fds[0] < 0)
                return false;
        if (container) {
                workload_reopen_log(container, TAKE_FD(fds[0]));
                connection_answer(c, MESSAGE_OK);
        } else {
                fail_stage(c, STAGE_NO_CONTAINER, 0);
        }
        return true;
}

static bool on_exec(struct connection *c, struct wire_reader *r, int *fds)
{
        struct exec_message m;
        struct child_report report = { .stage = STAGE_MESSAGE };
        struct workload *container = workload_find(c->pod, wire_get_text(r));
        uint64_t len_bytes = wire_get_u64(r), timeout_ms = wire_get_u64(r);
        if (!request_version(r, &c->version) || fds[0] < 0 || fds[1] < 0 || fds[2] < 0 ||
            c->kind != CONNECTION_NEW || timeout_ms > INT64_MAX / 1000000)
                return false;
        c->kind = CONNECTION_EXEC;
        if (!container) {
                fail_stage(c, STAGE_NO_CONTAINER, 0);
                return true;
        }
        void *bytes = spec_map(fds[0], len_bytes);
        struct error *e = bytes ? exec_message_get(bytes, len_bytes, c->version, &m) : NULL;
        if (bytes && !e) {
                report.stage = STAGE_NONE;
                exec_start(c->pod, c, container, &m, fds[1], fds[2], (int64_t) timeout_ms, &report);
                exec_message_done(&m);
        }
        error_ignore(e); /* said as STAGE_MESSAGE */
        if (bytes)
                (void) munmap(bytes, len_bytes);
        if (report.stage != STAGE_NONE)
                connection_fail(c, &report);
        return true;
}

static bool on_stop(struct connection *c)
{
        workload_kill_all(c->pod);
        connection_answer(c, MESSAGE_OK);
        return true;
}

static bool dispatch(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        uint32_t type = wire_get_u32(r);
        if (type != MESSAGE_POD_START && !c->pod->started)
                return false;
        switch (type) {
        case MESSAGE_POD_START:
                return on_pod_start(c, r, fds);
        case MESSAGE_ATTACH:
                return on_attach(c, r);
        case MESSAGE_COMMIT:
                c->pod->committed = c->pod->committed || c->is_first;
                if (c->container)
                        workload_commit(c->container);
                return true;
        case MESSAGE_CONTAINER_START:
                return on_container_start(c, r, fds);
        case MESSAGE_FDS:
                return on_fds(c, fds, n_fds);
        case MESSAGE_LOG:
                return on_log(c, fds);
        case MESSAGE_SIGNAL:
                return on_signal(c, r);
        case MESSAGE_REOPEN_LOG:
                return on_reopen_log(c, r, fds);
        case MESSAGE_EXEC:
                return on_exec(c, r, fds);
        case MESSAGE_EXEC_KILL:
                if (c->exec)
                        exec_kill(c->exec);
                return true;
        case MESSAGE_STOP:
                return on_stop(c);
        default:
                return false;
        }
}

static void connection_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct connection *c = CONTAINER_OF(source, struct connection, source);
        static char bytes[PROTOCOL_MESSAGE_MAX];
        int fds[RECEIVE_FDS];
        size_t n_fds = RECEIVE_FDS, len_bytes = 0;
        struct wait now = wait_of_ms(0);
        struct wire_reader r;
        memset(fds, -1, sizeof(fds));
        struct error *e = socket_receive(source->fd, bytes, sizeof(bytes), &len_bytes, fds, &n_fds, &now);
        bool good = !e && len_bytes > 0;
        error_ignore(e); /* whatever it was, the connection ends */
        wire_open(&r, bytes, len_bytes);
        if (good)
                good = dispatch(c, &r, fds, n_fds);
        fds_close(fds, n_fds);
        if (!good)
                connection_close(c);
}
