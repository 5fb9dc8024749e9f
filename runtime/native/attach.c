/* How a skiffd comes to a skiff-pod that it has not started: it connects, says what it speaks, and is told all that is so
 * now. That answer may come late, or never from one that is frozen; until then the pod is known by its pidfd alone. */
#include "base/socket.h"
#include "runtime/native/call.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static int next_fd(struct call_answer *answer, size_t *at)
{
        return *at < answer->n_fds ? TAKE_FD(answer->fds[(*at)++]) : -1;
}

/* Only where there is none yet: others may be using what there is. */
static void fd_give(_Atomic int *to, int fd)
{
        int none = -1;
        if (!atomic_compare_exchange_strong(to, &none, fd))
                closep(&fd);
}

static void text_give(char *_Atomic *to, const char *text)
{
        char *none = NULL, *copy = dup_string(text);
        if (!atomic_compare_exchange_strong(to, &none, copy))
                free(copy);
}

static void snapshot_take(struct runtime_pod *pod, const struct protocol_snapshot *snapshot,
                          struct call_answer *answer)
{
        size_t at = 0;
        int self_fd = next_fd(answer, &at);
        if (pod->self_fd < 0)
                pod->self_fd = TAKE_FD(self_fd);
        closep(&self_fd);
        if (snapshot->infra_alive)
                fd_give(&pod->infra_fd, next_fd(answer, &at));
        if (snapshot->has_netns)
                fd_give(&pod->netns_fd, next_fd(answer, &at));
        pod->keeper_alive = snapshot->infra_alive || !(snapshot->flags & POD_SHARE_PID);
        pod->flags = snapshot->flags;
        if (*snapshot->notice)
                text_give(&pod->notice, snapshot->notice);
        if (!pod->supervisor_pid) /* not a child that we have just made */
                pod->supervisor_pid = call_pid_of(pod->self_fd);
        pod->keeper_pid = snapshot->flags & POD_SHARE_PID ? call_pid_of(pod->infra_fd) : pod->supervisor_pid;
        for (size_t i = 0; i < snapshot->n_running; i++)
                snapshot->running[i].pid = call_pid_of(answer->fds[at++]);
        free(pod->running);
        pod->running = snapshot->running;
        pod->n_running = snapshot->n_running;
        pod->version = snapshot->version;
}

struct error *snapshot_read(struct runtime_pod *pod, struct call_answer *answer)
{
        struct protocol_range ours = protocol_range();
        struct protocol_snapshot snapshot;
        snapshot_get(&answer->reader, &snapshot);
        struct error *e = wire_close_newer(&answer->reader, "snapshot of a supervisor");
        size_t n_fds = 1 + (size_t) snapshot.infra_alive + (size_t) snapshot.has_netns + snapshot.n_running;
        if (!e && (snapshot.version < ours.oldest || snapshot.version > ours.newest || answer->n_fds < n_fds))
                e = error_new(ERROR_INTERNAL, "snapshot of a supervisor of version %u with %zu descriptors",
                              snapshot.version, answer->n_fds);
        if (e) {
                free(snapshot.running);
                return e;
        }
        snapshot_take(pod, &snapshot, answer);
        return NULL;
}

char *refusal_read(struct call_answer *answer)
{
        struct protocol_range ours = protocol_range(), theirs = { .oldest = wire_get_u32(&answer->reader) };
        protocol_newest_get(&answer->reader, &theirs);
        return format_string(
                "the pod's supervisor speaks the versions %u to %u, this skiffd %u to %u: it can be "
                "stopped and removed, and runs on until then",
                theirs.oldest, theirs.newest, ours.oldest, ours.newest);
}

struct error *attach_answer(struct runtime_pod *pod, struct call_answer *answer, bool *settled)
{
        *settled = true;
        if (answer->type == MESSAGE_SNAPSHOT)
                return snapshot_read(pod, answer);
        *settled = answer->type == MESSAGE_REFUSED;
        if (*settled) {
                _cleanup_(freep) char *why = refusal_read(answer);
                text_give(&pod->undriven, why);
        }
        return NULL;
}

/* Whoever listens there is asked. *out_fd is -1 when nobody does. */
static struct error *ask(struct runtime_pod *pod, const struct wait *wait, int *out_fd)
{
        struct protocol_range ours = protocol_range();
        struct socket_peer peer;
        struct wire_writer w;
        _cleanup_(closep) int fd = -1;
        *out_fd = -1;
        TRY(socket_connect(pod->dir_fd, "sock", SOCK_SEQPACKET, wait, &fd));
        if (fd < 0)
                return NULL;
        TRY(socket_peer(fd, &peer));
        if (peer.uid != 0)
                return error_new(ERROR_PERMISSION_DENIED, "the pod's supervisor is not root's");
        if (pod->self_fd < 0) {
                TRY(socket_peer_pidfd(fd, &pod->self_fd));
                pod->supervisor_pid = call_pid_of(pod->self_fd);
        }
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_ATTACH);
        wire_put_u32(&w, ours.oldest);
        wire_put_u32(&w, ours.newest);
        struct error *e = call_send(fd, &w, NULL, 0, wait);
        if (e && error_code_of(e) == ERROR_FAILED_PRECONDITION) { /* gone meanwhile */
                error_free(e);
                return NULL;
        }
        TRY(e);
        *out_fd = TAKE_FD(fd);
        return NULL;
}

struct error *runtime_pod_attach(struct runtime *runtime, const char *id, int dir_fd, const struct wait *wait,
                                 struct runtime_pod **out)
{
        _cleanup_(runtime_pod_freep) struct runtime_pod *pod = runtime_pod_new(runtime, id, dir_fd);
        *out = NULL;
        TRY(ask(pod, wait, &pod->event_fd));
        if (pod->event_fd < 0)
                return NULL;
        pod->keeper_alive = true;
        *out = TAKE(pod);
        return NULL;
}

struct error *runtime_pod_reattach(struct runtime_pod *pod, const struct wait *wait, bool *lives)
{
        int fd = -1;
        TRY(ask(pod, wait, &fd));
        *lives = fd >= 0;
        closep(&pod->event_fd);
        pod->event_fd = fd;
        return NULL;
}

struct error *runtime_pod_await(struct runtime_pod *pod, const struct wait *wait, bool *lives)
{
        struct call_answer answer = { 0 };
        bool settled = false;
        *lives = true;
        if (pod->version || pod->undriven)
                return NULL;
        TRY_WRAP(wait_fd(wait, pod->event_fd, POLLIN, "wait for the pod's supervisor"), "attach");
        TRY(call_receive(pod->event_fd, &answer, wait));
        struct error *e = attach_answer(pod, &answer, &settled);
        bool ended = answer.type == 0;
        call_answer_done(&answer);
        TRY(e);
        if (settled)
                return NULL;
        /* It may have died just now; one that lives and says nothing is asked again. */
        TRY(runtime_pod_reattach(pod, wait, lives));
        if (!*lives)
                return NULL;
        return error_new(ERROR_UNAVAILABLE, "the pod's supervisor %s",
                         ended ? "has ended the connection" : "speaks before it is attached to");
}
