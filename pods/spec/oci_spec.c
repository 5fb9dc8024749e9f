#include "pods/spec/oci_spec.h"
#include "base/json.h"
#include "pods/spec/pod_files.h"
#include "pods/spec/spec.h"
#include "runtime/capabilities.h"
#include "runtime/seccomp.h"
#include <linux/capability.h>
#include <string.h>

#define OCI_VERSION "1.1.0"

/* Writes members and elements with their commas; after a failure, which is kept, it does nothing. */
struct writer {
        struct buf *out;
        struct error *error;
        bool comma; /* before the next one */
};

static void put(struct writer *w, const char *text)
{
        if (!w->error)
                w->error = buf_append_text(w->out, text);
}

static void begin(struct writer *w, const char *key, const char *bracket)
{
        if (w->comma)
                put(w, ",");
        if (key && !w->error)
                w->error = json_put_text(w->out, key);
        if (key)
                put(w, ":");
        put(w, bracket);
        w->comma = false;
}

static void end(struct writer *w, const char *bracket)
{
        put(w, bracket);
        w->comma = true;
}

static void put_text(struct writer *w, const char *key, const char *text)
{
        begin(w, key, "");
        if (!w->error)
                w->error = json_put_text(w->out, text);
        w->comma = true;
}

static void put_number(struct writer *w, const char *key, int64_t number)
{
        begin(w, key, "");
        if (!w->error)
                w->error = buf_append_format(w->out, "%lld", (long long) number);
        w->comma = true;
}

static void put_bool(struct writer *w, const char *key, bool value)
{
        begin(w, key, value ? "true" : "false");
        w->comma = true;
}

static void put_list(struct writer *w, const char *key, char *const *texts)
{
        begin(w, key, "[");
        for (size_t i = 0; texts && texts[i]; i++)
                put_text(w, NULL, texts[i]);
        end(w, "]");
}

/* --- process --- */

static void put_set(struct writer *w, const char *key, uint64_t set)
{
        begin(w, key, "[");
        for (int i = 0; i <= CAP_LAST_CAP; i++)
                if (set >> i & 1 && capability_name(i))
                        put_text(w, NULL, capability_name(i));
        end(w, "]");
}

static void put_user(struct writer *w, const struct process_spec *p)
{
        begin(w, "user", "{");
        put_number(w, "uid", p->uid);
        put_number(w, "gid", p->gid);
        put_number(w, "umask", p->umask);
        begin(w, "additionalGids", "[");
        for (size_t i = 0; i < p->n_groups; i++)
                put_number(w, NULL, p->groups[i]);
        end(w, "]");
        end(w, "}");
}

static void put_process(struct writer *w, const struct container_spec *spec)
{
        const struct process_spec *p = &spec->process;
        begin(w, "process", "{");
        put_bool(w, "terminal", false);
        put_user(w, p);
        put_list(w, "args", p->argv);
        put_list(w, "env", p->env);
        put_text(w, "cwd", p->cwd);
        begin(w, "capabilities", "{");
        put_set(w, "bounding", p->capabilities.bounding);
        put_set(w, "effective", p->capabilities.effective);
        put_set(w, "permitted", p->capabilities.permitted);
        put_set(w, "inheritable", p->capabilities.ambient); /* what is ambient must be, and nothing else is */
        put_set(w, "ambient", p->capabilities.ambient);
        end(w, "}");
        put_bool(w, "noNewPrivileges", p->no_new_privs);
        if (p->apparmor)
                put_text(w, "apparmorProfile", p->apparmor);
        if (p->selinux)
                put_text(w, "selinuxLabel", p->selinux);
        if (p->set_oom_score_adj)
                put_number(w, "oomScoreAdj", p->oom_score_adj);
        end(w, "}");
}

/* --- mounts --- */

static void put_source(struct writer *w, const struct container_mount *m)
{
        static const struct {
                const char *type, *source;
        } kinds[] = {
                [MOUNT_BIND] = { "bind", NULL },         [MOUNT_PROC] = { "proc", "proc" },
                [MOUNT_SYSFS] = { "sysfs", "sysfs" },    [MOUNT_TMPFS] = { "tmpfs", "tmpfs" },
                [MOUNT_DEVPTS] = { "devpts", "devpts" }, [MOUNT_MQUEUE] = { "mqueue", "mqueue" },
                [MOUNT_SHM] = { "bind", "shm" },         [MOUNT_CGROUP] = { "cgroup", "cgroup" },
        };
        put_text(w, "type", kinds[m->kind].type);
        put_text(w, "source",
                 kinds[m->kind].source ? kinds[m->kind].source
                 : m->host_path        ? m->host_path
                                       : m->image_id);
}

static void put_data(struct writer *w, const char *data)
{
        _cleanup_(freep) char *copy = dup_string(data);
        char *rest = copy;
        for (char *option; rest && (option = strsep(&rest, ","));)
                put_text(w, NULL, option);
}

static void put_options(struct writer *w, const struct container_mount *m)
{
        static const char *const propagations[] = {
                [MOUNT_PRIVATE] = "rprivate", [MOUNT_SLAVE] = "rslave", [MOUNT_SHARED] = "rshared"
        };
        begin(w, "options", "[");
        if (m->kind == MOUNT_BIND) {
                put_text(w, NULL, "rbind");
                put_text(w, NULL, propagations[m->propagation]);
        }
        if (m->nosuid)
                put_text(w, NULL, "nosuid");
        if (m->noexec)
                put_text(w, NULL, "noexec");
        if (m->nodev)
                put_text(w, NULL, "nodev");
        put_text(w, NULL, m->recursive_readonly ? "rro" : m->readonly ? "ro" : "rw");
        if (m->kind == MOUNT_TMPFS)
                put_data(w, m->data);
        if (m->kind == MOUNT_DEVPTS)
                put_data(w, "newinstance,ptmxmode=0666,mode=0620,gid=5");
        end(w, "]");
}

static void put_mounts(struct writer *w, const struct container_spec *spec)
{
        begin(w, "mounts", "[");
        for (size_t i = 0; i < spec->n_mounts; i++) {
                begin(w, NULL, "{");
                put_text(w, "destination", spec->mounts[i].target);
                put_source(w, &spec->mounts[i]);
                put_options(w, &spec->mounts[i]);
                end(w, "}");
        }
        end(w, "]");
}

/* --- linux --- */

static void put_namespace(struct writer *w, const char *type, pid_t pid, const char *file)
{
        _cleanup_(freep) char *path = pid > 0 ? format_string("/proc/%d/ns/%s", pid, file) : NULL;
        begin(w, NULL, "{");
        put_text(w, "type", type);
        if (path)
                put_text(w, "path", path);
        end(w, "}");
}

/* The host's are left out, as the specification has it. Without a path it is the container's own. */
static void put_namespaces(struct writer *w, const struct container *c)
{
        const struct sandbox *pod = c->pod;
        bool runs = pod->runtime && pod->state == POD_READY;
        pid_t supervisor = runs ? runtime_pod_supervisor_pid(pod->runtime) : 0;
        begin(w, "namespaces", "[");
        put_namespace(w, "mount", 0, "mnt");
        if (c->spec->pid_mode != PID_MODE_NODE)
                put_namespace(w, "pid",
                              runs && c->spec->pid_mode == PID_MODE_POD ? runtime_pod_keeper_pid(pod->runtime)
                                                                        : 0,
                              "pid");
        if (!pod->host_ipc)
                put_namespace(w, "ipc", supervisor, "ipc");
        if (!pod->host_network) {
                put_namespace(w, "uts", supervisor, "uts");
                put_namespace(w, "network", supervisor, "net");
        }
        if (c->spec->private_cgroup_namespace)
                put_namespace(w, "cgroup", 0, "cgroup");
        end(w, "]");
}

static void put_device_rule(struct writer *w, const struct device_rule *rule)
{
        char type[] = { rule->type, '\0' }, access[4] = "";
        (void) snprintf(access, sizeof(access), "%s%s%s", rule->read ? "r" : "", rule->write ? "w" : "",
                        rule->mknod ? "m" : "");
        begin(w, NULL, "{");
        put_bool(w, "allow", rule->allow);
        put_text(w, "type", type);
        if (rule->major >= 0)
                put_number(w, "major", rule->major);
        if (rule->minor >= 0)
                put_number(w, "minor", rule->minor);
        put_text(w, "access", access);
        end(w, "}");
}

static void put_device_rules(struct writer *w, const struct container_spec *spec)
{
        const struct device_rule all = { .allow = spec->all_devices,
                                         .type = 'a',
                                         .major = -1,
                                         .minor = -1,
                                         .read = true,
                                         .write = true,
                                         .mknod = true };
        begin(w, "devices", "[");
        put_device_rule(w, &all);
        for (size_t i = 0; !spec->all_devices && i < spec->n_device_rules; i++)
                put_device_rule(w, &spec->device_rules[i]);
        end(w, "]");
}

static void put_if(struct writer *w, const char *key, int64_t number)
{
        if (number)
                put_number(w, key, number);
}

static void put_resources(struct writer *w, const struct container *c)
{
        _cleanup_(spec_limits_done) struct cgroup_limits l = { 0 };
        error_ignore(spec_limits(spec_resources_of(c), &l)); /* checked when they were asked for */
        begin(w, "resources", "{");
        put_device_rules(w, c->spec);
        begin(w, "memory", "{");
        put_if(w, "limit", l.memory_limit_bytes);
        put_if(w, "swap", l.memory_swap_limit_bytes);
        end(w, "}");
        begin(w, "cpu", "{");
        put_if(w, "shares", l.cpu_shares);
        put_if(w, "quota", l.cpu_quota_us);
        put_if(w, "period", l.cpu_period_us);
        if (l.cpuset_cpus && *l.cpuset_cpus)
                put_text(w, "cpus", l.cpuset_cpus);
        if (l.cpuset_mems && *l.cpuset_mems)
                put_text(w, "mems", l.cpuset_mems);
        end(w, "}");
        begin(w, "hugepageLimits", "[");
        for (size_t i = 0; i < l.n_hugepages; i++) {
                begin(w, NULL, "{");
                put_text(w, "pageSize", l.hugepages[i].page_size);
                put_number(w, "limit", (int64_t) l.hugepages[i].limit_bytes);
                end(w, "}");
        }
        end(w, "]");
        begin(w, "unified", "{");
        for (size_t i = 0; i < l.n_unified; i++)
                put_text(w, l.unified[i].key, l.unified[i].value);
        end(w, "}");
        end(w, "}");
}

static void put_devices(struct writer *w, const struct container_spec *spec)
{
        begin(w, "devices", "[");
        for (size_t i = 0; i < spec->n_devices; i++) {
                const struct container_device *d = &spec->devices[i];
                char type[] = { d->type, '\0' };
                begin(w, NULL, "{");
                put_text(w, "path", d->path);
                put_text(w, "type", type);
                put_number(w, "major", d->major);
                put_number(w, "minor", d->minor);
                put_number(w, "fileMode", d->mode);
                put_number(w, "uid", d->uid);
                put_number(w, "gid", d->gid);
                end(w, "}");
        }
        end(w, "]");
}

static void put_linux(struct writer *w, const struct container *c)
{
        begin(w, "linux", "{");
        put_resources(w, c);
        put_text(w, "cgroupsPath", c->cgroup_path);
        put_namespaces(w, c);
        put_devices(w, c->spec);
        if (c->spec->seccomp) {
                begin(w, "seccomp", "");
                if (!w->error)
                        w->error = seccomp_put(c->spec->seccomp, w->out);
                w->comma = true;
        }
        if (c->spec->mount_context)
                put_text(w, "mountLabel", c->spec->mount_context);
        put_list(w, "maskedPaths", c->spec->masked_paths);
        put_list(w, "readonlyPaths", c->spec->readonly_paths);
        end(w, "}");
}

static void put_hook(struct writer *w, const struct container_hook *hook)
{
        begin(w, NULL, "{");
        put_text(w, "path", hook->path);
        put_list(w, "args", hook->argv);
        put_list(w, "env", hook->env);
        if (hook->timeout_s)
                put_number(w, "timeout", hook->timeout_s);
        end(w, "}");
}

static void put_hooks(struct writer *w, const struct container_spec *spec)
{
        begin(w, "hooks", "{");
        for (int stage = 0; stage < HOOK_STAGES; stage++) {
                bool is_begun = false;
                for (size_t i = 0; i < spec->n_hooks; i++) {
                        if ((int) spec->hooks[i].stage != stage)
                                continue;
                        if (!is_begun)
                                begin(w, hook_stage_name((enum hook_stage) stage), "[");
                        is_begun = true;
                        put_hook(w, &spec->hooks[i]);
                }
                if (is_begun)
                        end(w, "]");
        }
        end(w, "}");
}

static void put_annotations(struct writer *w, const Cri__ContainerConfig *config)
{
        begin(w, "annotations", "{");
        for (size_t i = 0; i < config->n_annotations; i++)
                put_text(w, config->annotations[i]->key, config->annotations[i]->value);
        end(w, "}");
}

struct error *oci_spec_put(const struct container *c, struct buf *out)
{
        struct writer w = { .out = out };
        begin(&w, NULL, "{");
        put_text(&w, "ociVersion", OCI_VERSION);
        put_process(&w, c->spec);
        begin(&w, "root", "{");
        put_text(&w, "path", "rootfs"); /* detached: it has no path on the host */
        put_bool(&w, "readonly", c->spec->readonly_rootfs);
        end(&w, "}");
        if (!c->pod->host_network) {
                char hostname[HOSTNAME_SIZE];
                pod_hostname(c->pod, hostname);
                put_text(&w, "hostname", hostname);
        }
        put_mounts(&w, c->spec);
        if (c->spec->n_hooks)
                put_hooks(&w, c->spec);
        put_annotations(&w, c->config);
        put_linux(&w, c);
        end(&w, "}");
        return w.error;
}
