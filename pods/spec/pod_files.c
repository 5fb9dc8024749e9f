#include "pods/spec/pod_files.h"
#include "base/file.h"
#include "pods/spec/selinux.h"
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/xattr.h>

#define RESOLV_CONF_LIMIT_BYTES (1 << 20)
#define HOSTNAME_MAX_BYTES (HOSTNAME_SIZE - 1)

/* --- checks --- */

static struct error *check_words(const char *field, char *const *words, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!*words[i] || strpbrk(words[i], " \t\r\n"))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "config.dns_config.%s[%zu]: one word is wanted", field, i);
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
        return NULL;
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

void pod_hostname(const struct sandbox *pod, char out[HOSTNAME_SIZE])
{
        struct utsname host;
        (void) uname(&host);
        bool own = !pod->host_network && *pod->config->hostname;
        (void) snprintf(out, HOSTNAME_SIZE, "%s", own ? pod->config->hostname : host.nodename);
}

/* Its owner is the root of the pod's users, so that no mount of it has to be mapped: a tmpfs can be only since kernel 6.3. */
static struct error *label_file(const struct sandbox *pod, const char *name)
{
        _cleanup_(freep) char *context = NULL;
        _cleanup_(closep) int fd = -1;
        TRY(selinux_file_context(pod, &context));
        if (!context)
                return NULL;
        TRY(file_open_beneath(pod->dir_fd, name, O_RDONLY, 0, &fd));
        if (fsetxattr(fd, "security.selinux", context, strlen(context) + 1, 0) < 0 && errno != EOPNOTSUPP)
                return error_errno(errno, "label %s", name);
        return NULL;
}

static struct error *write_file(const struct sandbox *pod, const char *name, const char *text,
                                size_t len_bytes)
{
        TRY(file_replace(pod->dir_fd, name, text, len_bytes, 0644, false));
        if (pod->userns.length &&
            fchownat(pod->dir_fd, name, pod->userns.base, pod->userns.base, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(errno, "give %s to the root of the user namespace", name);
        return label_file(pod, name);
}

struct error *pod_files_write(struct sandbox *pod)
{
        const Cri__PodSandboxConfig *config = pod->config;
        _cleanup_(buf_done) struct buf text;
        char hostname[HOSTNAME_SIZE];
        buf_init(&text, RESOLV_CONF_LIMIT_BYTES);
        bool own = config->dns_config && (config->dns_config->n_servers || config->dns_config->n_searches ||
                                          config->dns_config->n_options);
        TRY_WRAP(own ? resolv_conf(config->dns_config, &text) : host_resolv_conf(&text), "resolv.conf");
        TRY(write_file(pod, "resolv.conf", text.bytes ? text.bytes : "", text.len_bytes));
        pod_hostname(pod, hostname);
        _cleanup_(freep) char *name = format_string("%s\n", hostname);
        return write_file(pod, "hostname", name, strlen(name));
}
