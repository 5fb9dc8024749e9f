#include "runtime/supervisor/request.h"
#include "runtime/supervisor/attach.h"
#include "runtime/supervisor/sys.h"
#include <string.h>
#include <sys/mman.h>

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

static bool on_attach(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) fds;
        (void) n_fds;
        struct protocol_range ours = protocol_range(), theirs = { .oldest = wire_get_u32(r) };
        protocol_newest_get(r, &theirs);
        if (r->bad)
                return false;
        uint32_t version = protocol_agree(&ours, &theirs);
        if (version)
                snapshot_send(c, version);
        else
                refused_send(c);
        return true;
}

static bool on_pod_start(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) n_fds;
        struct pod_start start = { 0 };
        struct child_report report = { 0 };
        struct protocol_range ours, theirs = { .oldest = wire_get_u32(r) };
        pod_start_get(r, &start);
        protocol_newest_get(r, &theirs);
        pod_users_get(r, &start);
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

bool request_version_is_ours(uint32_t version)
{
        struct protocol_range ours = protocol_range();
        return version >= ours.oldest && version <= ours.newest;
}

bool request_version(struct wire_reader *r, uint32_t *version)
{
        *version = wire_has_more(r) ? wire_get_u32(r) : protocol_range().oldest;
        return !r->bad && request_version_is_ours(*version);
}

void *request_spec_map(int memfd, uint64_t len_bytes)
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
        workload_reserve(c->pod);
        void *bytes = request_spec_map(c->memfd, c->spec_bytes);
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
        connection_fds_close(c->fds, c->n_fds);
        freep(&c->fds);
        c->n_fds = 0;
        if (report.stage != STAGE_NONE)
                connection_fail(c, &report);
}

static bool on_container_start(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) n_fds;
        uint32_t want = wire_get_u32(r);
        c->spec_bytes = wire_get_u64(r);
        if (!request_version(r, &c->version) || fds[0] < 0 || c->memfd >= 0 || want == 0 ||
            want > PROTOCOL_FDS_MAX)
                return false;
        c->fds = calloc(want, sizeof(*c->fds));
        c->kind = CONNECTION_START;
        c->memfd = TAKE_FD(fds[0]);
        c->want_fds = want;
        return c->fds != NULL;
}

static bool on_fds(struct connection *c, struct wire_reader *r, int *fds, size_t n)
{
        (void) r;
        if (c->memfd < 0 || n == 0 || n > c->want_fds - c->n_fds)
                return false;
        for (size_t i = 0; i < n; i++)
                c->fds[c->n_fds++] = TAKE_FD(fds[i]);
        if (c->n_fds == c->want_fds)
                start_now(c);
        return true;
}

/* A start that was refused meanwhile has no use for it. */
static bool on_log(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) r;
        if (n_fds == 0)
                return false;
        if (c->container && c->container->log_awaited)
                workload_log(c->container, TAKE_FD(fds[0]));
        return true;
}

static bool on_signal(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) fds;
        (void) n_fds;
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

static bool on_reopen_log(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) n_fds;
        struct workload *container = workload_find(c->pod, wire_get_text(r));
        if (r->bad || fds[0] < 0)
                return false;
        if (container) {
                workload_reopen_log(container, TAKE_FD(fds[0]));
                connection_answer(c, MESSAGE_OK);
        } else {
                connection_fail_stage(c, STAGE_NO_CONTAINER, 0);
        }
        return true;
}

static bool on_stop(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) r;
        (void) fds;
        (void) n_fds;
        workload_kill_all(c->pod);
        connection_answer(c, MESSAGE_OK);
        return true;
}

/* The first connection's, for the pod; a start's, for its container. */
static bool on_commit(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) r;
        (void) fds;
        (void) n_fds;
        if (c->kind == CONNECTION_EVENTS && !c->is_first)
                return false;
        c->pod->committed = c->pod->committed || c->is_first;
        if (c->container)
                workload_commit(c->container);
        return true;
}

/* --- all of them --- */

struct request {
        request_handler *take;
        enum connection_kind kind; /* of the connections that it may come on */
        bool also_on_events;       /* the first connection becomes one of events */
        uint32_t since;            /* the version that has it */
};

static const struct request requests[MESSAGE_REQUESTS] = {
        [MESSAGE_POD_START] = { .take = on_pod_start },
        [MESSAGE_ATTACH] = { .take = on_attach },
        [MESSAGE_COMMIT] = { .take = on_commit, .kind = CONNECTION_START, .also_on_events = true },
        [MESSAGE_CONTAINER_START] = { .take = on_container_start },
        [MESSAGE_FDS] = { .take = on_fds, .kind = CONNECTION_START },
        [MESSAGE_LOG] = { .take = on_log, .kind = CONNECTION_START },
        [MESSAGE_SIGNAL] = { .take = on_signal },
        [MESSAGE_REOPEN_LOG] = { .take = on_reopen_log },
        [MESSAGE_EXEC] = { .take = exec_request },
        [MESSAGE_EXEC_KILL] = { .take = exec_kill_request, .kind = CONNECTION_EXEC },
        [MESSAGE_STOP] = { .take = on_stop },
        [MESSAGE_EXEC_OPEN] = { .take = exec_open_request, .since = PROTOCOL_SESSIONS },
        [MESSAGE_ATTACH_OPEN] = { .take = attach_open_request, .since = PROTOCOL_SESSIONS },
        [MESSAGE_FORWARD_OPEN] = { .take = forward_open_request, .since = PROTOCOL_SESSIONS },
};

bool request_take(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        uint32_t type = wire_get_u32(r);
        const struct request *request = type < MESSAGE_REQUESTS ? &requests[type] : NULL;
        if (!request || !request->take || request->since > protocol_range().newest)
                return false;
        if (type != MESSAGE_POD_START && !c->pod->started)
                return false;
        if (c->kind != request->kind && !(request->also_on_events && c->kind == CONNECTION_EVENTS))
                return false;
        return request->take(c, r, fds, n_fds);
}
