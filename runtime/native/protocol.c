#include "runtime/native/protocol.h"
#include "runtime/apparmor.h"
#include "runtime/selinux.h"
#include <string.h>

/* The least that one element takes on the wire: bounds a count before memory is taken for it. */
enum { TEXT_LEAST = 9, MOUNT_LEAST = 30, DEVICE_LEAST = 33, RLIMIT_LEAST = 20, HOOK_LEAST = 29 };

/* --- versions --- */

static struct protocol_range spoken = { .oldest = PROTOCOL_OLDEST, .newest = PROTOCOL_VERSION };

struct protocol_range protocol_range(void)
{
        return spoken;
}

#ifdef SKIFF_FAULTS
void protocol_pretend(const struct protocol_range *range)
{
        spoken = *range;
}
#endif

uint32_t protocol_agree(const struct protocol_range *one, const struct protocol_range *other)
{
        uint32_t newest = one->newest < other->newest ? one->newest : other->newest;
        return newest >= one->oldest && newest >= other->oldest ? newest : 0;
}

void protocol_newest_get(struct wire_reader *r, struct protocol_range *range)
{
        range->newest = wire_has_more(r) ? wire_get_u32(r) : range->oldest;
}

/* A struct: with its length, where the version has lengths. */
static size_t struct_begin(struct wire_writer *w, uint32_t version)
{
        return version < PROTOCOL_LENGTHS ? SIZE_MAX : wire_struct_begin(w);
}

static void struct_end(struct wire_writer *w, size_t at)
{
        if (at != SIZE_MAX)
                wire_struct_end(w, at);
}

/* Where its fields are read from: *inner, or r itself. */
static struct wire_reader *struct_enter(struct wire_reader *r, uint32_t version, struct wire_reader *inner)
{
        if (version < PROTOCOL_LENGTHS)
                return r;
        *inner = wire_struct_enter(r);
        return inner;
}

static struct error *message_close(const struct wire_reader *r, uint32_t version, const char *what)
{
        return version < PROTOCOL_LENGTHS ? wire_close(r, what) : wire_close_newer(r, what);
}

/* --- a pod --- */

void pod_start_put(struct wire_writer *w, const struct pod_start *start)
{
        wire_put_u32(w, start->flags);
        wire_put_u64(w, start->shm_size_bytes);
        wire_put_u32(w, start->set_oom_score_adj);
        wire_put_u32(w, (uint32_t) start->oom_score_adj);
        wire_put_text(w, start->hostname);
        wire_put_texts(w, start->sysctls);
}

void pod_start_get(struct wire_reader *r, struct pod_start *out)
{
        out->flags = wire_get_u32(r);
        out->shm_size_bytes = wire_get_u64(r);
        out->set_oom_score_adj = wire_get_u32(r) != 0;
        out->oom_score_adj = (int32_t) wire_get_u32(r);
        out->hostname = wire_get_text(r);
        out->sysctls = wire_get_texts(r);
}

void pod_users_get(struct wire_reader *r, struct pod_start *out)
{
        out->users_base = wire_has_more(r) ? wire_get_u32(r) : 0;
        if (out->flags & POD_USERNS && out->users_base == 0)
                r->bad = true;
}

void snapshot_put(struct wire_writer *w, const struct protocol_snapshot *snapshot)
{
        wire_put_u32(w, snapshot->version);
        wire_put_u32(w, snapshot->flags);
        wire_put_u32(w, snapshot->infra_alive);
        wire_put_u32(w, snapshot->has_netns);
        wire_put_text(w, snapshot->notice);
        wire_put_u32(w, (uint32_t) snapshot->n_running);
        for (size_t i = 0; i < snapshot->n_running; i++) {
                size_t at = struct_begin(w, snapshot->version);
                wire_put_text(w, snapshot->running[i].id);
                wire_put_u64(w, (uint64_t) snapshot->running[i].started_wall_ns);
                struct_end(w, at);
        }
}

void snapshot_get(struct wire_reader *r, struct protocol_snapshot *out)
{
        *out = (struct protocol_snapshot){ .version = wire_get_u32(r), .flags = wire_get_u32(r) };
        out->infra_alive = wire_get_u32(r) != 0;
        out->has_netns = wire_get_u32(r) != 0;
        out->notice = wire_get_text(r);
        size_t n = wire_get_count(r, TEXT_LEAST + sizeof(uint64_t));
        out->running = calloc(n + 1, sizeof(*out->running));
        if (!out->running) {
                r->bad = true;
                return;
        }
        out->n_running = n;
        for (size_t i = 0; i < n; i++) {
                struct wire_reader inner, *s = struct_enter(r, out->version, &inner);
                const char *id = wire_get_text(s);
                if (strlen(id) > PROTOCOL_ID_MAX)
                        s->bad = true;
                (void) snprintf(out->running[i].id, sizeof(out->running[i].id), "%s", id);
                out->running[i].started_wall_ns = (int64_t) wire_get_u64(s);
                wire_struct_leave(r, s);
        }
}

/* --- a process --- */

/* What an older supervisor must not miss is refused; the default that nobody asked for it never had. */
static void labels_put(struct wire_writer *w, uint32_t version, const struct process_spec *p)
{
        if (version >= PROTOCOL_LABELS) {
                wire_put_text(w, p->apparmor);
                wire_put_text(w, p->selinux);
                return;
        }
        if (p->selinux && p->selinux_is_asked && !w->error)
                w->error =
                        error_new(ERROR_FAILED_PRECONDITION,
                                  "SELinux context \"%s\": the pod's supervisor is of an older build, which "
                                  "knows none: the pod has to be made anew",
                                  p->selinux);
        if (p->apparmor && p->apparmor_is_asked && !w->error)
                w->error =
                        error_new(ERROR_FAILED_PRECONDITION,
                                  "AppArmor profile \"%s\": the pod's supervisor is of an older build, which "
                                  "knows none: the pod has to be made anew",
                                  p->apparmor);
}

static void process_put(struct wire_writer *w, uint32_t version, const struct process_spec *p)
{
        size_t at = struct_begin(w, version);
        wire_put_texts(w, p->argv);
        wire_put_texts(w, p->env);
        wire_put_text(w, p->cwd);
        const uint32_t numbers[] = {
                p->uid, p->gid, p->umask, p->no_new_privs, p->set_oom_score_adj, (uint32_t) p->oom_score_adj
        };
        for (size_t i = 0; i < LENGTH(numbers); i++)
                wire_put_u32(w, numbers[i]);
        const struct capability_sets *c = &p->capabilities;
        const uint64_t sets[] = { c->bounding, c->effective, c->permitted, c->ambient };
        for (size_t i = 0; i < LENGTH(sets); i++)
                wire_put_u64(w, sets[i]);
        wire_put_u32(w, (uint32_t) p->n_groups);
        for (size_t i = 0; i < p->n_groups; i++)
                wire_put_u32(w, p->groups[i]);
        wire_put_u32(w, (uint32_t) p->n_rlimits);
        for (size_t i = 0; i < p->n_rlimits; i++) {
                wire_put_u32(w, (uint32_t) p->rlimits[i].resource);
                wire_put_u64(w, p->rlimits[i].soft);
                wire_put_u64(w, p->rlimits[i].hard);
        }
        labels_put(w, version, p);
        struct_end(w, at);
}

/* An array for n elements, never NULL while r is good. */
static void *array_of(struct wire_reader *r, size_t n, size_t size_bytes)
{
        void *array = r->bad ? NULL : calloc(n + 1, size_bytes);
        if (!array)
                r->bad = true;
        return array;
}

static char *get_text(struct wire_reader *r)
{
        return (char *) (uintptr_t) wire_get_text(r); /* borrowed: container_message_done frees no text */
}

static void process_numbers_get(struct wire_reader *r, struct process_spec *p)
{
        p->uid = wire_get_u32(r);
        p->gid = wire_get_u32(r);
        p->umask = wire_get_u32(r);
        p->no_new_privs = wire_get_u32(r) != 0;
        p->set_oom_score_adj = wire_get_u32(r) != 0;
        p->oom_score_adj = (int32_t) wire_get_u32(r);
        p->capabilities.bounding = wire_get_u64(r);
        p->capabilities.effective = wire_get_u64(r);
        p->capabilities.permitted = wire_get_u64(r);
        p->capabilities.ambient = wire_get_u64(r);
}

static void process_get(struct wire_reader *outer, uint32_t version, struct process_spec *p)
{
        struct wire_reader inner, *r = struct_enter(outer, version, &inner);
        p->argv = wire_get_texts(r);
        p->env = wire_get_texts(r);
        p->cwd = get_text(r);
        process_numbers_get(r, p);
        size_t n = wire_get_count(r, sizeof(uint32_t));
        p->groups = array_of(r, n, sizeof(*p->groups));
        for (size_t i = 0; !r->bad && i < n; i++)
                p->groups[p->n_groups++] = wire_get_u32(r);
        n = wire_get_count(r, RLIMIT_LEAST);
        p->rlimits = array_of(r, n, sizeof(*p->rlimits));
        for (size_t i = 0; !r->bad && i < n; i++) {
                p->rlimits[i].resource = (int) wire_get_u32(r);
                p->rlimits[i].soft = wire_get_u64(r);
                p->rlimits[i].hard = wire_get_u64(r);
                p->n_rlimits++;
        }
        p->apparmor = version < PROTOCOL_LABELS ? NULL : get_text(r);
        p->selinux = version < PROTOCOL_LABELS ? NULL : get_text(r);
        if (!r->bad &&
            (!p->argv[0] || p->cwd[0] != '/' || (p->apparmor && strlen(p->apparmor) > APPARMOR_NAME_MAX) ||
             (p->selinux && strlen(p->selinux) > SELINUX_CONTEXT_MAX)))
                r->bad = true;
        wire_struct_leave(outer, r);
}

static void process_done(struct process_spec *p)
{
        free(p->argv);
        free(p->env);
        free(p->groups);
        free(p->rlimits);
}

/* A program is a whole number of instructions, and the kernel takes at most 4096. */
static void seccomp_get(struct wire_reader *r, struct seccomp_program *out)
{
        enum { INSTRUCTION_BYTES = 8, INSTRUCTIONS_MAX = 4096 };
        out->bpf = wire_get_bytes(r, &out->len_bytes);
        if (out->len_bytes % INSTRUCTION_BYTES || out->len_bytes > INSTRUCTION_BYTES * INSTRUCTIONS_MAX)
                r->bad = true;
}

void exec_message_put(struct wire_writer *w, uint32_t version, const struct process_spec *process,
                      const struct seccomp_program *seccomp)
{
        process_put(w, version, process);
        wire_put_bytes(w, seccomp ? seccomp->bpf : NULL, seccomp ? seccomp->len_bytes : 0);
}

struct error *exec_message_get(const void *bytes, size_t len_bytes, uint32_t version,
                               struct exec_message *out)
{
        struct wire_reader r;
        *out = (struct exec_message){ 0 };
        wire_open(&r, bytes, len_bytes);
        process_get(&r, version, &out->process);
        seccomp_get(&r, &out->seccomp);
        struct error *e = message_close(&r, version, "exec request");
        if (e)
                exec_message_done(out);
        return e;
}

void exec_message_done(struct exec_message *m)
{
        process_done(&m->process);
        *m = (struct exec_message){ 0 };
}

/* --- a session --- */

enum { STREAM_IN = 1, STREAM_OUT = 2, STREAM_ERR = 4, STREAM_TTY = 8 };

void streams_put(struct wire_writer *w, const struct session_streams *streams)
{
        wire_put_u32(w, (streams->in ? STREAM_IN : 0U) | (streams->out ? STREAM_OUT : 0U) |
                                (streams->err ? STREAM_ERR : 0U) | (streams->tty ? STREAM_TTY : 0U));
        wire_put_u32(w, streams->rows);
        wire_put_u32(w, streams->columns);
}

void streams_get(struct wire_reader *r, struct session_streams *out)
{
        uint32_t flags = wire_get_u32(r), rows = wire_get_u32(r), columns = wire_get_u32(r);
        *out = (struct session_streams){ .in = flags & STREAM_IN,
                                         .out = flags & STREAM_OUT,
                                         .err = flags & STREAM_ERR,
                                         .tty = flags & STREAM_TTY,
                                         .rows = (uint16_t) rows,
                                         .columns = (uint16_t) columns };
        if (rows > UINT16_MAX || columns > UINT16_MAX || (out->tty && out->err))
                r->bad = true;
}

void exec_open_put(struct wire_writer *w, const struct exec_open *open)
{
        wire_put_text(w, open->id);
        wire_put_u64(w, open->spec_bytes);
        wire_put_u32(w, open->version);
        streams_put(w, &open->streams);
}

void exec_open_get(struct wire_reader *r, struct exec_open *out)
{
        out->id = wire_get_text(r);
        out->spec_bytes = wire_get_u64(r);
        out->version = wire_get_u32(r);
        streams_get(r, &out->streams);
}

/* --- a container --- */

static void mount_put(struct wire_writer *w, uint32_t version, const struct container_mount *m)
{
        size_t at = struct_begin(w, version);
        wire_put_u32(w, (uint32_t) m->kind);
        wire_put_text(w, m->target);
        wire_put_text(w, m->data);
        wire_put_u32(w, (uint32_t) m->readonly | (uint32_t) m->nosuid << 1 | (uint32_t) m->nodev << 2 |
                                (uint32_t) m->noexec << 3 | (uint32_t) m->propagation << 4);
        wire_put_u32(w, (uint32_t) m->source_fd);
        struct_end(w, at);
}

static void mount_get(struct wire_reader *outer, uint32_t version, size_t n_fds, struct container_mount *m)
{
        struct wire_reader inner, *r = struct_enter(outer, version, &inner);
        m->kind = (enum mount_kind) wire_get_u32(r);
        m->target = get_text(r);
        m->data = get_text(r);
        uint32_t flags = wire_get_u32(r), source = wire_get_u32(r);
        m->readonly = flags & 1, m->nosuid = flags & 2, m->nodev = flags & 4, m->noexec = flags & 8;
        m->propagation = (enum mount_propagation)(flags >> 4); /* of older builds 0, and nobody asks */
        if ((source != PROTOCOL_NO_FD && source >= n_fds) || flags >> 4 > MOUNT_SHARED)
                r->bad = true;
        if ((m->kind == MOUNT_BIND || (unsigned) m->kind == WIRE_MOUNT_TREE_BIND) && source == PROTOCOL_NO_FD)
                r->bad = true;
        m->source_fd = (int) source;
        wire_struct_leave(outer, r);
}

static void device_put(struct wire_writer *w, uint32_t version, const struct container_device *d)
{
        size_t at = struct_begin(w, version);
        wire_put_text(w, d->path);
        const uint32_t numbers[] = { (uint32_t) d->type, d->major, d->minor, d->mode, d->uid, d->gid };
        for (size_t i = 0; i < LENGTH(numbers); i++)
                wire_put_u32(w, numbers[i]);
        struct_end(w, at);
}

static void device_get(struct wire_reader *outer, uint32_t version, struct container_device *d)
{
        struct wire_reader inner, *r = struct_enter(outer, version, &inner);
        d->path = get_text(r);
        d->type = (char) wire_get_u32(r);
        d->major = wire_get_u32(r);
        d->minor = wire_get_u32(r);
        d->mode = wire_get_u32(r);
        d->uid = wire_get_u32(r);
        d->gid = wire_get_u32(r);
        wire_struct_leave(outer, r);
}

static void hook_put(struct wire_writer *w, uint32_t version, const struct container_hook *hook)
{
        size_t at = struct_begin(w, version);
        wire_put_text(w, hook->path);
        wire_put_texts(w, hook->argv);
        wire_put_texts(w, hook->env);
        wire_put_u64(w, (uint64_t) hook->timeout_s);
        struct_end(w, at);
}

/* Of the spec's hooks only those that the process itself runs: the others are skiffd's. */
static void hooks_put(struct wire_writer *w, uint32_t version, const struct container_message *m)
{
        const struct container_spec *s = &m->spec;
        uint32_t n = 0;
        for (size_t i = 0; i < s->n_hooks; i++)
                n += s->hooks[i].stage == HOOK_START_CONTAINER;
        wire_put_u32(w, m->hooks.of_host);
        wire_put_text(w, m->hooks.state_begin);
        wire_put_text(w, m->hooks.state_end);
        wire_put_u32(w, n);
        for (size_t i = 0; i < s->n_hooks; i++)
                if (s->hooks[i].stage == HOOK_START_CONTAINER)
                        hook_put(w, version, &s->hooks[i]);
}

static void hook_get(struct wire_reader *outer, uint32_t version, struct container_hook *hook)
{
        struct wire_reader inner, *r = struct_enter(outer, version, &inner);
        hook->stage = HOOK_START_CONTAINER;
        hook->path = get_text(r);
        hook->argv = wire_get_texts(r);
        hook->env = wire_get_texts(r);
        hook->timeout_s = (int64_t) wire_get_u64(r);
        if (!r->bad && (!hook->argv[0] || hook->timeout_s < 0))
                r->bad = true;
        wire_struct_leave(outer, r);
}

static void hooks_get(struct wire_reader *r, uint32_t version, struct container_message *m)
{
        struct container_spec *s = &m->spec;
        m->hooks = (struct hook_message){ false, "", "" };
        if (version < PROTOCOL_HOOKS)
                return;
        m->hooks.of_host = wire_get_u32(r) != 0;
        m->hooks.state_begin = wire_get_text(r);
        m->hooks.state_end = wire_get_text(r);
        size_t n = wire_get_count(r, HOOK_LEAST);
        s->hooks = array_of(r, n, sizeof(*s->hooks));
        while (!r->bad && s->n_hooks < n)
                hook_get(r, version, &s->hooks[s->n_hooks++]);
}

void container_message_put(struct wire_writer *w, uint32_t version, const struct container_message *m)
{
        const struct container_spec *s = &m->spec;
        wire_put_text(w, s->id);
        process_put(w, version, &s->process);
        wire_put_u32(w, (uint32_t) s->pid_mode);
        wire_put_text(w, s->pid_target);
        wire_put_u32(w, (uint32_t) s->private_cgroup_namespace | (uint32_t) s->readonly_rootfs << 1 |
                                (uint32_t) s->stdin_open << 2 | (uint32_t) m->entry_is_v2_directory << 3 |
                                (uint32_t) m->log_follows << 4 | (uint32_t) s->tty << 5 |
                                (uint32_t) s->stdin_once << 6);
        wire_put_u32(w, (uint32_t) s->n_mounts);
        for (size_t i = 0; i < s->n_mounts; i++)
                mount_put(w, version, &s->mounts[i]);
        wire_put_texts(w, s->masked_paths);
        wire_put_texts(w, s->readonly_paths);
        wire_put_u32(w, (uint32_t) s->n_devices);
        for (size_t i = 0; i < s->n_devices; i++)
                device_put(w, version, &s->devices[i]);
        const uint32_t fds[] = { m->rootfs, m->oom, m->oom_event, m->tree };
        for (size_t i = 0; i < LENGTH(fds); i++)
                wire_put_u32(w, fds[i]);
        wire_put_u32(w, (uint32_t) m->n_entries);
        for (size_t i = 0; i < m->n_entries; i++)
                wire_put_u32(w, m->entries[i]);
        wire_put_u64(w, m->log_line_max_bytes);
        wire_put_u64(w, (uint64_t) m->started_wall_ns);
        wire_put_bytes(w, m->seccomp.bpf, m->seccomp.len_bytes);
        if (version >= PROTOCOL_LENGTHS) /* older builds pass over it, and keep a log without a bound */
                wire_put_u64(w, m->log_max_bytes);
        if (version >= PROTOCOL_HOOKS)
                hooks_put(w, version, m);
        if (version < PROTOCOL_LABELS)
                return;
        wire_put_text(w, s->mount_context);
        wire_put_text(w, s->shm_context);
}

static uint32_t fd_get(struct wire_reader *r, size_t n_fds, bool needed)
{
        uint32_t index = wire_get_u32(r);
        if (index == PROTOCOL_NO_FD ? needed : index >= n_fds)
                r->bad = true;
        return index;
}

static void fds_get(struct wire_reader *r, size_t n_fds, struct container_message *m)
{
        m->rootfs = fd_get(r, n_fds, true);
        m->oom = fd_get(r, n_fds, false);
        m->oom_event = fd_get(r, n_fds, false);
        m->tree = fd_get(r, n_fds, false);
        size_t n = wire_get_count(r, sizeof(uint32_t));
        if (n > CGROUP_ENTRY_MAX)
                r->bad = true;
        for (size_t i = 0; !r->bad && i < n; i++)
                m->entries[m->n_entries++] = fd_get(r, n_fds, true);
        if (m->entry_is_v2_directory && m->n_entries != 1)
                r->bad = true;
}

static void lists_get(struct wire_reader *r, uint32_t version, size_t n_fds, struct container_spec *s)
{
        size_t n = wire_get_count(r, MOUNT_LEAST);
        s->mounts = array_of(r, n, sizeof(*s->mounts));
        for (; !r->bad && s->n_mounts < n; s->n_mounts++)
                mount_get(r, version, n_fds, &s->mounts[s->n_mounts]);
        s->masked_paths = wire_get_texts(r);
        s->readonly_paths = wire_get_texts(r);
        n = wire_get_count(r, DEVICE_LEAST);
        s->devices = array_of(r, n, sizeof(*s->devices));
        for (; !r->bad && s->n_devices < n; s->n_devices++)
                device_get(r, version, &s->devices[s->n_devices]);
}

struct error *container_message_get(const void *bytes, size_t len_bytes, uint32_t version, size_t n_fds,
                                    struct container_message *out)
{
        struct wire_reader r;
        struct container_spec *s = &out->spec;
        *out = (struct container_message){ 0 };
        wire_open(&r, bytes, len_bytes);
        s->id = get_text(&r);
        process_get(&r, version, &s->process);
        s->pid_mode = (enum pid_mode) wire_get_u32(&r);
        s->pid_target = get_text(&r);
        uint32_t flags = wire_get_u32(&r);
        s->private_cgroup_namespace = flags & 1, s->readonly_rootfs = flags & 2, s->stdin_open = flags & 4;
        out->entry_is_v2_directory = flags & 8;
        out->log_follows = flags & 16;
        s->tty = flags & 32, s->stdin_once = flags & 64;
        lists_get(&r, version, n_fds, s);
        fds_get(&r, n_fds, out);
        out->log_line_max_bytes = wire_get_u64(&r);
        out->started_wall_ns = (int64_t) wire_get_u64(&r);
        seccomp_get(&r, &out->seccomp);
        if (out->seccomp.len_bytes)
                s->seccomp = &out->seccomp;
        if (version >= PROTOCOL_LENGTHS && wire_has_more(&r))
                out->log_max_bytes = wire_get_u64(&r);
        hooks_get(&r, version, out);
        if (version >= PROTOCOL_LABELS) {
                s->mount_context = get_text(&r);
                s->shm_context = get_text(&r);
        }
        if (!*s->id || strlen(s->id) > PROTOCOL_ID_MAX || s->pid_mode > PID_MODE_TARGET ||
            out->log_line_max_bytes > PROTOCOL_SPEC_MAX)
                r.bad = true;
        struct error *e = message_close(&r, version, "container spec");
        if (e)
                container_message_done(out);
        return e;
}

void container_message_done(struct container_message *m)
{
        process_done(&m->spec.process);
        free(m->spec.mounts);
        free(m->spec.masked_paths);
        free(m->spec.readonly_paths);
        free(m->spec.devices);
        for (size_t i = 0; i < m->spec.n_hooks; i++) {
                free(m->spec.hooks[i].argv);
                free(m->spec.hooks[i].env);
        }
        free(m->spec.hooks);
        *m = (struct container_message){ 0 };
}
