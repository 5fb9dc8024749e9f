#include "pods/spec/oci_spec.h"
#include "base/json.h"
#include "base/json_writer.h"
#include "pods/spec/pod_files.h"
#include "pods/spec/spec.h"
#include "runtime/capabilities.h"
#include "runtime/seccomp.h"
#include <linux/capability.h>
#include <string.h>

#define OCI_VERSION "1.1.0"

/* --- process --- */

static void put_set(struct json_writer *w, const char *key, uint64_t set)
{
        json_write_begin(w, key, "[");
        for (int i = 0; i <= CAP_LAST_CAP; i++)
                if (set >> i & 1 && capability_name(i))
                        json_write_text(w, NULL, capability_name(i));
        json_write_end(w, "]");
}

static void put_user(struct json_writer *w, const struct process_spec *p)
{
        json_write_begin(w, "user", "{");
        json_write_number(w, "uid", p->uid);
        json_write_number(w, "gid", p->gid);
        json_write_number(w, "umask", p->umask);
        json_write_begin(w, "additionalGids", "[");
        for (size_t i = 0; i < p->n_groups; i++)
                json_write_number(w, NULL, p->groups[i]);
        json_write_end(w, "]");
        json_write_end(w, "}");
}

static void put_process(struct json_writer *w, const struct container_spec *spec)
{
        const struct process_spec *p = &spec->process;
        json_write_begin(w, "process", "{");
        json_write_bool(w, "terminal", false);
        put_user(w, p);
        json_write_texts(w, "args", p->argv);
        json_write_texts(w, "env", p->env);
        json_write_text(w, "cwd", p->cwd);
        json_write_begin(w, "capabilities", "{");
        put_set(w, "bounding", p->capabilities.bounding);
        put_set(w, "effective", p->capabilities.effective);
        put_set(w, "permitted", p->capabilities.permitted);
        put_set(w, "inheritable", p->capabilities.ambient); /* what is ambient must be, and nothing else is */
        put_set(w, "ambient", p->capabilities.ambient);
        json_write_end(w, "}");
        json_write_bool(w, "noNewPrivileges", p->no_new_privs);
        if (p->apparmor)
                json_write_text(w, "apparmorProfile", p->apparmor);
        if (p->selinux)
                json_write_text(w, "selinuxLabel", p->selinux);
        if (p->set_oom_score_adj)
                json_write_number(w, "oomScoreAdj", p->oom_score_adj);
        json_write_end(w, "}");
}

/* --- mounts --- */

static void put_source(struct json_writer *w, const struct container_mount *m)
{
        static const struct {
                const char *type, *source;
        } kinds[] = {
                [MOUNT_BIND] = { "bind", NULL },         [MOUNT_PROC] = { "proc", "proc" },
                [MOUNT_SYSFS] = { "sysfs", "sysfs" },    [MOUNT_TMPFS] = { "tmpfs", "tmpfs" },
                [MOUNT_DEVPTS] = { "devpts", "devpts" }, [MOUNT_MQUEUE] = { "mqueue", "mqueue" },
                [MOUNT_SHM] = { "bind", "shm" },         [MOUNT_CGROUP] = { "cgroup", "cgroup" },
        };
        json_write_text(w, "type", kinds[m->kind].type);
        json_write_text(w, "source",
                        kinds[m->kind].source ? kinds[m->kind].source
                        : m->host_path        ? m->host_path
                                              : m->image_id);
}

static void put_data(struct json_writer *w, const char *data)
{
        _cleanup_(freep) char *copy = dup_string(data);
        char *rest = copy;
        for (char *option; rest && (option = strsep(&rest, ","));)
                json_write_text(w, NULL, option);
}

static void put_options(struct json_writer *w, const struct container_mount *m)
{
        static const char *const propagations[] = {
                [MOUNT_PRIVATE] = "rprivate", [MOUNT_SLAVE] = "rslave", [MOUNT_SHARED] = "rshared"
        };
        json_write_begin(w, "options", "[");
        if (m->kind == MOUNT_BIND) {
                json_write_text(w, NULL, "rbind");
                json_write_text(w, NULL, propagations[m->propagation]);
        }
        if (m->nosuid)
                json_write_text(w, NULL, "nosuid");
        if (m->noexec)
                json_write_text(w, NULL, "noexec");
        if (m->nodev)
                json_write_text(w, NULL, "nodev");
        json_write_text(w, NULL, m->recursive_readonly ? "rro" : m->readonly ? "ro" : "rw");
        if (m->kind == MOUNT_TMPFS)
                put_data(w, m->data);
        if (m->kind == MOUNT_DEVPTS)
                put_data(w, "newinstance,ptmxmode=0666,mode=0620,gid=5");
        json_write_end(w, "]");
}

static void put_mounts(struct json_writer *w, const struct container_spec *spec)
{
        json_write_begin(w, "mounts", "[");
        for (size_t i = 0; i < spec->n_mounts; i++) {
                json_write_begin(w, NULL, "{");
                json_write_text(w, "destination", spec->mounts[i].target);
                put_source(w, &spec->mounts[i]);
                put_options(w, &spec->mounts[i]);
                json_write_end(w, "}");
        }
        json_write_end(w, "]");
}

/* --- linux --- */

static void put_namespace(struct json_writer *w, const char *type, pid_t pid, const char *file)
{
        _cleanup_(freep) char *path = pid > 0 ? format_string("/proc/%d/ns/%s", pid, file) : NULL;
        json_write_begin(w, NULL, "{");
        json_write_text(w, "type", type);
        if (path)
                json_write_text(w, "path", path);
        json_write_end(w, "}");
}

/* The host's are left out, as the specification has it. Without a path it is the container's own. */
static void put_namespaces(struct json_writer *w, const struct container *c)
{
        const struct sandbox *pod = c->pod;
        bool runs = pod->runtime && pod->state == POD_READY;
        pid_t supervisor = runs ? runtime_pod_supervisor_pid(pod->runtime) : 0;
        json_write_begin(w, "namespaces", "[");
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
        json_write_end(w, "]");
}

static void put_device_rule(struct json_writer *w, const struct device_rule *rule)
{
        char type[] = { rule->type, '\0' }, access[4] = "";
        (void) snprintf(access, sizeof(access), "%s%s%s", rule->read ? "r" : "", rule->write ? "w" : "",
                        rule->mknod ? "m" : "");
        json_write_begin(w, NULL, "{");
        json_write_bool(w, "allow", rule->allow);
        json_write_text(w, "type", type);
        if (rule->major >= 0)
                json_write_number(w, "major", rule->major);
        if (rule->minor >= 0)
                json_write_number(w, "minor", rule->minor);
        json_write_text(w, "access", access);
        json_write_end(w, "}");
}

static void put_device_rules(struct json_writer *w, const struct container_spec *spec)
{
        const struct device_rule all = { .allow = spec->all_devices,
                                         .type = 'a',
                                         .major = -1,
                                         .minor = -1,
                                         .read = true,
                                         .write = true,
                                         .mknod = true };
        json_write_begin(w, "devices", "[");
        put_device_rule(w, &all);
        for (size_t i = 0; !spec->all_devices && i < spec->n_device_rules; i++)
                put_device_rule(w, &spec->device_rules[i]);
        json_write_end(w, "]");
}

static void put_if(struct json_writer *w, const char *key, int64_t number)
{
        if (number)
                json_write_number(w, key, number);
}

static void put_resources(struct json_writer *w, const struct container *c)
{
        _cleanup_(spec_limits_done) struct cgroup_limits l = { 0 };
        error_ignore(spec_limits(spec_resources_of(c), &l)); /* checked when they were asked for */
        json_write_begin(w, "resources", "{");
        put_device_rules(w, c->spec);
        json_write_begin(w, "memory", "{");
        put_if(w, "limit", l.memory_limit_bytes);
        put_if(w, "swap", l.memory_swap_limit_bytes);
        json_write_end(w, "}");
        json_write_begin(w, "cpu", "{");
        put_if(w, "shares", l.cpu_shares);
        put_if(w, "quota", l.cpu_quota_us);
        put_if(w, "period", l.cpu_period_us);
        if (l.cpuset_cpus && *l.cpuset_cpus)
                json_write_text(w, "cpus", l.cpuset_cpus);
        if (l.cpuset_mems && *l.cpuset_mems)
                json_write_text(w, "mems", l.cpuset_mems);
        json_write_end(w, "}");
        json_write_begin(w, "hugepageLimits", "[");
        for (size_t i = 0; i < l.n_hugepages; i++) {
                json_write_begin(w, NULL, "{");
                json_write_text(w, "pageSize", l.hugepages[i].page_size);
                json_write_number(w, "limit", (int64_t) l.hugepages[i].limit_bytes);
                json_write_end(w, "}");
        }
        json_write_end(w, "]");
        json_write_begin(w, "unified", "{");
        for (size_t i = 0; i < l.n_unified; i++)
                json_write_text(w, l.unified[i].key, l.unified[i].value);
        json_write_end(w, "}");
        json_write_end(w, "}");
}

static void put_devices(struct json_writer *w, const struct container_spec *spec)
{
        json_write_begin(w, "devices", "[");
        for (size_t i = 0; i < spec->n_devices; i++) {
                const struct container_device *d = &spec->devices[i];
                char type[] = { d->type, '\0' };
                json_write_begin(w, NULL, "{");
                json_write_text(w, "path", d->path);
                json_write_text(w, "type", type);
                json_write_number(w, "major", d->major);
                json_write_number(w, "minor", d->minor);
                json_write_number(w, "fileMode", d->mode);
                json_write_number(w, "uid", d->uid);
                json_write_number(w, "gid", d->gid);
                json_write_end(w, "}");
        }
        json_write_end(w, "]");
}

static void put_linux(struct json_writer *w, const struct container *c)
{
        json_write_begin(w, "linux", "{");
        put_resources(w, c);
        json_write_text(w, "cgroupsPath", c->cgroup_path);
        put_namespaces(w, c);
        put_devices(w, c->spec);
        if (c->spec->seccomp) {
                json_write_begin(w, "seccomp", "");
                if (!w->error)
                        w->error = seccomp_put(c->spec->seccomp, w->out);
                w->comma = true;
        }
        if (c->spec->mount_context)
                json_write_text(w, "mountLabel", c->spec->mount_context);
        json_write_texts(w, "maskedPaths", c->spec->masked_paths);
        json_write_texts(w, "readonlyPaths", c->spec->readonly_paths);
        json_write_end(w, "}");
}

static void put_hook(struct json_writer *w, const struct container_hook *hook)
{
        json_write_begin(w, NULL, "{");
        json_write_text(w, "path", hook->path);
        json_write_texts(w, "args", hook->argv);
        json_write_texts(w, "env", hook->env);
        if (hook->timeout_s)
                json_write_number(w, "timeout", hook->timeout_s);
        json_write_end(w, "}");
}

static void put_hooks(struct json_writer *w, const struct container_spec *spec)
{
        json_write_begin(w, "hooks", "{");
        for (int stage = 0; stage < HOOK_STAGES; stage++) {
                bool is_begun = false;
                for (size_t i = 0; i < spec->n_hooks; i++) {
                        if ((int) spec->hooks[i].stage != stage)
                                continue;
                        if (!is_begun)
                                json_write_begin(w, hook_stage_name((enum hook_stage) stage), "[");
                        is_begun = true;
                        put_hook(w, &spec->hooks[i]);
                }
                if (is_begun)
                        json_write_end(w, "]");
        }
        json_write_end(w, "}");
}

static void put_annotations(struct json_writer *w, const Cri__ContainerConfig *config)
{
        json_write_begin(w, "annotations", "{");
        for (size_t i = 0; i < config->n_annotations; i++)
                json_write_text(w, config->annotations[i]->key, config->annotations[i]->value);
        json_write_end(w, "}");
}

struct error *oci_spec_put(const struct container *c, struct buf *out)
{
        struct json_writer w = { .out = out };
        json_write_begin(&w, NULL, "{");
        json_write_text(&w, "ociVersion", OCI_VERSION);
        put_process(&w, c->spec);
        json_write_begin(&w, "root", "{");
        json_write_text(&w, "path", "rootfs"); /* detached: it has no path on the host */
        json_write_bool(&w, "readonly", c->spec->readonly_rootfs);
        json_write_end(&w, "}");
        if (!c->pod->host_network) {
                char hostname[HOSTNAME_SIZE];
                pod_hostname(c->pod, hostname);
                json_write_text(&w, "hostname", hostname);
        }
        put_mounts(&w, c->spec);
        if (c->spec->n_hooks)
                put_hooks(&w, c->spec);
        put_annotations(&w, c->config);
        put_linux(&w, c);
        json_write_end(&w, "}");
        return w.error;
}
