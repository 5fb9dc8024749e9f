#include "images/hosts_internal.h"
#include "images/loopback.h"
#include "images/pull_protocol.h"
#include <string.h>
#include <strings.h>

/* "https://host:port" and what follows it. */
struct url {
        bool is_tls;
        const char *authority; /* without a user and password */
        size_t authority_bytes;
        const char *path; /* up to a query or fragment */
        size_t path_bytes;
};

static struct error *url_split(const char *text, struct url *out)
{
        *out = (struct url){ .is_tls = strncasecmp(text, "https://", 8) == 0 };
        if (!out->is_tls && strncasecmp(text, "http://", 7) != 0)
                return error_new(ERROR_FAILED_PRECONDITION, "\"%s\" is neither http nor https", text);
        const char *at = strstr(text, "://") + 3;
        size_t n = strcspn(at, "/?#");
        for (const char *user; (user = memchr(at, '@', n)); n -= (size_t) (user + 1 - at), at = user + 1)
                continue;
        out->authority = at;
        out->authority_bytes = n;
        out->path = at + n;
        out->path_bytes = strcspn(out->path, "?#");
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) at[i] <= 0x20 || at[i] == 0x7f || strchr("\\\"<>^`{|}%", at[i]))
                        return error_new(ERROR_FAILED_PRECONDITION, "\"%s\" has no host's name", text);
        return n ? NULL : error_new(ERROR_FAILED_PRECONDITION, "\"%s\" has no host's name", text);
}

/* The port, or an empty text; of "[::1]:5000" too. */
static const char *port_of(const char *authority, size_t n, size_t *port_bytes)
{
        const char *colon = memrchr(authority, ':', n);
        if (colon && memchr(colon, ']', (size_t) (authority + n - colon)))
                colon = NULL;
        *port_bytes = colon ? (size_t) (authority + n - colon - 1) : 0;
        return colon ? colon + 1 : authority + n;
}

static bool port_is(const char *authority, size_t n, const char *port)
{
        size_t port_bytes;
        const char *there = port_of(authority, n, &port_bytes);
        return port_bytes == strlen(port) && memcmp(there, port, port_bytes) == 0;
}

static bool is_on_loopback(const char *domain)
{
        size_t n = strlen(domain), port_bytes;
        (void) port_of(domain, n, &port_bytes);
        _cleanup_(freep) char *host = dup_bytes(domain, n - (port_bytes ? port_bytes + 1 : 0));
        return is_loopback(host);
}

/* "/a/b" of "a//./b/x/..": no slash at the end, "" for the root. Appends to *to. */
static struct error *append_clean_path(const char *path, size_t len_bytes, struct buf *to)
{
        size_t root_bytes = to->len_bytes;
        for (const char *at = path, *end = path + len_bytes; at < end;) {
                size_t n = 0;
                while (at + n < end && at[n] != '/')
                        n++;
                if (n == 2 && at[0] == '.' && at[1] == '.') {
                        while (to->len_bytes > root_bytes && to->bytes[to->len_bytes - 1] != '/')
                                to->bytes[--to->len_bytes] = '\0';
                        if (to->len_bytes > root_bytes)
                                to->bytes[--to->len_bytes] = '\0';
                } else if (n && !(n == 1 && at[0] == '.')) {
                        TRY(buf_append_format(to, "/%.*s", (int) n, at));
                }
                at += n + 1;
        }
        return NULL;
}

static bool ends_with(const struct buf *text, const char *end)
{
        size_t n = strlen(end);
        return text->len_bytes >= n && memcmp(text->bytes + text->len_bytes - n, end, n) == 0;
}

struct error *hosts_url(const char *text, bool override_path, char **out)
{
        struct url url;
        _cleanup_(buf_done) struct buf root;
        _cleanup_(freep) char *whole = strncasecmp(text, "http://", 7) == 0 ||
                                                       strncasecmp(text, "https://", 8) == 0 ||
                                                       strstr(text, "://")
                                               ? dup_string(text)
                                               : format_string("https://%s", text);
        buf_init(&root, 8 << 10);
        TRY(url_split(whole, &url));
        TRY(buf_append_format(&root, "%s://%.*s", url.is_tls ? "https" : "http", (int) url.authority_bytes,
                              url.authority));
        TRY(append_clean_path(url.path, url.path_bytes, &root));
        if (!override_path && !ends_with(&root, "/v2"))
                TRY(buf_append_text(&root, "/v2"));
        *out = buf_take_text(&root);
        return NULL;
}

/* On the loopback a registry may speak either, with a certificate of its own making: nobody else is there to be taken for
 * it. Its port says which, where it is one of the two that are known. */
struct host_endpoint *hosts_add_registry(struct hosts *hosts, const char *domain)
{
        bool is_hub = strcmp(domain, "docker.io") == 0, loopback = is_on_loopback(domain);
        size_t n = strlen(domain), port_bytes;
        (void) port_of(domain, n, &port_bytes);
        bool any_port = loopback && port_bytes && !port_is(domain, n, "443");
        struct host_endpoint *endpoint =
                hosts_add(hosts, format_string("%s://%s/v2", any_port ? "http" : "https",
                                               is_hub ? "registry-1.docker.io" : domain));
        if (any_port && !port_is(domain, n, "80"))
                endpoint->flags |= PULL_ENDPOINT_EITHER_SCHEME;
        if (loopback && !port_is(domain, n, "80"))
                endpoint->flags |= PULL_ENDPOINT_SKIP_VERIFY;
        return endpoint;
}

void hosts_settle_scheme(struct host_endpoint *endpoint, bool has_tls_settings)
{
        struct url url;
        struct error *e = url_split(endpoint->url, &url);
        if (!e && has_tls_settings && !url.is_tls && !port_is(url.authority, url.authority_bytes, "80")) {
                char *tls = format_string("https://%s", url.authority);
                free(endpoint->url);
                endpoint->url = tls;
                endpoint->flags |= PULL_ENDPOINT_EITHER_SCHEME;
        }
        error_ignore(e); /* it was one when it was added */
}
