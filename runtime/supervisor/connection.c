#include "base/socket.h"
#include "runtime/supervisor/request.h"
#include <string.h>
#include <sys/epoll.h>
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

void connection_fds_close(int *fds, size_t n)
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
        connection_fds_close(c->fds, c->n_fds);
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

void connection_fail_stage(struct connection *c, enum stage stage, int errnum)
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
                good = request_take(c, &r, fds, n_fds);
        connection_fds_close(fds, n_fds);
        if (!good)
                connection_close(c);
}
