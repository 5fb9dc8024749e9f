#include "runtime/supervisor/request.h"
#include <sys/mman.h>

/* Starts what the memfd says, or answers why not. */
static void start(struct connection *c, const char *id, int memfd, uint64_t spec_bytes,
                  struct exec_ends *ends, int64_t timeout_ms)
{
        struct exec_message m;
        struct child_report report = { .stage = STAGE_MESSAGE };
        struct workload *container = workload_find(c->pod, id);
        c->kind = CONNECTION_EXEC;
        if (!container) {
                connection_fail_stage(c, STAGE_NO_CONTAINER, 0);
                return;
        }
        void *bytes = request_spec_map(memfd, spec_bytes);
        struct error *e = bytes ? exec_message_get(bytes, spec_bytes, c->version, &m) : NULL;
        if (bytes && !e) {
                report.stage = STAGE_NONE;
                exec_start(c, container, &m, ends, timeout_ms, &report);
                exec_message_done(&m);
        }
        error_ignore(e); /* said as STAGE_MESSAGE */
        if (bytes)
                (void) munmap(bytes, spec_bytes);
        if (report.stage != STAGE_NONE)
                connection_fail(c, &report);
}

bool exec_request(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        const char *id = wire_get_text(r);
        uint64_t spec_bytes = wire_get_u64(r), timeout_ms = wire_get_u64(r);
        if (!request_version(r, &c->version) || n_fds < 3 || timeout_ms > INT64_MAX / 1000000)
                return false;
        struct exec_ends ends = EXEC_ENDS_NONE;
        ends.out_fd = fds[1];
        ends.err_fd = fds[2];
        start(c, id, fds[0], spec_bytes, &ends, (int64_t) timeout_ms);
        return true;
}

bool exec_kill_request(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        (void) r;
        (void) fds;
        (void) n_fds;
        if (c->exec)
                exec_kill(c->exec);
        return true;
}

bool exec_open_request(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds)
{
        struct exec_open open;
        struct exec_ends ends = EXEC_ENDS_NONE;
        size_t n = 2;
        exec_open_get(r, &open);
        const struct session_streams *streams = &open.streams;
        if (streams->tty) {
                ends.console_fd = fds[n++];
                ends.rows = streams->rows;
                ends.columns = streams->columns;
        } else {
                ends.in_fd = streams->in ? fds[n++] : -1;
                ends.out_fd = streams->out ? fds[n++] : -1;
                ends.err_fd = streams->err ? fds[n++] : -1;
        }
        if (r->bad || n_fds != n || !request_version_is_ours(open.version))
                return false;
        c->version = open.version;
        ends.channel_fd = TAKE_FD(fds[1]);
        start(c, open.id, fds[0], open.spec_bytes, &ends, 0);
        closep(&ends.channel_fd); /* of one that has not started */
        return true;
}
