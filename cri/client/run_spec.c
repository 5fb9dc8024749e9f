#include "cri/client/run_spec.h"
#include "base/id.h"
#include "cri/client/command.h"
#include <ctype.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>

static char *own(struct run_spec *spec, char *text)
{
        spec->owned[spec->n_owned++] = text;
        return text;
}

void run_spec_done(struct run_spec *spec)
{
        for (size_t i = 0; i < spec->n_owned; i++)
                free(spec->owned[i]);
        free(spec->name);
        free(spec->uid);
        free(spec->log_directory);
        free(spec);
}

static struct error *parse_number(const char *text, long long least, long long most, const char *what,
                                  long long *out)
{
        char *end = NULL;
        errno = 0;
        *out = strtoll(text, &end, 10);
        if (errno || end == text || *end || *out < least || *out > most)
                return USAGE_ERROR("\"%s\" is no %s", text, what);
        return NULL;
}

/* --- one function a flag that repeats --- */

/* KEY=VALUE, or KEY alone for the value that it has here. */
static struct error *add_env(struct run_spec *spec, const char *text)
{
        size_t i = spec->container.n_envs, key_len = strcspn(text, "=");
        if (i == RUN_ENTRIES_MAX || key_len == 0)
                return USAGE_ERROR("-e \"%s\": %s", text, key_len ? "too many" : "a name is needed");
        char *key = own(spec, dup_bytes(text, key_len));
        const char *value = text[key_len] ? text + key_len + 1 : getenv(key);
        if (!value)
                return USAGE_ERROR("-e %s: it is not set here", key);
        spec->envs[i] = (Cri__KeyValue) CRI__KEY_VALUE__INIT;
        spec->envs[i].key = key;
        spec->envs[i].value = (ProtobufCBinaryData){ strlen(value), (uint8_t *) (uintptr_t) value };
        spec->env_list[i] = &spec->envs[i];
        spec->container.n_envs++;
        return NULL;
}

/* HOST:PATH[:ro] */
static struct error *add_mount(struct run_spec *spec, const char *text)
{
        size_t i = spec->container.n_mounts;
        char *host = own(spec, dup_string(text)), *path = strchr(host, ':');
        if (i == RUN_ENTRIES_MAX || !path || path[1] != '/')
                return USAGE_ERROR("-v \"%s\" is not HOST:PATH[:ro], or one too many", text);
        *path++ = '\0';
        char *mode = strchr(path, ':');
        if (mode)
                *mode++ = '\0';
        if (mode && strcmp(mode, "ro") != 0)
                return USAGE_ERROR("-v \"%s\": \"%s\" is not ro", text, mode);
        char *resolved = realpath(host, NULL);
        if (!resolved)
                return error_as(error_errno(errno, "-v %s", host), ERROR_NOT_FOUND);
        spec->mounts[i] = (Cri__Mount) CRI__MOUNT__INIT;
        spec->mounts[i].host_path = own(spec, resolved);
        spec->mounts[i].container_path = path;
        spec->mounts[i].readonly = mode != NULL;
        spec->mount_list[i] = &spec->mounts[i];
        spec->container.n_mounts++;
        return NULL;
}

/* HOST:PORT[/udp|/sctp] */
static struct error *add_port(struct run_spec *spec, const char *text)
{
        static const char *const protocols[] = { "tcp", "udp", "sctp" }; /* by CRI's numbers */
        size_t i = spec->pod.n_port_mappings, protocol = 0;
        _cleanup_(freep) char *copy = dup_string(text);
        char *port = strchr(copy, ':'), *name = strchr(copy, '/');
        if (i == RUN_ENTRIES_MAX || !port)
                return USAGE_ERROR("-p \"%s\" is not HOST:PORT[/udp|/sctp], or one too many", text);
        *port++ = '\0';
        if (name)
                *name++ = '\0';
        while (name && protocol < LENGTH(protocols) && strcmp(name, protocols[protocol]) != 0)
                protocol++;
        if (protocol == LENGTH(protocols))
                return USAGE_ERROR("-p \"%s\": \"%s\" is none of tcp, udp, sctp", text, name);
        long long host_port, container_port;
        TRY(parse_number(copy, 1, 65535, "port", &host_port));
        TRY(parse_number(port, 1, 65535, "port", &container_port));
        spec->ports[i] = (Cri__PortMapping) CRI__PORT_MAPPING__INIT;
        spec->ports[i].protocol = (Cri__Protocol) protocol;
        spec->ports[i].host_port = (int32_t) host_port;
        spec->ports[i].container_port = (int32_t) container_port;
        spec->port_list[i] = &spec->ports[i];
        spec->pod.n_port_mappings++;
        return NULL;
}

/* UID[:GID] or a name of the image's passwd. */
static struct error *set_user(struct run_spec *spec, const char *text)
{
        if (!isdigit((unsigned char) *text)) {
                spec->security.run_as_username = text;
                return NULL;
        }
        char *uid = own(spec, dup_string(text)), *gid = strchr(uid, ':');
        long long number;
        if (gid) {
                *gid++ = '\0';
                TRY(parse_number(gid, 0, UINT32_MAX - 1, "group", &number));
                spec->run_as_group.value = number;
                spec->security.run_as_group = &spec->run_as_group;
        }
        TRY(parse_number(uid, 0, UINT32_MAX - 1, "user", &number));
        spec->run_as_user.value = number;
        spec->security.run_as_user = &spec->run_as_user;
        return NULL;
}

/* The host's id of the pod's root; 65536 ids from there on are the pod's. */
static struct error *set_userns(struct run_spec *spec, const char *text)
{
        long long number;
        TRY(parse_number(text, 65536, UINT32_MAX - 65536, "first id of a user namespace", &number));
        spec->userns = (Cri__UserNamespace) CRI__USER_NAMESPACE__INIT;
        spec->users = (Cri__IDMapping) CRI__IDMAPPING__INIT;
        spec->users.host_id = (uint32_t) number;
        spec->users.length = 65536;
        spec->users_list[0] = &spec->users;
        spec->userns.mode = CRI__NAMESPACE_MODE__POD;
        spec->userns.uids = spec->userns.gids = spec->users_list;
        spec->userns.n_uids = spec->userns.n_gids = 1;
        spec->namespaces.userns_options = &spec->userns;
        return NULL;
}

/* In a user namespace nothing said means all of /proc, as kubelet has it: so it is said. */
static void mask_paths(struct run_spec *spec)
{
        static const char *masked[] = {
                "/proc/acpi",        "/proc/asound",  "/proc/interrupts",
                "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
                "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"
        };
        static const char *readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                          "/proc/sysrq-trigger" };
        if (!spec->namespaces.userns_options || spec->security.privileged)
                return;
        spec->security.masked_paths = (void *) masked;
        spec->security.n_masked_paths = LENGTH(masked);
        spec->security.readonly_paths = (void *) readonly;
        spec->security.n_readonly_paths = LENGTH(readonly);
}

/* Files of the host that its root owns are the container's root's then, and what that makes there is the host's root's. */
static void map_mounts(struct run_spec *spec)
{
        for (size_t i = 0; spec->namespaces.userns_options && i < spec->container.n_mounts; i++) {
                Cri__Mount *mount = &spec->mounts[i];
                mount->uidmappings = mount->gidmappings = spec->users_list;
                mount->n_uidmappings = mount->n_gidmappings = 1;
        }
}

/* 64m, 1g, or bytes. */
static struct error *set_memory(struct run_spec *spec, const char *text)
{
        static const char units[] = "kmg";
        _cleanup_(freep) char *copy = dup_string(text);
        size_t len = strlen(copy);
        const char *unit = len ? strchr(units, tolower((unsigned char) copy[len - 1])) : NULL;
        int shift = 0;
        if (unit && *unit) {
                shift = 10 * (int) (unit - units + 1);
                copy[len - 1] = '\0';
        }
        long long number;
        TRY(parse_number(copy, 1, LLONG_MAX >> shift, "size (64m, 1g)", &number));
        spec->resources.memory_limit_in_bytes = number << shift;
        return NULL;
}

/* --- all of it --- */

static void init(struct run_spec *spec)
{
        spec->pod_metadata = (Cri__PodSandboxMetadata) CRI__POD_SANDBOX_METADATA__INIT;
        spec->pod_linux = (Cri__LinuxPodSandboxConfig) CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
        spec->pod_security = (Cri__LinuxSandboxSecurityContext) CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        spec->namespaces = (Cri__NamespaceOption) CRI__NAMESPACE_OPTION__INIT;
        spec->annotation =
                (Cri__PodSandboxConfig__AnnotationsEntry) CRI__POD_SANDBOX_CONFIG__ANNOTATIONS_ENTRY__INIT;
        spec->pod = (Cri__PodSandboxConfig) CRI__POD_SANDBOX_CONFIG__INIT;
        spec->metadata = (Cri__ContainerMetadata) CRI__CONTAINER_METADATA__INIT;
        spec->image_spec = (Cri__ImageSpec) CRI__IMAGE_SPEC__INIT;
        spec->linux = (Cri__LinuxContainerConfig) CRI__LINUX_CONTAINER_CONFIG__INIT;
        spec->resources = (Cri__LinuxContainerResources) CRI__LINUX_CONTAINER_RESOURCES__INIT;
        spec->security = (Cri__LinuxContainerSecurityContext) CRI__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        spec->seccomp = (Cri__SecurityProfile) CRI__SECURITY_PROFILE__INIT; /* RuntimeDefault */
        spec->run_as_user = spec->run_as_group = (Cri__Int64Value) CRI__INT64_VALUE__INIT;
        spec->container = (Cri__ContainerConfig) CRI__CONTAINER_CONFIG__INIT;
        spec->namespaces.network = CRI__NAMESPACE_MODE__POD;
        spec->namespaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
        spec->namespaces.ipc = CRI__NAMESPACE_MODE__POD;
}

static struct error *parse_flag(struct run_spec *spec, int flag, const char *value)
{
        switch (flag) {
        case 'd':
                spec->detach = true;
                return NULL;
        case 'i':
                spec->container.stdin = true;
                return NULL;
        case 't':
                spec->container.tty = true;
                return NULL;
        case 'k':
                TRY_WRAP(detach_keys_parse(value, &spec->detach_keys), "usage");
                return NULL;
        case 'r': /* what runs in the foreground leaves nothing anyway */
                spec->remove = true;
                return NULL;
        case 'n':
                free(spec->name);
                spec->name = dup_string(value);
                return NULL;
        case 'e':
                return add_env(spec, value);
        case 'v':
                return add_mount(spec, value);
        case 'p':
                return add_port(spec, value);
        case 'u':
                return set_user(spec, value);
        case 'w':
                spec->container.working_dir = value;
                return NULL;
        case 'm':
                return set_memory(spec, value);
        case 'H':
                spec->namespaces.network = CRI__NAMESPACE_MODE__NODE;
                return NULL;
        case 'P':
                spec->security.privileged = spec->pod_security.privileged = true;
                return NULL;
        case 'U':
                return set_userns(spec, value);
        case 'R':
                spec->security.readonly_rootfs = true;
                return NULL;
        default:
                return USAGE_ERROR("unknown flag, or one without its value");
        }
}

/* A name is a pod's hostname too: letters, digits, '-' and '.'. */
static struct error *check_name(const char *name)
{
        for (const char *c = name; *c; c++)
                if (!isalnum((unsigned char) *c) && *c != '-' && *c != '.')
                        return USAGE_ERROR("--name \"%s\": letters, digits, '-' and '.' only", name);
        return strlen(name) > 63 || !*name ? USAGE_ERROR("--name \"%s\": 1 to 63 characters", name) : NULL;
}

/* "registry/path/busybox:1.36" gives "busybox-3f2a". */
static char *name_of_image(const char *image, const char *uid)
{
        const char *slash = strrchr(image, '/');
        char base[33];
        (void) snprintf(base, sizeof(base), "%s", slash ? slash + 1 : image);
        base[strcspn(base, ":@")] = '\0';
        for (char *c = base; *c; c++)
                *c = isalnum((unsigned char) *c) ? *c : '-';
        return format_string("%s-%.6s", *base ? base : "pod", uid);
}

/* What kubelet labels its pods and containers with: crictl ps shows those that have them. */
static void add_labels(struct run_spec *spec)
{
        const char *const pairs[RUN_LABELS][2] = { { "io.kubernetes.pod.name", spec->name },
                                                   { "io.kubernetes.pod.namespace",
                                                     spec->pod_metadata.namespace_ },
                                                   { "io.kubernetes.pod.uid", spec->uid },
                                                   { "io.kubernetes.container.name", spec->name } };
        for (size_t i = 0; i < RUN_LABELS; i++) {
                spec->pod_labels[i] =
                        (Cri__PodSandboxConfig__LabelsEntry) CRI__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT;
                spec->pod_labels[i].key = pairs[i][0];
                spec->pod_labels[i].value = pairs[i][1];
                spec->pod_label_list[i] = &spec->pod_labels[i];
                spec->labels[i] =
                        (Cri__ContainerConfig__LabelsEntry) CRI__CONTAINER_CONFIG__LABELS_ENTRY__INIT;
                spec->labels[i].key = pairs[i][0];
                spec->labels[i].value = pairs[i][1];
                spec->label_list[i] = &spec->labels[i];
        }
        spec->pod.labels = spec->pod_label_list;
        spec->pod.n_labels = RUN_LABELS - 1; /* but the container's name */
        spec->container.labels = spec->label_list;
        spec->container.n_labels = RUN_LABELS;
}

static struct error *finish(struct run_spec *spec)
{
        char id[ID_LEN + 1];
        id_make(id);
        /* A name that a person gave is there once (run_command.c). */
        spec->uid = spec->name ? dup_string(spec->name) : dup_bytes(id, 32);
        if (!spec->name)
                spec->name = name_of_image(spec->image, spec->uid);
        TRY(check_name(spec->name));
        spec->log_directory = format_string("/var/log/pods/skiff_%s_%s", spec->name, spec->uid);
        spec->pod_metadata.name = spec->name;
        spec->pod_metadata.namespace_ = "skiff";
        spec->pod_metadata.uid = spec->uid;
        spec->pod_security.namespace_options = &spec->namespaces;
        spec->pod_linux.security_context = &spec->pod_security;
        spec->annotation.key = "skiff.log-directory";
        spec->annotation.value = spec->log_directory;
        spec->annotations[0] = &spec->annotation;
        spec->pod.metadata = &spec->pod_metadata;
        spec->pod.hostname = spec->namespaces.network == CRI__NAMESPACE_MODE__NODE ? "" : spec->name;
        spec->pod.log_directory = spec->log_directory;
        spec->pod.linux = &spec->pod_linux;
        spec->pod.n_annotations = 1;
        spec->pod.annotations = spec->annotations;
        spec->pod.port_mappings = spec->port_list;
        spec->metadata.name = spec->name;
        spec->security.namespace_options = &spec->namespaces;
        spec->security.seccomp = spec->security.privileged ? NULL : &spec->seccomp;
        spec->linux.resources = &spec->resources;
        spec->linux.security_context = &spec->security;
        spec->container.metadata = &spec->metadata;
        spec->container.image = &spec->image_spec;
        spec->container.envs = spec->env_list;
        spec->container.mounts = spec->mount_list;
        spec->container.log_path = "log";
        spec->container.stdin_once = spec->container.stdin && !spec->detach; /* its end is the program's */
        spec->container.linux = &spec->linux;
        add_labels(spec);
        map_mounts(spec);
        mask_paths(spec);
        return NULL;
}

struct error *run_spec_parse(int argc, char **argv, struct run_spec *spec)
{
        static const struct option flags[] = { { "detach", no_argument, NULL, 'd' },
                                               { "name", required_argument, NULL, 'n' },
                                               { "env", required_argument, NULL, 'e' },
                                               { "volume", required_argument, NULL, 'v' },
                                               { "publish", required_argument, NULL, 'p' },
                                               { "user", required_argument, NULL, 'u' },
                                               { "workdir", required_argument, NULL, 'w' },
                                               { "memory", required_argument, NULL, 'm' },
                                               { "host-network", no_argument, NULL, 'H' },
                                               { "userns", required_argument, NULL, 'U' },
                                               { "privileged", no_argument, NULL, 'P' },
                                               { "read-only", no_argument, NULL, 'R' },
                                               { "interactive", no_argument, NULL, 'i' },
                                               { "stdin", no_argument, NULL, 'i' },
                                               { "tty", no_argument, NULL, 't' },
                                               { "rm", no_argument, NULL, 'r' },
                                               { "detach-keys", required_argument, NULL, 'k' },
                                               { 0 } };
        init(spec);
        TRY(detach_keys_parse(DETACH_KEYS_DEFAULT, &spec->detach_keys));
        for (int flag; (flag = getopt_long(argc, argv, "+dite:v:p:u:w:m:", flags, NULL)) != -1;)
                TRY(parse_flag(spec, flag, optarg));
        if (optind == argc)
                return USAGE_ERROR("which image?");
        spec->image = argv[optind++];
        if (optind < argc && strcmp(argv[optind], "--") == 0)
                optind++;
        /* As arguments: an image's entrypoint stays, as people know it. */
        spec->container.n_args = (size_t) (argc - optind);
        spec->container.args = (void *) (argv + optind);
        if (spec->remove && spec->detach)
                return USAGE_ERROR("--rm goes without -d: nobody is there to remove it at its end");
        return finish(spec);
}
