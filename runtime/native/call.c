#include "runtime/native/call.h"
#include "base/file.h"
#include "base/socket.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct error *call_open(const struct runtime_pod *pod, const struct wait *wait, int *out_fd)
{
        struct socket_peer peer;
        _cleanup_(closep) int fd = -1;
        const char *undriven = pod->undriven;
        if (undriven)
                return error_new(ERROR_UNAVAILABLE, "%s", undriven);
        TRY(socket_connect(pod->dir_fd, "sock", SOCK_SEQPACKET, wait, &fd));
        if (fd < 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the pod's supervisor is gone");
        TRY(socket_peer(fd, &peer));
        if (peer.uid != 0)
                return error_new(ERROR_PERMISSION_DENIED, "the pod's supervisor is not root's");
        *out_fd = TAKE_FD(fd);
        return NULL;
}

uint32_t call_version(const struct runtime_pod *pod)
{
        uint32_t version = pod->version;
        return version ? version : protocol_range().oldest;
}

/* what: that those before `since` do not know. */
static struct error *check_since(const struct runtime_pod *pod, uint32_t since, const char *what)
{
        uint32_t version = pod->version;
        const char *undriven = pod->undriven;
        if (undriven)
                return error_new(ERROR_UNAVAILABLE, "%s", undriven);
        if (!version)
                return error_new(ERROR_UNAVAILABLE, "the pod's supervisor has not answered yet");
        if (version < since)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "the pod's supervisor is of an older build, which knows %s: the pod has to "
                                 "be made anew",
                                 what);
        return NULL;
}

struct error *call_check_sessions(const struct runtime_pod *pod)
{
        return check_since(pod, PROTOCOL_SESSIONS, "no exec, attach or port-forward and no terminals");
}

struct error *call_check_hooks(const struct runtime_pod *pod)
{
        return check_since(pod, PROTOCOL_HOOKS, "no hooks and no fifos among devices");
}

struct error *call_send(int fd, struct wire_writer *w, const int *fds, size_t n_fds, const struct wait *wait)
{
        struct error *e = wire_end(w);
        if (!e)
                e = socket_send(fd, w->bytes.bytes, w->bytes.len_bytes, fds, n_fds, wait);
        wire_done(w);
        if (e && (error_errnum_of(e) == EPIPE || error_errnum_of(e) == ECONNRESET))
                e = error_as(error_wrap(e, "the pod's supervisor is gone"), ERROR_FAILED_PRECONDITION);
        return e;
}

struct error *call_receive(int fd, struct call_answer *out, const struct wait *wait)
{
        size_t len_bytes = 0;
        out->n_fds = LENGTH(out->fds);
        out->bytes = malloc(PROTOCOL_MESSAGE_MAX);
        if (!out->bytes)
                return error_errno(ENOMEM, "answer");
        memset(out->fds, -1, sizeof(out->fds));
        struct error *e =
                socket_receive(fd, out->bytes, PROTOCOL_MESSAGE_MAX, &len_bytes, out->fds, &out->n_fds, wait);
        if (e) {
                out->n_fds = 0;
                call_answer_done(out);
                return e;
        }
        wire_open(&out->reader, out->bytes, len_bytes);
        out->type = len_bytes ? wire_get_u32(&out->reader) : 0;
        return NULL;
}

void call_answer_done(struct call_answer *answer)
{
        for (size_t i = 0; i < answer->n_fds; i++)
                closep(&answer->fds[i]);
        answer->n_fds = 0;
        freep(&answer->bytes);
}

void call_report(struct call_answer *answer, struct child_report *out)
{
        out->stage = wire_get_u32(&answer->reader);
        out->errnum = (int32_t) wire_get_u32(&answer->reader);
        out->index = wire_get_u32(&answer->reader);
        if (answer->type != MESSAGE_FAILED || answer->reader.bad)
                *out = (struct child_report){ .stage = STAGE_MESSAGE };
}

struct error *call_finish(int fd, const struct wait *wait)
{
        struct call_answer answer = { 0 };
        struct child_report report;
        TRY(call_receive(fd, &answer, wait));
        uint32_t type = answer.type;
        call_report(&answer, &report);
        call_answer_done(&answer);
        if (type == MESSAGE_OK)
                return NULL;
        if (type == 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the pod's supervisor has ended");
        return stage_error(&report, NULL, NULL);
}

struct error *call_memfd(const struct buf *bytes, int *out_fd)
{
        _cleanup_(closep) int fd = memfd_create("skiff-spec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return error_errno(errno, "memfd_create");
        TRY(file_write_all(fd, bytes->bytes, bytes->len_bytes));
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return error_errno(errno, "seal a memfd");
        *out_fd = TAKE_FD(fd);
        return NULL;
}

pid_t call_pid_of(int pid_fd)
{
        char path[48], text[512];
        (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pid_fd);
        _cleanup_(closep) int fd = pid_fd < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n_bytes <= 0)
                return 0;
        text[n_bytes] = '\0';
        const char *line = strstr(text, "\nPid:");
        long pid = line ? strtol(line + 5, NULL, 10) : 0;
        return pid > 0 ? (pid_t) pid : 0; /* -1: reaped */
}

bool call_is_ending(int pid_fd)
{
        enum { PROCESS_EXITING = 0x4 }; /* PF_EXITING: set before anything of a process is closed */
        char path[32], text[512];
        unsigned flags = 0;
        pid_t pid = call_pid_of(pid_fd);
        (void) snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        _cleanup_(closep) int fd = pid <= 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n_bytes <= 0)
                return true;
        text[n_bytes] = '\0';
        const char *after = strrchr(text, ')'); /* behind the name, which may hold anything */
        if (!after || sscanf(after, ") %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
                return false;
        return flags & PROCESS_EXITING;
}
