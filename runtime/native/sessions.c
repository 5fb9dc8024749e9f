/* How a session is opened: its pipes and its channel are made here, and the supervisor gets the other ends. */
#include "base/socket.h"
#include "runtime/native/call.h"
#include <fcntl.h>
#include <sys/socket.h>

#define PIPE_ATTACH_BYTES (256 << 10) /* what a client may lag behind before it loses something */

struct opening {
        struct session_fds ours;
        int call_fd;
        int console_fd; /* on which a terminal's master comes; -1 */
        struct wire_writer request;
        /* What goes with the request, ours to close: memfd, channel, three pipes at most. */
        int sent[5];
        size_t n_sent;
};

static struct opening opening_none(void)
{
        return (struct opening){ .ours = SESSION_FDS_NONE, .call_fd = -1, .console_fd = -1 };
}

static void opening_done(struct opening *o)
{
        session_fds_close(&o->ours);
        closep(&o->call_fd);
        closep(&o->console_fd);
        wire_done(&o->request);
        for (size_t i = 0; i < o->n_sent; i++)
                closep(&o->sent[i]);
}

/* A pair of sockets: one is *ours, the other goes with the request. */
static struct error *pair_make(struct opening *o, int *ours, int flags)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0, ends) < 0)
                return error_errno(errno, "socketpair");
        *ours = ends[0];
        o->sent[o->n_sent++] = ends[1];
        return NULL;
}

/* A pipe likewise; our end of it, which writes or reads, does not block. */
static struct error *pipe_make(struct opening *o, int *ours, int our_end)
{
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(errno, "pipe");
        *ours = ends[our_end];
        o->sent[o->n_sent++] = ends[1 - our_end];
        return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? error_errno(errno, "pipe") : NULL;
}

/* Sends the request, and waits until what it begins has begun. process: what is to run, for the words of a failure. */
static struct error *opening_call(struct opening *o, struct call_answer *answer,
                                  const struct process_spec *process, const struct wait *wait)
{
        struct child_report report;
        TRY(call_send(o->call_fd, &o->request, o->sent, o->n_sent, wait));
        while (o->n_sent)
                closep(&o->sent[--o->n_sent]);
        TRY(call_receive(o->call_fd, answer, wait));
        if (answer->type == MESSAGE_OK)
                return NULL;
        if (answer->type == 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the pod's supervisor has ended");
        call_report(answer, &report);
        return stage_error(&report, NULL, process);
}

/* --- exec --- */

static struct error *exec_ends_make(struct opening *o, const struct session_streams *streams)
{
        TRY(pair_make(o, &o->ours.channel_fd, SOCK_NONBLOCK));
        if (streams->tty)
                return pair_make(o, &o->console_fd, 0);
        if (streams->in)
                TRY(pipe_make(o, &o->ours.in_fd, 1));
        if (streams->out)
                TRY(pipe_make(o, &o->ours.out_fd, 0));
        if (streams->err)
                TRY(pipe_make(o, &o->ours.err_fd, 0));
        return NULL;
}

/* It was sent before the process was exec'ed. */
static struct error *master_receive(struct opening *o, const struct session_streams *streams,
                                    const struct wait *wait)
{
        _cleanup_(closep) int master_fd = -1;
        char byte;
        size_t len_bytes = 0, n_fds = 1;
        TRY(socket_receive(o->console_fd, &byte, 1, &len_bytes, &master_fd, &n_fds, wait));
        if (n_fds != 1)
                return error_new(ERROR_FAILED_PRECONDITION, "the process has ended before its terminal came");
        if (fcntl(master_fd, F_SETFL, O_NONBLOCK) < 0)
                return error_errno(errno, "terminal");
        if (streams->in && (o->ours.in_fd = fcntl(master_fd, F_DUPFD_CLOEXEC, 3)) < 0)
                return error_errno(errno, "terminal");
        if (streams->out)
                o->ours.out_fd = TAKE_FD(master_fd);
        return NULL;
}

struct error *runtime_exec_open(struct runtime_pod *pod, const char *container_id,
                                const struct process_spec *process, const struct seccomp_program *seccomp,
                                const struct session_streams *streams, const struct wait *wait,
                                struct session_fds *out)
{
        _cleanup_(opening_done) struct opening o = opening_none();
        _cleanup_(call_answer_done) struct call_answer answer = { .type = 0 };
        struct exec_open open = { .id = container_id, .streams = *streams };
        *out = SESSION_FDS_NONE;
        if (!process->argv || !process->argv[0])
                return error_new(ERROR_INVALID_ARGUMENT, "an exec needs a command");
        TRY(call_check_sessions(pod));
        open.version = call_version(pod);
        TRY(call_open(pod, wait, &o.call_fd));
        o.sent[o.n_sent++] = -1;
        TRY(call_exec_memfd(open.version, process, seccomp, &o.sent[0], &open.spec_bytes));
        TRY(exec_ends_make(&o, streams));
        wire_begin(&o.request, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&o.request, MESSAGE_EXEC_OPEN);
        exec_open_put(&o.request, &open);
        TRY(opening_call(&o, &answer, process, wait));
        if (streams->tty)
                TRY(master_receive(&o, streams, wait));
        *out = o.ours;
        o.ours = SESSION_FDS_NONE;
        return NULL;
}

/* --- attach --- */

static struct error *attach_ends_make(struct opening *o, const struct session_streams *streams)
{
        TRY(pair_make(o, &o->ours.channel_fd, SOCK_NONBLOCK));
        if (streams->out)
                TRY(pipe_make(o, &o->ours.out_fd, 0));
        if (streams->err)
                TRY(pipe_make(o, &o->ours.err_fd, 0));
        /* What is not given is no failure: it may lag behind less. */
        if (streams->out)
                (void) fcntl(o->ours.out_fd, F_SETPIPE_SZ, PIPE_ATTACH_BYTES);
        if (streams->err)
                (void) fcntl(o->ours.err_fd, F_SETPIPE_SZ, PIPE_ATTACH_BYTES);
        return NULL;
}

struct error *runtime_attach_open(struct runtime_pod *pod, const char *container_id,
                                  const struct session_streams *streams, const struct wait *wait,
                                  struct session_fds *out)
{
        _cleanup_(opening_done) struct opening o = opening_none();
        _cleanup_(call_answer_done) struct call_answer answer = { .type = 0 };
        *out = SESSION_FDS_NONE;
        TRY(call_check_sessions(pod));
        TRY(call_open(pod, wait, &o.call_fd));
        TRY(attach_ends_make(&o, streams));
        wire_begin(&o.request, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&o.request, MESSAGE_ATTACH_OPEN);
        wire_put_text(&o.request, container_id);
        streams_put(&o.request, streams);
        TRY(opening_call(&o, &answer, NULL, wait));
        if (answer.n_fds)
                o.ours.in_fd = TAKE_FD(answer.fds[0]);
        *out = o.ours;
        o.ours = SESSION_FDS_NONE;
        return NULL;
}

/* --- port-forward --- */

struct error *runtime_forward_open(struct runtime_pod *pod, const struct wait *wait, struct session_fds *out)
{
        _cleanup_(opening_done) struct opening o = opening_none();
        _cleanup_(call_answer_done) struct call_answer answer = { .type = 0 };
        *out = SESSION_FDS_NONE;
        TRY(call_check_sessions(pod));
        TRY(call_open(pod, wait, &o.call_fd));
        TRY(pair_make(&o, &o.ours.channel_fd, SOCK_NONBLOCK));
        wire_begin(&o.request, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&o.request, MESSAGE_FORWARD_OPEN);
        TRY(opening_call(&o, &answer, NULL, wait));
        *out = o.ours;
        o.ours = SESSION_FDS_NONE;
        return NULL;
}
