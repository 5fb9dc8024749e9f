#include "base/file.h"
#include "base/mount.h"
#include "base/process.h"
#include "base/socket.h"
#include "runtime/native/call.h"
#include "runtime/native/userns.h"
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STOP_ASK_MS 2000
#define MOUNTS_MS 10000

#ifndef SKIFF_POD_IS_STATIC
#define SKIFF_POD_IS_STATIC 0
#endif

/* The mount namespace that each skiff-pod gets a copy of. A copy of the host's would cost it time for every mount of the
 * host, and one wait for RCU to let them go. A skiff-pod makes it, once, and is ended. */
static struct error *mounts_make(struct runtime *runtime)
{
        static const char *const argv[] = { "skiff-pod", "root", NULL };
        struct process_start start = process_start_init(runtime->binary_path, argv);
        struct process process = { .pid_fd = -1 };
        struct wait wait = wait_of_ms(MOUNTS_MS);
        _cleanup_(closep) int ours = -1, its = -1;
        int ends[2];
        char path[32], done;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return error_errno(errno, "socketpair");
        ours = ends[0];
        its = ends[1];
        const int fds[] = { -1, -1, -1, its };
        memcpy(start.fds, fds, sizeof(fds));
        start.n_fds = LENGTH(fds);
        start.exec_fd = runtime->binary_fd;
        start.clone_flags = CLONE_NEWNS;
        TRY(process_spawn(&start, &process));
        closep(&its);
        struct error *e = wait_fd(&wait, ours, POLLIN, "make the root of skiff-pod");
        if (!e && read(ours, &done, 1) != 1)
                e = error_new(ERROR_INTERNAL, "make the root of skiff-pod: it ended");
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/mnt",
                        process.pid); /* our child, not reaped: its own pid */
        if (!e && (runtime->mounts_fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
                e = error_errno(errno, "open the mount namespace of skiff-pod");
        process_kill(&process);
        return e;
}

#ifdef SKIFF_FAULTS
/* For tests: SKIFF_PROTOCOL=OLDEST-NEWEST is a skiffd of another version, and so are the skiff-pods that it starts. */
static void pretend(void)
{
        struct protocol_range range = { .oldest = 0 };
        const char *text = getenv("SKIFF_PROTOCOL");
        char *end = NULL;
        range.oldest = text ? (uint32_t) strtoul(text, &end, 10) : 0;
        range.newest = end && *end == '-' ? (uint32_t) strtoul(end + 1, NULL, 10) : 0;
        if (range.oldest && range.newest >= range.oldest)
                protocol_pretend(&range);
}
#endif

struct error *runtime_open(const struct runtime_config *config, struct runtime **out)
{
#ifdef SKIFF_FAULTS
        pretend();
#endif
        _cleanup_(runtime_freep) struct runtime *runtime = NEW(struct runtime);
        runtime->binary_fd = runtime->mounts_fd = -1;
        runtime->cgroups = config->cgroups;
        runtime->binary_path = format_string("%s/skiff-pod", config->program_dir);
        /* Detached and read-only: a container that gets hold of /proc/PID/exe can never write it (CVE-2019-5736), and
         * an upgrade of the file does not change what is running. */
        TRY(mount_clone(AT_FDCWD, runtime->binary_path, false, &runtime->binary_fd));
        TRY(mount_attributes(runtime->binary_fd, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0,
                             MS_PRIVATE, false));
        if (SKIFF_POD_IS_STATIC) /* else its loader and libraries are the host's */
                TRY(mounts_make(runtime));
        *out = TAKE(runtime);
        return NULL;
}

void runtime_free(struct runtime *runtime)
{
        if (!runtime)
                return;
        closep(&runtime->binary_fd);
        closep(&runtime->mounts_fd);
        free(runtime->binary_path);
        free(runtime);
}

/* --- start --- */

static uint32_t flags_of(const struct pod_spec *spec)
{
        return (spec->host_network ? POD_HOST_NETWORK : 0) | (spec->host_ipc ? POD_HOST_IPC : 0) |
               (spec->host_pid ? POD_HOST_PID : 0) | (spec->share_pid ? POD_SHARE_PID : 0) |
               (spec->userns.length ? POD_USERNS : 0);
}

static unsigned namespaces_of(const struct pod_spec *spec)
{
        if (spec->userns.length) /* the others are those of its user namespace */
                return CLONE_NEWPID;
        return (spec->host_network ? 0U : (unsigned) (CLONE_NEWNET | CLONE_NEWUTS)) |
               (spec->host_ipc ? 0U : (unsigned) CLONE_NEWIPC) |
               (spec->host_pid ? 0U : (unsigned) CLONE_NEWPID);
}

static struct error *supervisor_spawn(struct runtime_pod *pod, const struct pod_spec *spec, int first_fd,
                                      const struct cgroup_entry *entry, int namespaces_fd,
                                      struct process *out)
{
        static const char *const argv[] = { "skiff-pod", NULL }, *const rooted[] = { "skiff-pod", "rooted",
                                                                                     NULL };
        bool is_rooted = pod->runtime->mounts_fd >= 0;
        _cleanup_(closep) int listen_fd = -1, exits_fd = -1;
        struct process_start start = process_start_init(pod->runtime->binary_path, is_rooted ? rooted : argv);
        TRY(socket_listen(spec->dir_fd, "sock", SOCK_SEQPACKET, &listen_fd));
        exits_fd =
                openat(spec->dir_fd, "exits", O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (exits_fd < 0)
                return error_errno(errno, "open exits");
        const int fds[] = { -1, -1, -1, listen_fd, exits_fd, first_fd };
        memcpy(start.fds, fds, sizeof(fds));
        start.n_fds = LENGTH(fds);
#ifdef SKIFF_FAULTS
        start.fds[2] = STDERR_FILENO; /* what a sanitizer has to say */
#endif
        start.exec_fd = pod->runtime->binary_fd;
        start.namespaces_fd = namespaces_fd;
        start.mount_namespace_fd = pod->runtime->mounts_fd;
        start.clone_flags = (is_rooted ? 0U : (unsigned) CLONE_NEWNS) | namespaces_of(spec);
        if (entry->is_v2_directory) {
                start.cgroup_fd = entry->fds[0];
        } else {
                start.enter_fds = entry->fds;
                start.n_enter_fds = entry->n;
        }
        return process_spawn(&start, out);
}

static struct error *start_send(const struct pod_spec *spec, int fd, const struct wait *wait)
{
        struct wire_writer w;
        _cleanup_(closep) int shm_fd = -1;
        if (spec->host_ipc)
                TRY(mount_clone(AT_FDCWD, "/dev/shm", false, &shm_fd));
        _cleanup_(freep) char **sysctls = NEW_ARRAY(char *, spec->n_sysctls * 2 + 1);
        for (size_t i = 0; i < spec->n_sysctls; i++) {
                sysctls[i * 2] = (char *) (uintptr_t) spec->sysctls[i].name;
                sysctls[i * 2 + 1] = (char *) (uintptr_t) spec->sysctls[i].value;
        }
        struct pod_start start = { .flags = flags_of(spec),
                                   .shm_size_bytes = spec->shm_size_bytes ? spec->shm_size_bytes : 64U << 20,
                                   .set_oom_score_adj = spec->set_oom_score_adj,
                                   .oom_score_adj = spec->oom_score_adj,
                                   .hostname = spec->hostname,
                                   .users_base = spec->userns.base,
                                   .sysctls = sysctls };
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        struct protocol_range ours = protocol_range();
        wire_put_u32(&w, MESSAGE_POD_START);
        wire_put_u32(&w, ours.oldest);
        pod_start_put(&w, &start);
        wire_put_u32(&w, ours.newest);
        wire_put_u32(&w, start.users_base);
        return call_send(fd, &w, &shm_fd, shm_fd >= 0, wait);
}

static struct error *start_error(struct call_answer *answer, const struct pod_spec *spec)
{
        struct child_report report;
        if (answer->type == 0)
                return error_new(ERROR_INTERNAL, "the pod's supervisor ended while it started");
        if (answer->type == MESSAGE_REFUSED) {
                _cleanup_(freep) char *why = refusal_read(answer);
                return error_new(ERROR_INTERNAL, "%s", why);
        }
        call_report(answer, &report);
        if (report.stage == STAGE_SYSCTL && report.index < spec->n_sysctls)
                return error_new(ERROR_FAILED_PRECONDITION, "set sysctl %s to \"%s\": %s",
                                 spec->sysctls[report.index].name, spec->sysctls[report.index].value,
                                 strerror(report.errnum));
        return stage_error(&report, NULL, NULL);
}

static struct error *start_talk(struct runtime_pod *pod, const struct pod_spec *spec, const struct wait *wait)
{
        struct call_answer answer = { 0 };
        TRY(start_send(spec, pod->event_fd, wait));
        TRY(call_receive(pod->event_fd, &answer, wait));
        struct error *e =
                answer.type == MESSAGE_SNAPSHOT ? snapshot_read(pod, &answer) : start_error(&answer, spec);
        call_answer_done(&answer);
        return e;
}

struct error *runtime_pod_start(struct runtime *runtime, const struct pod_spec *spec, const struct wait *wait,
                                struct runtime_pod **out)
{
        _cleanup_(runtime_pod_freep) struct runtime_pod *pod =
                runtime_pod_new(runtime, spec->id, spec->dir_fd);
        _cleanup_(cgroup_entry_done) struct cgroup_entry entry = { .n = 0 };
        _cleanup_(closep) int first_fd = -1;
        struct process process = { .pid_fd = -1 };
        int ends[2];
        bool adopt = spec->cgroup_path && cgroup_is_adopted(spec->cgroup_path);
        if (spec->cgroup_path && !adopt)
                TRY(cgroup_entry_open(runtime->cgroups, spec->cgroup_path, CGROUP_SANDBOX, &entry));
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
                return error_errno(errno, "socketpair");
        pod->event_fd = ends[0];
        first_fd = ends[1];
        _cleanup_(userns_holder_done) struct userns_holder holder = USERNS_HOLDER_NONE;
        if (spec->userns.length)
                TRY_WRAP(userns_hold(&spec->userns, &holder), "make the pod's user namespace");
        TRY(supervisor_spawn(pod, spec, first_fd, &entry, holder.pid_fd, &process));
        closep(&first_fd);
        pod->supervisor_pid = process.pid;
        /* It does nothing before it is told to start: so its cgroup can still be made around it. */
        struct error *e =
                adopt ? cgroup_adopt(runtime->cgroups, spec->cgroup_path, process.pid, spec->cpu_shares, wait)
                      : NULL;
        if (!e)
                e = start_talk(pod, spec, wait);
        if (e) {
                process_kill(&process);
                (void) unlinkat(spec->dir_fd, "sock", 0);
                return error_wrap(e, "start the pod's supervisor");
        }
        closep(&process.pid_fd); /* the snapshot has brought one */
        *out = TAKE(pod);
        return NULL;
}

struct error *runtime_pod_commit(struct runtime_pod *pod, const struct wait *wait)
{
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_COMMIT);
        /* No answer: the socket keeps it even if we die now, and it is read before our end is seen. */
        return call_send(pod->event_fd, &w, NULL, 0, wait);
}

/* --- stop --- */

static void stop_ask(const struct runtime_pod *pod)
{
        struct wire_writer w;
        _cleanup_(closep) int fd = -1;
        struct wait wait = wait_of_ms(STOP_ASK_MS);
        struct error *e = call_open(pod, &wait, &fd);
        if (!e) {
                wire_begin(&w, PROTOCOL_MESSAGE_MAX);
                wire_put_u32(&w, MESSAGE_STOP);
                e = call_send(fd, &w, NULL, 0, &wait);
        }
        if (!e)
                e = call_finish(fd, &wait);
        error_ignore(e); /* one that is gone, or does not answer, is killed in any case */
}

static struct error *pidfd_kill(int pid_fd, const char *what)
{
        if (pid_fd >= 0 && syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                return error_errno(errno, "kill %s", what);
        return NULL;
}

static const char supervisor_name[] = "the pod's supervisor", infra_name[] = "the pod's infra process";

/* infra first: the end of the supervisor waits for that of all in its pid namespace, and so they end side by side. */
struct error *runtime_pod_kill(struct runtime_pod *pod)
{
        TRY(pidfd_kill(pod->infra_fd, infra_name));
        TRY(pidfd_kill(pod->self_fd, supervisor_name));
        pod->keeper_alive = false;
        fd_drop(&pod->netns_fd); /* the namespace itself goes now, not when the pod is freed */
        return NULL;
}

struct error *runtime_pod_reap(const struct runtime_pod *pod, const struct wait *wait)
{
        if (pod->self_fd >= 0)
                TRY_WRAP(wait_fd(wait, pod->self_fd, POLLIN, supervisor_name), "end");
        if (pod->infra_fd >= 0)
                TRY_WRAP(wait_fd(wait, pod->infra_fd, POLLIN, infra_name), "end");
        pod_reap(pod);
        return NULL;
}

struct error *runtime_pod_stop(struct runtime_pod *pod, const struct wait *wait)
{
        if (pod->flags & POD_HOST_PID) /* no pid namespace of its own that would end with it */
                stop_ask(pod);
        TRY(runtime_pod_kill(pod));
        return runtime_pod_reap(pod, wait);
}

/* The connection has ended: with the supervisor, or because it was cut off. As long as one lives it listens. */
static struct error *end_read(struct runtime_pod *pod, struct runtime_event *out)
{
        struct wait now = wait_of_ms(0);
        _cleanup_(closep) int fd = -1;
        if (!call_is_ending(pod->self_fd))
                TRY(socket_connect(pod->dir_fd, "sock", SOCK_SEQPACKET, &now, &fd));
        if (fd >= 0) {
                out->kind = RUNTIME_EVENT_DISCONNECTED;
                return NULL;
        }
        pod->lost = true;
        pod->keeper_alive = false;
        out->kind = RUNTIME_EVENT_LOST;
        pod_reap(pod);
        return NULL;
}

static struct error *exit_read(struct call_answer *answer, struct runtime_exit *out)
{
        size_t len_bytes = 0;
        const void *record = wire_get_bytes(&answer->reader, &len_bytes);
        if (len_bytes < sizeof(*out))
                return error_new(ERROR_INTERNAL, "malformed exit event");
        memcpy(out, record, sizeof(*out));
        out->container_id[PROTOCOL_ID_MAX] = '\0';
        return NULL;
}

/* *got: false for a message that says nothing to us. */
static struct error *event_read(struct runtime_pod *pod, struct call_answer *answer,
                                struct runtime_event *out, bool *got)
{
        *got = true;
        switch (answer->type) {
        case 0:
                return end_read(pod, out);
        case MESSAGE_SNAPSHOT:
        case MESSAGE_REFUSED:
                out->kind = RUNTIME_EVENT_ATTACHED;
                return attach_answer(pod, answer, got);
        case MESSAGE_INFRA_EXIT:
                pod->keeper_alive = false;
                out->kind = RUNTIME_EVENT_INFRA_EXIT;
                return NULL;
        case MESSAGE_EXIT:
                out->kind = RUNTIME_EVENT_EXIT;
                return exit_read(answer, &out->exit);
        case MESSAGE_OOM:
                (void) snprintf(out->exit.container_id, sizeof(out->exit.container_id), "%s",
                                wire_get_text(&answer->reader));
                out->kind = RUNTIME_EVENT_OOM;
                return NULL;
        default: /* of a newer skiff-pod */
                *got = false;
                return NULL;
        }
}

struct error *runtime_pod_next_event(struct runtime_pod *pod, struct runtime_event *out, bool *got)
{
        struct pollfd ready = { .fd = pod->event_fd, .events = POLLIN };
        *got = false;
        while (!*got && !pod->lost && poll(&ready, 1, 0) > 0) {
                struct call_answer answer = { 0 };
                struct wait now = wait_of_ms(1);
                TRY(call_receive(pod->event_fd, &answer, &now));
                *out = (struct runtime_event){ 0 };
                struct error *e = event_read(pod, &answer, out, got);
                call_answer_done(&answer);
                TRY(e);
        }
        return NULL;
}

struct error *runtime_exits_read(int dir_fd, struct runtime_exit **out, size_t *n)
{
        enum { EXITS_MAX_BYTES = 64 << 20 };
        char *bytes = NULL;
        size_t len_bytes = 0;
        struct error *e = file_read(dir_fd, "exits", EXITS_MAX_BYTES, &bytes, &len_bytes);
        *out = NULL;
        *n = 0;
        if (e && error_errnum_of(e) == ENOENT) {
                error_free(e);
                return NULL;
        }
        TRY(e);
        *n = len_bytes / sizeof(**out); /* what a dying machine wrote of one more is not one */
        *out = (struct runtime_exit *) (void *) bytes;
        for (size_t i = 0; i < *n; i++)
                (*out)[i].container_id[PROTOCOL_ID_MAX] = '\0';
        return NULL;
}
