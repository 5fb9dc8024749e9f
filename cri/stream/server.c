#include "cri/stream/server.h"
#include "base/clock.h"
#include "cri/stream/listener.h"
#include <malloc.h>
#include <string.h>
#include <sys/epoll.h>

/* The three of every process, skiffd's socket, the listener, epoll's; and what is on its way. */
enum { OWN_FDS = 10, WAITING_MAX = 256 };

#define REST_NS INT64_C(1000000000)

static const struct wait now = { .deadline_ns = 0, .cancel_fd = -1 };

static void list_append(struct connection_list *list, struct connection *c)
{
        c->next = NULL;
        c->link = list->last;
        *list->last = c;
        list->last = &c->next;
        list->n++;
}

static void list_remove(struct connection_list *list, struct connection *c)
{
        *c->link = c->next;
        if (c->next)
                c->next->link = c->link;
        else
                list->last = c->link;
        list->n--;
}

static size_t waiting_max(const struct server *server)
{
        return server->fds_max / 4 < WAITING_MAX ? server->fds_max / 4 : WAITING_MAX;
}

void server_remember(struct server *server, struct connection *c)
{
        server->fds_used++;
        timer_stop(&server->loop, &server->rest);
        list_append(&server->waiting, c);
        if (server->waiting.n > waiting_max(server))
                connection_cut(server->waiting.first);
}

void server_promote(struct server *server, struct connection *c)
{
        list_remove(&server->waiting, c);
        list_append(&server->serving, c);
        c->is_served = true;
}

/* What many sessions have needed, and none does now, goes back to the kernel. */
static void rest_fire(struct timer *timer)
{
        struct server *server = CONTAINER_OF(timer, struct server, rest);
        (void) timer;
        free(server->scratch); /* nothing stays in it between two events: large, and mapped for itself */
        server->scratch = NEW(struct scratch);
        (void) malloc_trim(0);
}

void server_forget(struct server *server, struct connection *c)
{
        list_remove(c->is_served ? &server->serving : &server->waiting, c);
        server->fds_used--;
        if (server->serving.n == 0 && server->waiting.n == 0)
                timer_arm(&server->loop, &server->rest, clock_monotonic_ns() + REST_NS);
        else
                timer_stop(&server->loop, &server->rest);
}

bool server_has_room(const struct server *server)
{
        return server->fds_used - server->waiting.n + waiting_max(server) + 1 + SESSION_FDS <=
               server->fds_max;
}

void server_count_fds(struct server *server, int more)
{
        server->fds_used += (size_t) more;
}

static void tokens_expire(struct server *server)
{
        int64_t next_ns = token_expire(&server->tokens, clock_monotonic_ns());
        if (next_ns)
                timer_arm(&server->loop, &server->expiry, next_ns);
}

static void expiry_fire(struct timer *timer)
{
        tokens_expire(CONTAINER_OF(timer, struct server, expiry));
}

static struct connection *asker_of(const struct server *server, const char *token)
{
        for (struct connection *c = server->serving.first; c; c = c->next)
                if (c->purpose && c->purpose->awaits_skiffd && strcmp(c->purpose->token->text, token) == 0)
                        return c;
        return NULL;
}

/* The descriptors in the order that control.h says. */
static struct session_fds take_fds(struct control_received *received)
{
        const struct control_message *m = &received->message;
        struct session_fds fds = SESSION_FDS_NONE;
        const struct {
                int *to;
                bool is_there;
        } places[] = { { &fds.channel_fd, true },
                       { &fds.in_fd, m->has_in },
                       { &fds.out_fd, m->has_out },
                       { &fds.err_fd, m->has_err } };
        size_t next = 0;
        for (size_t i = 0; i < LENGTH(places); i++)
                if (places[i].is_there && next < received->n_fds)
                        *places[i].to = TAKE_FD(received->fds[next++]);
        return fds;
}

static void take_opened(struct server *server, struct control_received *received)
{
        _cleanup_(session_fds_close) struct session_fds fds = take_fds(received);
        struct connection *c = asker_of(server, received->message.token);
        if (!c)
                return; /* the client has left: so has its session, with these descriptors */
        c->purpose->awaits_skiffd = false;
        c->purpose->ops->opened(c->purpose, &fds);
        connection_settle(c);
}

static void take_failed(struct server *server, const char *token, const char *why)
{
        struct connection *c = asker_of(server, token);
        if (!c)
                return;
        c->purpose->awaits_skiffd = false;
        c->purpose->ops->failed(c->purpose, why);
        connection_settle(c);
}

static void take_message(struct server *server, struct control_received *received)
{
        const struct control_message *m = &received->message;
        switch (m->type) {
        case CONTROL_TOKEN:
                token_put(&server->tokens, m, received->text, clock_monotonic_ns());
                if (!server->expiry.armed)
                        tokens_expire(server);
                break;
        case CONTROL_OPENED:
                take_opened(server, received);
                break;
        case CONTROL_FAILED:
                take_failed(server, m->token, received->text);
                break;
        default:
                break;
        }
}

/* All that has come. False at the end of the socket. */
static bool drain_control(struct server *server)
{
        struct control_received *received = server->received;
        for (;;) {
                struct error *e = control_receive(CONTROL_FD_SOCKET, received, &now);
                enum error_code code = e ? error_code_of(e) : ERROR_UNKNOWN;
                bool ended = !e && received->ended;
                error_free(e);
                if (code == ERROR_DEADLINE_EXCEEDED)
                        return true; /* nothing is there now */
                if (ended || e)
                        return false; /* what is no message comes from no skiffd */
                take_message(server, received);
                control_received_done(received);
        }
}

/* Of those that wait for skiffd's answer, which will not come. */
static void fail_askers(struct server *server)
{
        for (struct connection *c = server->serving.first, *next; c; c = next) {
                next = c->next;
                if (c->purpose && c->purpose->awaits_skiffd)
                        take_failed(server, c->purpose->token->text, "skiffd is stopping");
        }
}

static void stop(struct server *server)
{
        server->is_stopping = true;
        loop_remove(&server->loop, &server->control);
        closep(&server->control.fd);
        listener_stop(server);
        (void) token_expire(&server->tokens, INT64_MAX);
        while (server->waiting.first)
                connection_cut(server->waiting.first);
        fail_askers(server);
}

static void control_ready(struct source *source, uint32_t events)
{
        struct server *server = CONTAINER_OF(source, struct server, control);
        (void) events;
        if (!drain_control(server))
                stop(server);
}

struct token *server_take_token(struct server *server, const char *text)
{
        struct token *token = token_take(&server->tokens, text, clock_monotonic_ns());
        if (token || server->is_stopping)
                return token;
        /* It was sent before the client could know it, but may not have been read. An end is seen again by the loop. */
        (void) drain_control(server);
        return token_take(&server->tokens, text, clock_monotonic_ns());
}

struct error *server_open_session(struct server *server, struct purpose *purpose, uint16_t rows,
                                  uint16_t columns)
{
        struct control_message message = { .type = CONTROL_OPEN,
                                           .kind = purpose->token->kind,
                                           .streams = purpose->token->streams };
        message.streams.rows = rows;
        message.streams.columns = columns;
        memcpy(message.token, purpose->token->text, sizeof(message.token));
        if (server->is_stopping)
                return error_new(ERROR_UNAVAILABLE, "skiffd is stopping");
        TRY_AS(ERROR_UNAVAILABLE, control_send(CONTROL_FD_SOCKET, &message, NULL, NULL, 0, &now));
        purpose->awaits_skiffd = true;
        return NULL;
}

static struct server *server_new(struct tls_config *tls, size_t fds_max)
{
        struct server *server = NEW(struct server);
        server->tls = tls;
        server->fds_max = fds_max;
        server->fds_used = OWN_FDS;
        server->scratch = NEW(struct scratch);
        server->received = NEW(struct control_received);
        server->waiting.last = &server->waiting.first;
        server->serving.last = &server->serving.first;
        server->loop.epoll_fd = -1;
        server->control = (struct source){ CONTROL_FD_SOCKET, control_ready };
        server->expiry.fire = expiry_fire;
        server->rest.fire = rest_fire;
        return server;
}

static void server_freep(struct server **at)
{
        struct server *server = *at;
        while (server->waiting.first)
                connection_cut(server->waiting.first);
        while (server->serving.first)
                connection_cut(server->serving.first);
        (void) token_expire(&server->tokens, INT64_MAX);
        closep(&server->loop.epoll_fd);
        free(server->scratch);
        free(server->received);
        free(server);
}

struct error *server_run(struct tls_config *tls, size_t fds_max)
{
        _cleanup_(server_freep) struct server *server = server_new(tls, fds_max);
        TRY(loop_open(&server->loop));
        TRY(loop_add(&server->loop, &server->control, EPOLLIN));
        TRY(listener_start(server));
        while (!server->is_stopping || server->serving.n)
                TRY(loop_once(&server->loop));
        return NULL;
}
