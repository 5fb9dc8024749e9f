#include "pods/spec/pod_files.h"
#include "base/file.h"
#include <string.h>
#include <sys/utsname.h>

#define RESOLV_CONF_LIMIT_BYTES (1 << 20)
#define HOSTNAME_MAX_BYTES 64 /* the kernel's, uname(2) */

/* --- checks --- */

static struct error *check_words(const char *field, char *const *words, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!*words[i] || strpbrk(words[i], " \t\r\n"))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "config.dns_config.%s[%zu]: one word is wanted", field, i);
        return NULL;
}

static bool has_prefix(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Only what is namespaced: everything else would change the node. Exact names and prefixes; nothing is smuggled in by
 * another spelling (CVE-2022-0811). */
static struct error *check_sysctl(const char *name, const char *value, const Cri__NamespaceOption *options)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/";
        bool host_network = options && options->network == CRI__NAMESPACE_MODE__NODE;
        bool host_ipc = options && options->ipc == CRI__NAMESPACE_MODE__NODE;
        bool of_ipc = has_prefix(name, "kernel.shm") || has_prefix(name, "kernel.msg") ||
                      strcmp(name, "kernel.sem") == 0 || has_prefix(name, "fs.mqueue.");
        bool of_net = has_prefix(name, "net.");
        if (strspn(name, letters) != strlen(name) || strstr(name, "..") || strstr(name, "//"))
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

static struct error *check_sysctls(const Cri__LinuxPodSandboxConfig *config)
{
        const Cri__NamespaceOption *options =
                config->security_context ? config->security_context->namespace_options : NULL;
        for (size_t i = 0; i < config->n_sysctls; i++)
                TRY(check_sysctl(config->sysctls[i]->key, config->sysctls[i]->value, options));
        return NULL;
}

struct error *pod_files_check(const Cri__PodSandboxConfig *config)
{
        const Cri__DNSConfig *dns = config->dns_config;
        if (strlen(config->hostname) > HOSTNAME_MAX_BYTES || strpbrk(config->hostname, " \t\r\n/"))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.hostname: \"%.80s\" is no host name of at most %d bytes",
                                 config->hostname, HOSTNAME_MAX_BYTES);
        if (dns) {
                TRY(check_words("servers", (char *const *) dns->servers, dns->n_servers));
                TRY(check_words("searches", (char *const *) dns->searches, dns->n_searches));
                TRY(check_words("options", (char *const *) dns->options, dns->n_options));
        }
        return config->linux ? check_sysctls(config->linux) : NULL;
}

/* --- files --- */

static struct error *put_line(struct buf *out, const char *key, char *const *words, size_t n)
{
        if (!n)
                return NULL;
        TRY(buf_append_text(out, key));
        for (size_t i = 0; i < n; i++)
                TRY(buf_append_format(out, " %s", words[i]));
        return buf_append_text(out, "\n");
}

static struct error *resolv_conf(const Cri__DNSConfig *dns, struct buf *out)
{
        TRY(put_line(out, "search", (char *const *) dns->searches, dns->n_searches));
        for (size_t i = 0; i < dns->n_servers; i++)
                TRY(buf_append_format(out, "nameserver %s\n", dns->servers[i]));
        return put_line(out, "options", (char *const *) dns->options, dns->n_options);
}

/* Without a DNS config the host's own resolver is the pod's; a host without one gives an empty file. */
static struct error *host_resolv_conf(struct buf *out)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes = 0;
        struct error *e = file_read(AT_FDCWD, "/etc/resolv.conf", RESOLV_CONF_LIMIT_BYTES, &text, &len_bytes);
        if (e && error_errnum_of(e) == ENOENT) {
                error_ignore(e);
                return NULL;
        }
        if (e)
                return e;
        return buf_append(out, text, len_bytes);
}

struct error *pod_files_write(struct sandbox *pod)
{
        const Cri__PodSandboxConfig *config = pod->config;
        _cleanup_(buf_done) struct buf text;
        struct utsname host;
        buf_init(&text, RESOLV_CONF_LIMIT_BYTES);
        bool own = config->dns_config && (config->dns_config->n_servers || config->dns_config->n_searches ||
                                          config->dns_config->n_options);
        TRY_WRAP(own ? resolv_conf(config->dns_config, &text) : host_resolv_conf(&text), "resolv.conf");
        TRY(file_replace(pod->dir_fd, "resolv.conf", text.bytes ? text.bytes : "", text.len_bytes, 0644,
                         false));
        (void) uname(&host);
        _cleanup_(freep) char *name = format_string(
                "%s\n", pod->host_network || !*config->hostname ? host.nodename : config->hostname);
        return file_replace(pod->dir_fd, "hostname", name, strlen(name), 0644, false);
}
