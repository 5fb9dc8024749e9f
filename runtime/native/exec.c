#include "base/budget.h"
#include "base/clock.h"
#include "runtime/native/call.h"
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#define CHUNK_BYTES 65536
/* Of the limit, for the line that says that the output was cut. */
#define CUT_LINE_BYTES 128
/* The supervisor watches the timeout; should it not answer in time after it, we give up ourselves. */
#define TIMEOUT_GRACE_MS 5000
#define EXIT_NOT_FOUND 127
#define EXIT_NOT_EXECUTABLE 126

struct exec_run {
        int call_fd, out_fd, err_fd; /* the pipes' reading ends; -1 at their end */
        struct buf out, err;
        size_t left_bytes;   /* of the limit that both share */
        struct share *share; /* of what all execs have; NULL: no such bound */
        bool truncated, answered, timed_out, closed;
        int32_t exit_code;
        struct child_report failure; /* stage NONE: none */
        char *chunk;
};

static void run_done(struct exec_run *run)
{
        closep(&run->call_fd);
        closep(&run->out_fd);
        closep(&run->err_fd);
        buf_done(&run->out);
        buf_done(&run->err);
        free(run->chunk);
}

void exec_result_done(struct exec_result *result)
{
        free(result->out);
        free(result->err);
        *result = (struct exec_result){ 0 };
}

static struct error *pipe_make(int *read_fd, int *write_fd)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(errno, "pipe");
        *read_fd = fds[0];
        *write_fd = fds[1];
        return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? error_errno(errno, "pipe") : NULL;
}

struct error *call_exec_memfd(uint32_t version, const struct process_spec *process,
                              const struct seccomp_program *seccomp, int *out_fd, uint64_t *len_bytes)
{
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_SPEC_MAX);
        exec_message_put(&w, version, process, seccomp);
        *len_bytes = w.bytes.len_bytes;
        struct error *e = wire_end(&w);
        if (!e)
                e = call_memfd(&w.bytes, out_fd);
        wire_done(&w);
        return e;
}

static struct error *exec_send(struct exec_run *run, uint32_t version, const char *id,
                               const struct process_spec *process, const struct seccomp_program *seccomp,
                               int64_t timeout_ms, const struct wait *wait)
{
        struct wire_writer w;
        _cleanup_(closep) int memfd = -1, out_fd = -1, err_fd = -1;
        TRY(pipe_make(&run->out_fd, &out_fd));
        TRY(pipe_make(&run->err_fd, &err_fd));
        uint64_t len_bytes = 0;
        TRY(call_exec_memfd(version, process, seccomp, &memfd, &len_bytes));
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_EXEC);
        wire_put_text(&w, id);
        wire_put_u64(&w, len_bytes);
        wire_put_u64(&w, (uint64_t) timeout_ms);
        wire_put_u32(&w, version);
        const int fds[] = { memfd, out_fd, err_fd };
        return call_send(run->call_fd, &w, fds, LENGTH(fds), wait);
}

/* Reads once, at most max_bytes. Past the limit it is read and thrown away: the command must not block. */
static struct error *collect(struct exec_run *run, int *fd, struct buf *into, size_t max_bytes,
                             size_t *out_bytes)
{
        ssize_t n_bytes = read(*fd, run->chunk, max_bytes < CHUNK_BYTES ? max_bytes : CHUNK_BYTES);
        *out_bytes = n_bytes > 0 ? (size_t) n_bytes : 0;
        if (n_bytes < 0 && (errno == EAGAIN || errno == EINTR))
                return NULL;
        if (n_bytes <= 0) {
                closep(fd);
                return NULL;
        }
        size_t keep_bytes = (size_t) n_bytes < run->left_bytes ? (size_t) n_bytes : run->left_bytes;
        if (run->share)
                keep_bytes = share_take(run->share, keep_bytes);
        run->truncated = run->truncated || keep_bytes < (size_t) n_bytes;
        run->left_bytes -= keep_bytes;
        return buf_append(into, run->chunk, keep_bytes);
}

/* What is in the pipe now, and no more: all that the command wrote, which has ended, and not what a child of it goes on to
 * write. */
static struct error *drain(struct exec_run *run, int *fd, struct buf *into)
{
        int left = 0;
        if (*fd < 0 || ioctl(*fd, FIONREAD, &left) < 0)
                return NULL;
        for (size_t n_bytes = 0, left_bytes = (size_t) left; left_bytes && *fd >= 0; left_bytes -= n_bytes)
                TRY(collect(run, fd, into, left_bytes, &n_bytes));
        return NULL;
}

static struct error *answer_read(struct exec_run *run, const struct wait *wait)
{
        struct call_answer answer = { 0 };
        TRY(call_receive(run->call_fd, &answer, wait));
        uint32_t type = answer.type;
        if (type == MESSAGE_EXEC_EXIT)
                run->exit_code = (int32_t) wire_get_u32(&answer.reader);
        else if (type == MESSAGE_FAILED)
                call_report(&answer, &run->failure);
        call_answer_done(&answer);
        run->answered = true;
        run->timed_out = run->timed_out || type == MESSAGE_EXEC_TIMED_OUT;
        if (type == 0) {
                closep(&run->call_fd);
                run->closed = true;
                return run->timed_out
                               ? NULL
                               : error_new(ERROR_FAILED_PRECONDITION, "the pod's supervisor has ended");
        }
        return NULL;
}

static void exec_cancel(struct exec_run *run)
{
        struct wire_writer w;
        struct wait now = wait_of_ms(0);
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_EXEC_KILL);
        if (run->call_fd >= 0)
                error_ignore(call_send(run->call_fd, &w, NULL, 0, &now)); /* the close says so too */
        else
                wire_done(&w);
}

static struct error *loop_round(struct exec_run *run, const struct wait *wait)
{
        struct pollfd fds[] = { { .fd = run->call_fd, .events = POLLIN },
                                { .fd = run->out_fd, .events = POLLIN },
                                { .fd = run->err_fd, .events = POLLIN },
                                { .fd = wait->cancel_fd, .events = POLLIN } };
        size_t n_bytes;
        int n = poll(fds, LENGTH(fds), wait_left_ms(wait));
        if (n < 0 && errno != EINTR)
                return error_errno(errno, "poll");
        if (n == 0 || (n > 0 && fds[3].revents))
                return wait_check(wait, "exec");
        if (n > 0 && fds[1].revents)
                TRY(collect(run, &run->out_fd, &run->out, CHUNK_BYTES, &n_bytes));
        if (n > 0 && fds[2].revents)
                TRY(collect(run, &run->err_fd, &run->err, CHUNK_BYTES, &n_bytes));
        return n > 0 && fds[0].revents ? answer_read(run, wait) : NULL;
}

/* Until the command has ended; of one that ran out of time, until all that it started has. */
static struct error *loop_all(struct exec_run *run, int64_t timeout_ms, const struct wait *wait)
{
        struct wait bounded = timeout_ms > 0 ? wait_within(wait, timeout_ms + TIMEOUT_GRACE_MS) : *wait;
        while (run->timed_out ? !run->closed : !run->answered)
                TRY(loop_round(run, &bounded));
        if (run->timed_out)
                return NULL;
        TRY(drain(run, &run->out_fd, &run->out));
        return drain(run, &run->err_fd, &run->err);
}

/* The limit of err has room for it. */
static struct error *say_cut(struct exec_run *run, size_t limit_bytes)
{
        const char *newline =
                run->err.len_bytes && run->err.bytes[run->err.len_bytes - 1] != '\n' ? "\n" : "";
        if (run->left_bytes)
                return buf_append_format(
                        &run->err, "%sskiff: the output is cut: all execs together hold too much\n", newline);
        return buf_append_format(&run->err, "%sskiff: the output is cut: one exec's is at most %zu bytes\n",
                                 newline, limit_bytes);
}

/* A command that could not be started is a result: what a shell would have said. */
static struct error *failure_result(struct exec_run *run, const struct process_spec *process)
{
        struct error *e = stage_error(&run->failure, NULL, process);
        uint32_t stage = run->failure.stage;
        if (stage != STAGE_EXEC && stage != STAGE_EXEC_NOT_FOUND && stage != STAGE_CWD)
                return e;
        bool missing = stage == STAGE_EXEC_NOT_FOUND || run->failure.errnum == ENOENT;
        run->exit_code = missing ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
        struct error *full = buf_append_format(&run->err, "%s\n", error_message(e));
        error_free(e);
        return full;
}

static struct error *exec_run(struct exec_run *run, uint32_t version, const char *id,
                              const struct process_spec *process, const struct seccomp_program *seccomp,
                              int64_t timeout_ms, const struct wait *wait)
{
        TRY(exec_send(run, version, id, process, seccomp, timeout_ms, wait));
        struct error *e = loop_all(run, timeout_ms, wait);
        if (e && !run->timed_out) {
                exec_cancel(run);
                return e;
        }
        error_free(
                e); /* a process that no SIGKILL ends in time (an uninterruptible wait) is a timeout all the same */
        if (run->timed_out)
                return error_new(ERROR_DEADLINE_EXCEEDED, "command \"%s\" timed out after %lld ms",
                                 process->argv[0], (long long) timeout_ms);
        return run->failure.stage == STAGE_NONE ? NULL : failure_result(run, process);
}

struct error *runtime_exec_sync(struct runtime_pod *pod, const char *container_id,
                                const struct process_spec *process, const struct seccomp_program *seccomp,
                                int64_t timeout_ms, size_t limit_bytes, struct share *share,
                                const struct wait *wait, struct exec_result *out)
{
        _cleanup_(run_done) struct exec_run run = { .call_fd = -1, .out_fd = -1, .err_fd = -1 };
        if (!process->argv || !process->argv[0])
                return error_new(ERROR_INVALID_ARGUMENT, "an exec needs a command");
        run.left_bytes = limit_bytes > CUT_LINE_BYTES ? limit_bytes - CUT_LINE_BYTES : 0;
        run.share = share;
        run.chunk = malloc(CHUNK_BYTES);
        if (!run.chunk)
                return error_errno(ENOMEM, "exec");
        buf_init(&run.out, limit_bytes);
        buf_init(&run.err, limit_bytes + 4096); /* and the words of a failure */
        TRY(call_open(pod, wait, &run.call_fd));
        TRY(exec_run(&run, call_version(pod), container_id, process, seccomp, timeout_ms, wait));
        if (run.truncated)
                TRY(say_cut(&run, limit_bytes));
        *out = (struct exec_result){ .exit_code = run.exit_code,
                                     .out_bytes = run.out.len_bytes,
                                     .err_bytes = run.err.len_bytes,
                                     .truncated = run.truncated };
        out->out = buf_take_text(&run.out);
        out->err = buf_take_text(&run.err);
        return NULL;
}
