#include "pods/spec/sysctls.h"
#include <string.h>

char *sysctl_path(const char *name)
{
        char *path = dup_string(name);
        if (path[strcspn(path, "./")] == '.')
                for (char *at = path; *at; at++)
                        *at = *at == '.' ? '/' : *at == '/' ? '.' : *at;
        return path;
}

static bool has_prefix(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Parts that are none would lead elsewhere, or be the same name spelled another way. */
static bool is_clean(const char *path)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/";
        if (strspn(path, letters) != strlen(path))
                return false;
        for (const char *at = path;; at++) {
                size_t len_bytes = strcspn(at, "/");
                if (len_bytes == 0 || strspn(at, ".") >= len_bytes)
                        return false;
                at += len_bytes;
                if (!*at)
                        return true;
        }
}

/* Only what is namespaced: everything else would change the node. Exact names and prefixes; nothing is smuggled in by
 * another spelling (CVE-2022-0811). */
static struct error *check(const char *name, const char *value, const Cri__NamespaceOption *options)
{
        _cleanup_(freep) char *path = sysctl_path(name);
        bool host_network = options && options->network == CRI__NAMESPACE_MODE__NODE;
        bool host_ipc = options && options->ipc == CRI__NAMESPACE_MODE__NODE;
        bool of_ipc = has_prefix(path, "kernel/shm") || has_prefix(path, "kernel/msg") ||
                      strcmp(path, "kernel/sem") == 0 || has_prefix(path, "fs/mqueue/");
        bool of_net = has_prefix(path, "net/");
        if (!is_clean(path))
                return error_new(ERROR_INVALID_ARGUMENT, "config.linux.sysctls: \"%s\" is no sysctl's name",
                                 name);
        if (strpbrk(value, "\r\n"))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.linux.sysctls: the value of %s has a newline", name);
        if (!of_ipc && !of_net)
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "config.linux.sysctls: %s is not a pod's own (only net.*, kernel.shm*, kernel.msg*,"
                        " kernel.sem and fs.mqueue.* are)",
                        name);
        if (of_net && host_network)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.linux.sysctls: %s would change the host's network", name);
        if (of_ipc && host_ipc)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.linux.sysctls: %s would change the host's ipc", name);
        return NULL;
}

struct error *sysctls_check(const Cri__LinuxPodSandboxConfig *config)
{
        const Cri__NamespaceOption *options =
                config->security_context ? config->security_context->namespace_options : NULL;
        for (size_t i = 0; i < config->n_sysctls; i++)
                TRY(check(config->sysctls[i]->key, config->sysctls[i]->value, options));
        return NULL;
}

bool sysctl_is_of_interface(const char *path)
{
        static const char *const kinds[] = { "net/ipv4/conf/", "net/ipv6/conf/", "net/ipv4/neigh/",
                                             "net/ipv6/neigh/", "net/mpls/conf/" };
        static const char *const there[] = { "all/", "default/", "lo/" }; /* from the namespace's birth */
        for (size_t i = 0; i < LENGTH(kinds); i++) {
                if (!has_prefix(path, kinds[i]))
                        continue;
                for (size_t j = 0; j < LENGTH(there); j++)
                        if (has_prefix(path + strlen(kinds[i]), there[j]))
                                return false;
                return true;
        }
        return false;
}
