#include "base/clock.h"
#include "base/mount.h"
#include "base/socket.h"
#include "runtime/native/call.h"
#include "runtime/native/hooks.h"
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define ENDING_MAX_NS INT64_C(10000000000)
#define ENDING_LOOK_MS 5

/* The descriptors that go with a spec, in the order of its indexes. */
struct parcel {
        int fds[PROTOCOL_FDS_MAX];
        bool ours[PROTOCOL_FDS_MAX]; /* closed when it has been sent */
        size_t n;
        /* The mounts as they are sent; names made for them. */
        struct container_mount *mounts;
        size_t n_mounts;
        char **names;
        size_t n_names;
        int userns_fd; /* for mounts that have its ids; -1 until there is one */
};

static void parcel_done(struct parcel *p)
{
        for (size_t i = 0; i < p->n; i++)
                if (p->ours[i])
                        closep(&p->fds[i]);
        for (size_t i = 0; i < p->n_names; i++)
                free(p->names[i]);
        free(p->names);
        free(p->mounts);
        closep(&p->userns_fd);
}

static struct error *parcel_lend(struct parcel *p, int fd, uint32_t *index)
{
        if (p->n == LENGTH(p->fds))
                return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %zu mounts", p->n);
        p->fds[p->n] = fd;
        p->ours[p->n] = false;
        *index = (uint32_t) p->n++;
        return NULL;
}

/* Takes *fd over, and leaves -1; on failure it stays the caller's. */
static struct error *parcel_add(struct parcel *p, int *fd, uint32_t *index)
{
        TRY(parcel_lend(p, *fd, index));
        p->ours[*index] = true;
        *fd = -1;
        return NULL;
}

static char *parcel_name(struct parcel *p, char *name)
{
        p->names = grow_array(p->names, p->n_names + 1, sizeof(*p->names));
        p->names[p->n_names++] = name;
        return name;
}

static struct container_mount *parcel_mount(struct parcel *p, struct container_mount m)
{
        p->mounts = grow_array(p->mounts, p->n_mounts + 1, sizeof(*p->mounts));
        p->mounts[p->n_mounts] = m;
        return &p->mounts[p->n_mounts++];
}

/* --- sources --- */

static uint64_t propagation_of(enum mount_propagation propagation)
{
        return propagation == MOUNT_SLAVE ? MS_SLAVE : propagation == MOUNT_SHARED ? MS_SHARED : MS_PRIVATE;
}

static struct error *source_prepare(int fd, const struct container_mount *m)
{
        uint64_t plain = (m->nosuid ? MOUNT_ATTR_NOSUID : 0U) | (m->nodev ? MOUNT_ATTR_NODEV : 0U) |
                         (m->noexec ? MOUNT_ATTR_NOEXEC : 0U) | (m->readonly ? MOUNT_ATTR_RDONLY : 0U);
        /* Of one without a host_path, a clone of an image or of a view of cgroups, there is no peer. */
        TRY(mount_attributes(fd, 0, 0, propagation_of(m->propagation), true));
        if (m->tree.set || m->tree.clear)
                TRY(mount_attributes(fd, m->tree.set, m->tree.clear, 0, true));
        if (plain || m->itself.set || m->itself.clear)
                TRY(mount_attributes(fd, plain | m->itself.set, m->itself.clear, 0, false));
        if (m->recursive_readonly)
                TRY(mount_attributes(fd, MOUNT_ATTR_RDONLY, 0, 0, true));
        return NULL;
}

/* The host's file or directory as a detached mount, with all that is mounted below it, unless it is wanted alone. */
static struct error *source_open(const struct container_mount *m, int *out_fd)
{
        struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
        _cleanup_(closep) int fd = (int) syscall(SYS_openat2, AT_FDCWD, m->host_path, &how, sizeof(how));
        if (fd < 0) { /* it was there when the container was made, or a CDI file names what is not */
                bool is_gone = errno == ENOENT || errno == ENOTDIR;
                struct error *e = error_errno(errno, "open");
                return is_gone ? error_as(e, ERROR_FAILED_PRECONDITION) : e;
        }
        return mount_clone_peer(fd, "", !m->alone, out_fd);
}

/* With all that is mounted below: one filesystem that cannot, and the whole is refused. */
static struct error *source_map(const struct parcel *p, int fd)
{
        struct error *e = mount_idmap(fd, p->userns_fd, true);
        if (e && error_errnum_of(e) == EINVAL) {
                error_free(e);
                return error_new(
                        ERROR_FAILED_PRECONDITION,
                        "its filesystem, or one that is mounted below it, cannot be mounted with the ids of "
                        "a pod's user namespace on this kernel");
        }
        return e;
}

/* mount_fd: for a mount without a host_path. */
static struct error *bind_add(struct parcel *p, const struct container_mount *m, int mount_fd)
{
        _cleanup_(closep) int fd = -1;
        uint32_t index = 0;
        if (!m->host_path) {
                if (mount_fd < 0)
                        mount_fd = m->source_fd;
                TRY(source_prepare(mount_fd, m));
                TRY(parcel_lend(p, mount_fd, &index));
        } else {
                TRY(source_open(m, &fd));
                if (m->idmapped)
                        TRY(source_map(p, fd));
                TRY(source_prepare(fd, m));
                TRY(parcel_add(p, &fd, &index));
        }
        struct container_mount sent = *m;
        sent.source_fd = (int) index;
        (void) parcel_mount(p, sent);
        return NULL;
}

/* --- /sys/fs/cgroup --- */

static struct error *view_mount(struct parcel *p, struct cgroup_view *view, const struct container_mount *m)
{
        uint32_t index = 0;
        unsigned kind = *view->name ? WIRE_MOUNT_TREE_BIND : (unsigned) MOUNT_BIND;
        char *target = parcel_name(p, format_string("%s%s%s", m->target, *view->name ? "/" : "", view->name));
        TRY(parcel_add(p, &view->fd, &index));
        (void) parcel_mount(p, (struct container_mount){ .kind = (enum mount_kind) kind,
                                                         .target = target,
                                                         .source_fd = (int) index });
        /* "cpu,cpuacct" is found as cpu and as cpuacct too. */
        _cleanup_(freep) char *parts = dup_string(strchr(view->name, ',') ? view->name : NULL);
        char *rest = parts, *whole = parts ? parcel_name(p, dup_string(view->name)) : NULL;
        for (char *part; rest && (part = strsep(&rest, ","));)
                (void) parcel_mount(p,
                                    (struct container_mount){
                                            .kind = (enum mount_kind) WIRE_MOUNT_TREE_LINK,
                                            .target = parcel_name(p, format_string("%s/%s", m->target, part)),
                                            .data = whole,
                                            .source_fd = -1 });
        return NULL;
}

static struct error *cgroup_add(struct parcel *p, struct cgroups *cgroups, const struct container_spec *spec,
                                const struct container_mount *m)
{
        _cleanup_(cgroup_views_done) struct cgroup_views views = { .n = 0 };
        bool v2 = cgroups_is_v2(cgroups);
        struct container_mount sent = *m;
        sent.source_fd = -1;
        if (!spec->cgroup_path)
                return error_new(ERROR_INVALID_ARGUMENT, "a cgroup mount without a cgroup");
        if (v2 && spec->private_cgroup_namespace) {
                (void) parcel_mount(p, sent);
                return NULL;
        }
        TRY(cgroup_views_open(cgroups, spec->cgroup_path, v2, m->readonly, &views));
        if (!v2) {
                sent.kind = (enum mount_kind) WIRE_MOUNT_TREE;
                sent.data = (char *) (uintptr_t) "mode=755,size=64k";
                sent.readonly = false; /* until the mount points are in it */
                sent.nosuid = sent.nodev = sent.noexec = true;
                (void) parcel_mount(p, sent);
        }
        for (size_t i = 0; i < views.n; i++)
                TRY(view_mount(p, &views.views[i], m));
        if (!v2 && m->readonly) {
                sent.kind = (enum mount_kind) WIRE_MOUNT_TREE_READONLY;
                (void) parcel_mount(p, sent);
        }
        return NULL;
}

static struct error *mounts_add(struct parcel *p, struct cgroups *cgroups, const struct container_spec *spec,
                                const struct runtime_start *start)
{
        for (size_t i = 0; i < spec->n_mounts; i++) {
                const struct container_mount *m = &spec->mounts[i];
                if (m->kind == MOUNT_BIND) {
                        TRY_WRAP(bind_add(p, m, start->mount_fds ? start->mount_fds[i] : -1),
                                 "mount %s at %s", m->host_path ? m->host_path : "a source", m->target);
                } else if (m->kind == MOUNT_CGROUP) {
                        TRY_WRAP(cgroup_add(p, cgroups, spec, m), "mount cgroups at %s", m->target);
                } else {
                        struct container_mount sent = *m;
                        sent.source_fd = -1;
                        (void) parcel_mount(p, sent);
                }
        }
        return NULL;
}

/* --- the cgroup's descriptors --- */

static struct error *entries_add(struct parcel *p, struct cgroup_entry *entry, struct container_message *m)
{
        for (size_t i = 0; i < entry->n; i++)
                TRY(parcel_add(p, &entry->fds[i], &m->entries[m->n_entries++]));
        m->entry_is_v2_directory = entry->is_v2_directory;
        return NULL;
}

/* A host without the memory controller has no such counter: then nothing is reported as killed for want of memory. */
static struct error *oom_add(struct parcel *p, struct cgroups *cgroups, const char *path,
                             struct container_message *m)
{
        _cleanup_(closep) int oom_fd = -1, event_fd = -1;
        struct error *e = cgroup_oom_open(cgroups, path, &oom_fd);
        if (e) {
                error_ignore(e);
                return NULL;
        }
        if (!cgroups_is_v2(cgroups)) {
                TRY(cgroup_oom_event(cgroups, path, oom_fd, &event_fd));
                TRY(parcel_add(p, &event_fd, &m->oom_event));
        }
        TRY(parcel_add(p, &oom_fd, &m->oom));
        if (cgroups_is_v2(cgroups)) /* one file is both */
                m->oom_event = m->oom;
        return NULL;
}

static struct error *cgroup_fds_add(struct parcel *p, struct cgroups *cgroups, const char *path,
                                    struct container_message *m)
{
        _cleanup_(cgroup_entry_done) struct cgroup_entry entry = { .n = 0 };
        _cleanup_(closep) int tree_fd = -1;
        if (!path)
                return NULL;
        TRY(cgroup_entry_open(cgroups, path, CGROUP_CONTAINER, &entry));
        TRY(entries_add(p, &entry, m));
        TRY(cgroup_tree_open(cgroups, path, &tree_fd));
        TRY(parcel_add(p, &tree_fd, &m->tree));
        return oom_add(p, cgroups, path, m);
}

/* rootfs_fd: the end of a socket on which the process will get its root filesystem. */
static struct error *parcel_fill(struct parcel *p, struct cgroups *cgroups, const struct container_spec *spec,
                                 const struct runtime_start *start, int rootfs_fd,
                                 const struct hook_message *hooks, struct container_message *m)
{
        *m = (struct container_message){ .spec = *spec,
                                         .oom = PROTOCOL_NO_FD,
                                         .oom_event = PROTOCOL_NO_FD,
                                         .tree = PROTOCOL_NO_FD,
                                         .log_follows = start->log != NULL,
                                         .log_line_max_bytes = start->log_line_max_bytes,
                                         .log_max_bytes = start->log_max_bytes,
                                         .started_wall_ns = start->started_wall_ns,
                                         .hooks = *hooks };
        TRY(parcel_lend(p, rootfs_fd, &m->rootfs));
        TRY(cgroup_fds_add(p, cgroups, spec->cgroup_path, m));
        TRY(mounts_add(p, cgroups, spec, start));
        m->spec.mounts = p->mounts;
        m->spec.n_mounts = p->n_mounts;
        if (spec->seccomp)
                m->seccomp = *spec->seccomp;
        return NULL;
}

/* --- the request --- */

static struct error *start_send(int fd, uint32_t version, const struct parcel *p,
                                const struct container_message *m, const struct wait *wait)
{
        struct wire_writer w;
        _cleanup_(closep) int memfd = -1;
        wire_begin(&w, PROTOCOL_SPEC_MAX);
        container_message_put(&w, version, m);
        uint64_t len_bytes = w.bytes.len_bytes;
        struct error *e = wire_end(&w);
        if (!e)
                e = call_memfd(&w.bytes, &memfd);
        wire_done(&w);
        TRY_WRAP(e, "container spec");
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_CONTAINER_START);
        wire_put_u32(&w, (uint32_t) p->n);
        wire_put_u64(&w, len_bytes);
        wire_put_u32(&w, version);
        TRY(call_send(fd, &w, &memfd, 1, wait));
        for (size_t at = 0; at < p->n; at += PROTOCOL_FDS_BATCH) {
                size_t n = p->n - at < PROTOCOL_FDS_BATCH ? p->n - at : PROTOCOL_FDS_BATCH;
                wire_begin(&w, PROTOCOL_MESSAGE_MAX);
                wire_put_u32(&w, MESSAGE_FDS);
                TRY(call_send(fd, &w, p->fds + at, n, wait));
        }
        return NULL;
}

/* We know that it runs: from now on the end of this connection means nothing. */
static struct error *start_commit(int fd, const struct wait *wait)
{
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_COMMIT);
        return call_send(fd, &w, NULL, 0, wait);
}

/* What follows the request: the log, and the way on which the root filesystem goes to the process. */
struct handover {
        int ours, its;
        int log_fd;
        bool is_sent;
};

static void handover_done(struct handover *handover)
{
        closep(&handover->log_fd);
        closep(&handover->ours);
        closep(&handover->its);
}

static struct error *handover_open(struct handover *handover)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return error_errno(errno, "socketpair");
        handover->ours = ends[0];
        handover->its = ends[1];
        return NULL;
}

struct starting {
        struct runtime_pod *pod;
        const struct container_spec *spec;
        const struct runtime_start *start;
        struct parcel parcel;
        struct container_message message;
        struct handover handover;
        /* Where the spec has hooks: */
        struct hook_place place;
        char *state_begin; /* of message.hooks */
        bool has_hooks_of_host;
};

/* Once: a try that was refused has taken nothing out, and the next one's process finds it. */
static struct error *rootfs_send(struct starting *s, const struct wait *wait)
{
        _cleanup_(closep) int mount_fd = -1;
        if (s->handover.is_sent)
                return NULL;
        TRY(s->start->rootfs(s->start->context, &mount_fd));
        TRY(socket_send(s->handover.ours, "", 1, &mount_fd, 1, wait));
        s->handover.is_sent = true;
        return NULL;
}

/* With every try: it was opened once. */
static struct error *log_send(struct handover *handover, const struct runtime_start *start, int fd,
                              const struct wait *wait)
{
        struct wire_writer w;
        if (!start->log)
                return NULL;
        if (handover->log_fd < 0)
                TRY(start->log(start->context, &handover->log_fd));
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_LOG);
        return call_send(fd, &w, &handover->log_fd, 1, wait);
}

/* What the process said of a hook of its own that failed. */
static struct error *hook_error(const struct starting *s, const struct child_report *report)
{
        char words[HOOK_TEXT_MAX + 1];
        ssize_t n_bytes = recv(s->handover.ours, words, sizeof(words) - 1, MSG_DONTWAIT);
        if (n_bytes <= 0)
                return stage_error(report, s->spec, &s->spec->process);
        return error_new(ERROR_FAILED_PRECONDITION, "%.*s", (int) n_bytes, words);
}

static struct error *start_failed(const struct starting *s, struct call_answer *answer, bool *ending)
{
        struct child_report report;
        if (answer->type == 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the pod's supervisor has ended");
        call_report(answer, &report);
        *ending = report.stage == STAGE_ENDING;
        if (report.stage == STAGE_HOOK)
                return hook_error(s, &report);
        return stage_error(&report, &s->message.spec, &s->message.spec.process);
}

/* The process has sent its mounts, and waits. */
static struct error *hooks_of_host(const struct starting *s, int pid_fd, const struct wait *wait)
{
        static const enum hook_stage stages[] = { HOOK_PRESTART, HOOK_CREATE_RUNTIME, HOOK_CREATE_CONTAINER };
        _cleanup_(closep) int tree_fd = -1;
        _cleanup_(hook_view_done) struct hook_view view = { -1, -1 };
        const struct hooks_for for_it = { call_pid_of(pid_fd), pid_fd, &s->place };
        size_t len_bytes = 0, n_fds = 1;
        char byte;
        TRY(socket_receive(s->handover.ours, &byte, 1, &len_bytes, &tree_fd, &n_fds, wait));
        if (n_fds != 1)
                return error_new(ERROR_FAILED_PRECONDITION, "the process did not wait for its hooks");
        TRY_WRAP(hook_view_make(tree_fd, &s->place, &view), "the container's mounts, for hooks");
        for (size_t i = 0; i < LENGTH(stages); i++)
                TRY(hooks_run(s->spec, stages[i], i < 2 ? "creating" : "created", &for_it, &view, wait));
        return socket_send(s->handover.ours, "", 1, NULL, 0, wait);
}

/* The report socket ends with the exec (or with a death before it: an exit like any other, which comes as an event), or
 * it holds what failed, which the supervisor tells. It is looked at here as well, so that a start is known without
 * another turn of the supervisor; nobody takes anything out of it. */
static struct error *start_watch(const struct starting *s, int fd, const struct call_answer *spawned,
                                 const struct wait *wait, bool *runs)
{
        int pid_fd = spawned->fds[0], report_fd = spawned->fds[1];
        struct pollfd fds[] = { { .fd = report_fd, .events = POLLIN },
                                { .fd = fd, .events = POLLIN },
                                { .fd = wait->cancel_fd, .events = POLLIN },
                                { .fd = s->has_hooks_of_host ? s->handover.ours : -1, .events = POLLIN } };
        while (!fds[0].revents && !fds[1].revents) {
                if (poll(fds, LENGTH(fds), wait_left_ms(wait)) < 0 && errno != EINTR)
                        return error_errno(errno, "poll");
                if (!fds[0].revents && !fds[1].revents) /* one that runs was not cancelled in time */
                        TRY(wait_check(wait, "start the process"));
                if (!fds[0].revents && !fds[1].revents && fds[3].revents) {
                        TRY(hooks_of_host(s, pid_fd, wait));
                        fds[3].fd = -1;
                }
        }
        char first;
        *runs = recv(report_fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
        return NULL;
}

/* *ending: one of that id is there still. */
static struct error *start_answer(const struct starting *s, int fd, const struct wait *wait, pid_t *pid,
                                  bool *ending)
{
        _cleanup_(call_answer_done) struct call_answer answer = { .type = 0 };
        bool runs = false;
        TRY(call_receive(fd, &answer, wait));
        if (answer.type != MESSAGE_SPAWNED || answer.n_fds != 2)
                return start_failed(s, &answer, ending);
        *pid = call_pid_of(answer.fds[0]);
        TRY(start_watch(s, fd, &answer, wait, &runs));
        if (runs) { /* a hook that fails now ends it: it is not committed */
                const struct hooks_for for_it = { *pid, -1, &s->place };
                TRY(hooks_run(s->spec, HOOK_POSTSTART, "running", &for_it, NULL, wait));
                return start_commit(fd, wait);
        }
        call_answer_done(&answer);
        TRY(call_receive(fd, &answer, wait));
        return start_failed(s, &answer, ending);
}

/* *ending: one of that id is there still. */
static struct error *start_once(struct starting *s, const struct wait *wait, pid_t *pid, bool *ending)
{
        _cleanup_(closep) int fd = -1;
        TRY(call_open(s->pod, wait, &fd));
        TRY(start_send(fd, call_version(s->pod), &s->parcel, &s->message, wait));
        TRY(log_send(&s->handover, s->start, fd, wait));
        TRY(rootfs_send(s, wait));
        return start_answer(s, fd, wait, pid, ending);
}

/* A skiffd that was killed during a start has left a process that the supervisor is ending; the next start, of the skiffd
 * that came after it, may be faster than that end. Nothing tells of it. */
static struct error *start_patiently(struct starting *s, const struct wait *wait, pid_t *pid)
{
        int64_t until_ns = clock_monotonic_ns() + ENDING_MAX_NS;
        for (;;) {
                bool ending = false;
                struct error *e = start_once(s, wait, pid, &ending);
                if (!ending || clock_monotonic_ns() > until_ns)
                        return e;
                error_free(e);
                TRY(wait_delay(wait, ENDING_LOOK_MS, "wait for an earlier start's end"));
        }
}

static void starting_done(struct starting *s)
{
        parcel_done(&s->parcel);
        handover_done(&s->handover);
        hook_place_done(&s->place);
        free(s->state_begin);
}

/* What hooks need; nothing without any. */
static struct error *prepare_hooks(struct starting *s, struct hook_message *out)
{
        *out = (struct hook_message){ false, "", "" };
        bool has_fifo = false;
        for (size_t i = 0; i < s->spec->n_devices; i++)
                has_fifo = has_fifo || s->spec->devices[i].type == 'p';
        if (s->spec->n_hooks || has_fifo)
                TRY(call_check_hooks(s->pod));
        if (!s->spec->n_hooks)
                return NULL;
        TRY(hook_place_find(&s->start->hooks, &s->place));
        s->has_hooks_of_host = hooks_of_host_in(s->spec);
        s->state_begin = hooks_state_begin(s->spec, "created", &s->place);
        *out = (struct hook_message){ s->has_hooks_of_host, s->state_begin, "}" };
        return NULL;
}

struct error *runtime_container_start(struct runtime_pod *pod, const struct container_spec *spec,
                                      const struct runtime_start *start, const struct wait *wait, pid_t *pid)
{
        struct hook_message hooks;
        _cleanup_(starting_done) struct starting s = { .pod = pod,
                                                       .spec = spec,
                                                       .start = start,
                                                       .parcel.userns_fd = -1,
                                                       .handover = { .ours = -1, .its = -1, .log_fd = -1 } };
        if (strlen(spec->id) > PROTOCOL_ID_MAX || !spec->process.argv || !spec->process.argv[0])
                return error_new(ERROR_INVALID_ARGUMENT, "a container needs an id and a command");
        if (spec->tty)
                TRY(call_check_sessions(pod));
        for (size_t i = 0; i < spec->n_mounts && s.parcel.userns_fd < 0; i++)
                if (spec->mounts[i].idmapped)
                        TRY(runtime_pod_userns(pod, &s.parcel.userns_fd));
        TRY(prepare_hooks(&s, &hooks));
        TRY(handover_open(&s.handover));
        TRY(parcel_fill(&s.parcel, pod->runtime->cgroups, spec, start, s.handover.its, &hooks, &s.message));
        return start_patiently(&s, wait, pid);
}

/* --- what is asked of one that runs --- */

struct error *runtime_container_signal(struct runtime_pod *pod, const char *id, int signal,
                                       const struct wait *wait)
{
        struct wire_writer w;
        _cleanup_(closep) int fd = -1;
        struct error *e = call_open(pod, wait, &fd);
        if (e && error_code_of(e) == ERROR_FAILED_PRECONDITION) {
                error_free(e); /* with the supervisor all that it ran is gone */
                return NULL;
        }
        TRY(e);
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_SIGNAL);
        wire_put_text(&w, id);
        wire_put_u32(&w, (uint32_t) signal);
        wire_put_u32(&w, 0);
        TRY(call_send(fd, &w, NULL, 0, wait));
        return call_finish(fd, wait);
}

struct error *runtime_container_reopen_log(struct runtime_pod *pod, const char *id, int log_fd,
                                           const struct wait *wait)
{
        struct wire_writer w;
        _cleanup_(closep) int fd = -1;
        TRY(call_open(pod, wait, &fd));
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_REOPEN_LOG);
        wire_put_text(&w, id);
        TRY(call_send(fd, &w, &log_fd, 1, wait));
        return call_finish(fd, wait);
}
