#include "pods/spec/spec.h"
#include "base/log.h"
#include "pods/message.h"
#include "pods/spec/selinux.h"
#include "pods/spec/userns.h"
#include <linux/magic.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Clients still send the fields that CRI deprecates: they are read here. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

const Cri__LinuxContainerSecurityContext *spec_security_of(const Cri__ContainerConfig *config)
{
        static const Cri__LinuxContainerSecurityContext none = CRI__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        return config->linux && config->linux->security_context ? config->linux->security_context : &none;
}

struct error *spec_check_pod(const struct node *node, const Cri__PodSandboxConfig *config)
{
        const Cri__LinuxSandboxSecurityContext *s = config->linux ? config->linux->security_context : NULL;
        if (!s)
                return NULL;
        TRY(spec_check_pod_apparmor(node, s));
        TRY(selinux_check_pod(node, s));
        if (s->namespace_options && s->namespace_options->pid == CRI__NAMESPACE_MODE__TARGET)
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "config.linux.security_context.namespace_options.pid: TARGET is for containers");
        return NULL;
}

/* A pod that is not privileged was let through as such, by who decides over that. */
static struct error *check_privileged(const struct spec_source *s)
{
        const Cri__LinuxPodSandboxConfig *pod = s->container->pod->config->linux;
        if (!s->security->privileged || (pod && pod->security_context && pod->security_context->privileged))
                return NULL;
        return error_new(ERROR_INVALID_ARGUMENT,
                         "config.linux.security_context.privileged: the pod is not privileged");
}

static struct error *check_container(const struct spec_source *s)
{
        if (s->container->state == CONTAINER_MAKING) /* not of one that was made before this was asked */
                TRY(check_privileged(s));
        if (s->container->state == CONTAINER_MAKING)
                TRY(spec_check_classes(s));
        TRY(userns_check_container(s->security->namespace_options, &s->container->pod->userns));
        return NULL;
}

static struct error *add_pid_mode(struct spec_source *s)
{
        static const enum pid_mode modes[] = { [CRI__NAMESPACE_MODE__POD] = PID_MODE_POD,
                                               [CRI__NAMESPACE_MODE__CONTAINER] = PID_MODE_CONTAINER,
                                               [CRI__NAMESPACE_MODE__NODE] = PID_MODE_NODE,
                                               [CRI__NAMESPACE_MODE__TARGET] = PID_MODE_TARGET };
        const struct sandbox *pod = s->container->pod;
        const Cri__NamespaceOption *options = s->security->namespace_options;
        unsigned asked = options ? (unsigned) options->pid : (unsigned) CRI__NAMESPACE_MODE__POD;
        if (asked >= LENGTH(modes))
                return error_new(ERROR_INVALID_ARGUMENT, "namespace_options.pid: %u is no namespace mode",
                                 asked);
        s->spec->pid_mode = modes[asked];
        if (asked == CRI__NAMESPACE_MODE__TARGET) {
                s->spec->pid_target = dup_string(options->target_id);
                return *options->target_id
                               ? NULL
                               : error_new(ERROR_INVALID_ARGUMENT,
                                           "namespace_options.target_id is missing for pid mode TARGET");
        }
        /* A pod that was made with CONTAINER has no pid namespace to lend: the container gets its own. With the host's it
         * can only be the host's. */
        if (pod->host_pid && asked != CRI__NAMESPACE_MODE__CONTAINER)
                s->spec->pid_mode = PID_MODE_NODE;
        else if (asked == CRI__NAMESPACE_MODE__NODE)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "namespace_options.pid: NODE needs a pod that was made with NODE");
        else if (asked == CRI__NAMESPACE_MODE__POD && !pod->share_pid)
                s->spec->pid_mode = PID_MODE_CONTAINER;
        return NULL;
}

/* Names as images and people write them: "SIGTERM", "term", "15", "SIGRTMIN+3". 0 when it is none. */
static int signal_of(const char *text)
{
        char *end = NULL;
        long number = strtol(text, &end, 10);
        if (*text && !*end)
                return number > 0 && number < NSIG ? (int) number : 0;
        if (strncasecmp(text, "SIG", 3) == 0)
                text += 3;
        if (strncasecmp(text, "RTMIN+", 6) == 0 || strncasecmp(text, "RTMAX-", 6) == 0) {
                long offset = strtol(text + 6, &end, 10);
                if (*end || offset < 0 || offset > 30)
                        return 0;
                return (text[3] | 0x20) == 'i' ? 34 + (int) offset : 64 - (int) offset;
        }
        static const struct {
                const char *name;
                int number;
        } others[] = { { "IO", SIGIO },
                       { "POLL", SIGPOLL },
                       { "CLD", SIGCHLD },
                       { "IOT", SIGIOT },
                       { "UNUSED", SIGSYS } };
        for (size_t i = 0; i < LENGTH(others); i++)
                if (strcasecmp(text, others[i].name) == 0)
                        return others[i].number;
        for (int i = 1; i < 32; i++)
                if (sigabbrev_np(i) && strcasecmp(text, sigabbrev_np(i)) == 0)
                        return i;
        return strcasecmp(text, "RTMIN") == 0 ? 34 : strcasecmp(text, "RTMAX") == 0 ? 64 : 0;
}

/* CRI's enum has the kernel's names but numbers of its own. */
static int signal_of_enum(Cri__Signal value)
{
        const ProtobufCEnumValue *v =
                protobuf_c_enum_descriptor_get_value(&cri__signal__descriptor, (int) value);
        if (!v)
                return 0;
        _cleanup_(freep) char *name = dup_string(v->name);
        const char *text = strncmp(name, "SIGNAL_", 7) == 0 ? name + 7 : name;
        char plus[32];
        /* SIGRTMINPLUS3 and SIGRTMAXMINUS3 are RTMIN+3 and RTMAX-3. */
        const char *digits = strpbrk(text, "0123456789");
        if (strncmp(text, "SIGRTMINPLUS", 12) == 0 && digits)
                (void) snprintf(plus, sizeof(plus), "RTMIN+%s", digits);
        else if (strncmp(text, "SIGRTMAXMINUS", 13) == 0 && digits)
                (void) snprintf(plus, sizeof(plus), "RTMAX-%s", digits);
        else
                (void) snprintf(plus, sizeof(plus), "%s", text);
        return signal_of(plus);
}

static struct error *add_stop_signal(struct spec_source *s)
{
        const char *of_image = s->image->stop_signal;
        int number = SIGTERM;
        if (s->config->stop_signal) {
                number = signal_of_enum(s->config->stop_signal);
                if (!number)
                        return error_new(ERROR_INVALID_ARGUMENT, "config.stop_signal: %d is no signal",
                                         (int) s->config->stop_signal);
        } else if (of_image && *of_image) {
                number = signal_of(of_image);
                if (!number) {
                        log_event(LOG_LEVEL_WARN, "the image's stop signal is none; SIGTERM is sent",
                                  "container", s->container->id, "signal", of_image, NULL);
                        number = SIGTERM;
                }
        }
        s->spec->stop_signal = number;
        return NULL;
}

/* What will be sent, as CRI names it; the first of two names of one number. */
static void remember_stop_signal(const struct spec_source *s)
{
        const ProtobufCEnumDescriptor *names = &cri__signal__descriptor;
        Cri__Signal found = s->config->stop_signal;
        for (unsigned i = 0; i < names->n_values && !found; i++)
                if (signal_of_enum((Cri__Signal) names->values[i].value) == s->spec->stop_signal)
                        found = (Cri__Signal) names->values[i].value;
        (void) pthread_mutex_lock(&s->node->lock);
        s->container->stop_signal = found;
        (void) pthread_mutex_unlock(&s->node->lock);
}

static struct error *build(struct spec_source *s)
{
        struct container *c = s->container;
        TRY(check_container(s));
        s->spec->id = dup_string(c->id);
        s->spec->hostname = dup_string(c->pod->config->hostname);
        s->spec->cgroup_path = dup_string(c->cgroup_path);
        /* On v1 a container sees its own cgroups by mounts, and /proc/self/cgroup is where many look for them. */
        s->spec->private_cgroup_namespace =
                cgroups_is_v2(s->node->config.cgroups) && !s->security->privileged;
        s->spec->host_network = c->pod->host_network;
        s->spec->readonly_rootfs = s->security->readonly_rootfs;
        s->spec->stdin_open = s->config->stdin;
        s->spec->stdin_once = s->config->stdin_once;
        s->spec->tty = s->config->tty;
        TRY(add_pid_mode(s));
        TRY(add_stop_signal(s));
        remember_stop_signal(s);
        TRY(spec_add_process(s));
        TRY(spec_add_security(s));
        TRY(spec_add_apparmor(s));
        TRY(spec_add_selinux(s));
        TRY(spec_add_devices(s));
        TRY(spec_add_mounts(s));
        return spec_add_cdi(s);
}

struct error *spec_ensure(struct node *node, struct container *c)
{
        (void) pthread_mutex_lock(&node->lock);
        bool there = c->spec != NULL;
        (void) pthread_mutex_unlock(&node->lock);
        if (there)
                return NULL;
        _cleanup_(image_config_done) struct image_config image = { 0 };
        _cleanup_(container_spec_freep) struct container_spec *spec = container_spec_new();
        TRY_WRAP(image_config_parse(c->image_config, &image), "image %s", c->image_id);
        struct spec_source source = { .node = node,
                                      .container = c,
                                      .image = &image,
                                      .config = c->config,
                                      .security = spec_security_of(c->config),
                                      .spec = spec };
        TRY(build(&source));
        (void) pthread_mutex_lock(&node->lock);
        if (!c->spec)
                c->spec = TAKE(spec);
        (void) pthread_mutex_unlock(&node->lock);
        return NULL;
}
