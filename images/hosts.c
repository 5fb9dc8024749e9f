#include "images/hosts.h"
#include "base/file.h"
#include "base/toml.h"
#include "images/hosts_internal.h"
#include "images/pull_protocol.h"
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define DIAL_TIMEOUT_MAX_MS (24 * 3600 * 1000)

/* What a file is read into. */
struct reading {
        const char *dir; /* where relative paths lead from */
        struct hosts *hosts;
};

static struct error *expect(const struct toml_value *value, enum toml_type type, const char *key)
{
        if (toml_type_of(value) == type)
                return NULL;
        return error_new(ERROR_FAILED_PRECONDITION, "line %u: %s is %s, not %s", toml_line(value), key,
                         toml_type_name(toml_type_of(value)), toml_type_name(type));
}

static void warn(struct reading *r, const struct toml_value *at, const char *what, const char *name)
{
        hosts_warn(r->hosts, format_string("line %u: %s \"%.80s\" is not known, and passed over",
                                           toml_line(at), what, name));
}

/* An empty list is as none: all. */
static struct error *read_capabilities(struct reading *r, const struct toml_value *list, unsigned *flags)
{
        TRY(expect(list, TOML_ARRAY, "capabilities"));
        if (toml_length(list) == 0)
                return NULL;
        *flags &= ~(unsigned) (PULL_ENDPOINT_RESOLVE | PULL_ENDPOINT_PULL);
        for (size_t i = 0; i < toml_length(list); i++) {
                const struct toml_value *one = toml_at(list, i);
                TRY(expect(one, TOML_STRING, "capabilities"));
                const char *text = toml_text(one, "");
                if (strcasecmp(text, "resolve") == 0)
                        *flags |= PULL_ENDPOINT_RESOLVE;
                else if (strcasecmp(text, "pull") == 0)
                        *flags |= PULL_ENDPOINT_PULL;
                else if (strcasecmp(text, "push") != 0) /* nothing is pushed */
                        warn(r, one, "capability", text);
        }
        return NULL;
}

static struct error *append_pem(const char *dir, const struct toml_value *value, const char *key,
                                struct buf *to)
{
        TRY(expect(value, TOML_STRING, key));
        const char *path = toml_text(value, "");
        _cleanup_(freep) char *whole = *path == '/' ? dup_string(path) : format_string("%s/%s", dir, path);
        TRY_WRAP(hosts_append_pem(whole, to), "line %u: %s", toml_line(value), key);
        return NULL;
}

/* In place of *out. */
static struct error *read_pem(const char *dir, const struct toml_value *value, const char *key,
                              size_t limit_bytes, char **out)
{
        struct buf pem;
        buf_init(&pem, limit_bytes);
        struct error *e = NULL;
        if (toml_type_of(value) == TOML_ARRAY)
                for (size_t i = 0; i < toml_length(value) && !e; i++)
                        e = append_pem(dir, toml_at(value, i), key, &pem);
        else
                e = append_pem(dir, value, key, &pem);
        if (!e) {
                free(*out);
                *out = buf_take_text(&pem);
        }
        buf_done(&pem);
        return e;
}

/* "both.pem", ["both.pem", ...] or [["certificate.pem", "key.pem"], ...]. Of several the first is shown. */
static struct error *read_client(struct reading *r, const struct toml_value *value, struct host_endpoint *to)
{
        const struct toml_value *one = value;
        if (toml_type_of(value) == TOML_ARRAY) {
                if (toml_length(value) == 0)
                        return NULL;
                one = toml_at(value, 0);
                if (toml_length(value) > 1)
                        warn(r, toml_at(value, 1), "client certificate", "beside another");
        }
        if (toml_type_of(one) != TOML_ARRAY)
                return read_pem(r->dir, one, "client", CLIENT_LIMIT_BYTES, &to->cert_pem);
        if (toml_length(one) != 2)
                return error_new(ERROR_FAILED_PRECONDITION, "line %u: client: not a certificate and a key",
                                 toml_line(value));
        TRY(read_pem(r->dir, toml_at(one, 0), "client", CLIENT_LIMIT_BYTES, &to->cert_pem));
        return *toml_text(toml_at(one, 1), "")
                       ? read_pem(r->dir, toml_at(one, 1), "client", CLIENT_LIMIT_BYTES, &to->key_pem)
                       : NULL;
}

/* No character that would end the line. */
static bool is_header_text(const char *text)
{
        for (; *text; text++)
                if ((unsigned char) *text < 0x20 || *text == 0x7f)
                        return false;
        return true;
}

static struct error *append_header(const char *name, const struct toml_value *value, struct buf *to)
{
        TRY(expect(value, TOML_STRING, "header"));
        if (!is_header_text(name) || !is_header_text(toml_text(value, "")))
                return error_new(ERROR_INVALID_ARGUMENT, "line %u: header: a line ends in it",
                                 toml_line(value));
        if (!*name || strpbrk(name, ": \t"))
                return error_new(ERROR_FAILED_PRECONDITION, "line %u: header: \"%s\" is no name",
                                 toml_line(value), name);
        TRY_WRAP(buf_append_format(to, "%s: %s\n", name, toml_text(value, "")), "line %u: header",
                 toml_line(value));
        return NULL;
}

static struct error *append_headers(const struct toml_value *table, struct buf *to)
{
        TRY(expect(table, TOML_TABLE, "header"));
        for (size_t i = 0; i < toml_length(table); i++) {
                const struct toml_value *value = toml_at(table, i);
                if (toml_type_of(value) != TOML_ARRAY)
                        TRY(append_header(toml_key_at(table, i), value, to));
                for (size_t j = 0; toml_type_of(value) == TOML_ARRAY && j < toml_length(value); j++)
                        TRY(append_header(toml_key_at(table, i), toml_at(value, j), to));
        }
        return NULL;
}

static struct error *read_header(const struct toml_value *table, struct host_endpoint *to)
{
        struct buf lines;
        buf_init(&lines, HEADERS_LIMIT_BYTES);
        struct error *e = append_headers(table, &lines);
        if (!e) {
                free(to->headers);
                to->headers = buf_take_text(&lines);
        }
        buf_done(&lines);
        return e;
}

static struct error *read_flag(const struct toml_value *value, const char *key, unsigned bit, unsigned *flags)
{
        TRY(expect(value, TOML_BOOLEAN, key));
        *flags = toml_boolean(value, false) ? *flags | bit : *flags & ~bit;
        return NULL;
}

/* A duration as Go writes it: "1m30s", "1.5s", "500ms". *out: 0 for none. */
static bool read_duration(const char *text, uint32_t *out_ms)
{
        static const struct {
                const char *unit;
                double ms;
        } units[] = { { "ms", 1 },    { "us", 1e-3 },  { "\u00b5s", 1e-3 }, { "\u03bcs", 1e-3 },
                      { "ns", 1e-6 }, { "h", 3600e3 }, { "m", 60e3 },       { "s", 1e3 } };
        double sum_ms = 0;
        const bool is_negative = *text == '-'; /* net.Dialer takes none from what is not above zero */
        text += *text == '-' || *text == '+';
        if (strcmp(text, "0") == 0)
                text = "0s";
        if (!*text)
                return false;
        while (*text) {
                char *end = NULL;
                size_t i = 0;
                double number = strtod(text, &end);
                if (end == text || strspn(text, "0123456789.") != (size_t) (end - text))
                        return false;
                while (i < LENGTH(units) && strncmp(end, units[i].unit, strlen(units[i].unit)) != 0)
                        i++;
                if (i == LENGTH(units))
                        return false;
                sum_ms += number * units[i].ms;
                text = end + strlen(units[i].unit);
        }
        *out_ms = is_negative                    ? 0
                  : sum_ms > DIAL_TIMEOUT_MAX_MS ? DIAL_TIMEOUT_MAX_MS
                  : sum_ms > 0 && sum_ms < 1     ? 1
                                                 : (uint32_t) sum_ms;
        return true;
}

static struct error *read_dial_timeout(const struct toml_value *value, struct host_endpoint *to)
{
        TRY(expect(value, TOML_STRING, "dial_timeout"));
        if (!*toml_text(value, "") || read_duration(toml_text(value, ""), &to->dial_timeout_ms))
                return NULL;
        return error_new(ERROR_FAILED_PRECONDITION,
                         "line %u: dial_timeout: \"%.80s\" is no duration (\"5s\")", toml_line(value),
                         toml_text(value, ""));
}

static struct error *read_proxy(const struct toml_value *value, struct host_endpoint *to)
{
        TRY(expect(value, TOML_STRING, "proxy"));
        const char *text = toml_text(value, "");
        if (!is_header_text(text))
                return error_new(ERROR_FAILED_PRECONDITION, "line %u: proxy is no URL", toml_line(value));
        free(to->proxy);
        to->proxy = dup_string(*text ? text : "-");
        return NULL;
}

/* One key of a [host] table, or of the file's top, which speaks of the server. */
static struct error *read_key(struct reading *r, const char *key, const struct toml_value *value,
                              struct host_endpoint *to, bool *has_tls_settings)
{
        if (strcmp(key, "capabilities") == 0)
                return read_capabilities(r, value, &to->flags);
        if (strcmp(key, "header") == 0)
                return read_header(value, to);
        if (strcmp(key, "dial_timeout") == 0)
                return read_dial_timeout(value, to);
        if (strcmp(key, "proxy") == 0)
                return read_proxy(value, to);
        if (strcmp(key, "override_path") == 0) /* read before: the URL is made with it */
                return expect(value, TOML_BOOLEAN, key);
        bool is_tls = true;
        struct error *e = NULL;
        if (strcmp(key, "skip_verify") == 0)
                e = read_flag(value, key, PULL_ENDPOINT_SKIP_VERIFY, &to->flags);
        else if (strcmp(key, "ca") == 0)
                e = read_pem(r->dir, value, key, CA_LIMIT_BYTES, &to->ca_pem);
        else if (strcmp(key, "client") == 0)
                e = read_client(r, value, to);
        else
                is_tls = false;
        if (!is_tls)
                warn(r, value, "key", key);
        *has_tls_settings |= is_tls;
        return e;
}

static bool overrides_path(const struct toml_value *table)
{
        return toml_boolean(toml_get(table, "override_path"), false);
}

/* All keys of the table but those two, which are not of a host. */
static struct error *read_keys(struct reading *r, const struct toml_value *table, struct host_endpoint *to)
{
        bool has_tls_settings = false;
        for (size_t i = 0; i < toml_length(table); i++) {
                const char *key = toml_key_at(table, i);
                if (strcmp(key, "server") != 0 && strcmp(key, "host") != 0)
                        TRY(read_key(r, key, toml_at(table, i), to, &has_tls_settings));
        }
        hosts_settle_scheme(to, has_tls_settings);
        return NULL;
}

static struct error *read_host(struct reading *r, const char *name, const struct toml_value *host)
{
        char *url = NULL;
        TRY(expect(host, TOML_TABLE, "host"));
        if (r->hosts->n + 1 == PULL_ENDPOINTS_MAX) {
                hosts_warn(r->hosts, format_string("line %u: host \"%.80s\" is one too many, and passed over",
                                                   toml_line(host), name));
                return NULL;
        }
        TRY_WRAP(hosts_url(name, overrides_path(host), &url), "line %u: host", toml_line(host));
        return read_keys(r, host, hosts_add(r->hosts, url));
}

/* The registry itself comes last, whatever the file's order. Where the file does not name it, it is what the domain says,
 * and may do all. */
static struct error *read_server(struct reading *r, const struct toml_value *root, const char *domain)
{
        const struct toml_value *server = toml_get(root, "server");
        char *url = NULL;
        struct host_endpoint *last;
        if (server)
                TRY(expect(server, TOML_STRING, "server"));
        bool is_named = *toml_text(server, "");
        if (is_named) {
                TRY_WRAP(hosts_url(toml_text(server, ""), overrides_path(root), &url), "line %u: server",
                         toml_line(server));
                last = hosts_add(r->hosts, url);
        } else {
                last = hosts_add_registry(r->hosts, domain);
        }
        unsigned flags = last->flags;
        TRY(read_keys(r, root, last));
        if (!is_named)
                last->flags |= flags;
        last->flags |= PULL_ENDPOINT_CREDENTIALS; /* a mirror must not learn the registry's password */
        return NULL;
}

static struct error *read_file(struct reading *r, const struct toml_value *root, const char *domain)
{
        const struct toml_value *table = toml_get(root, "host");
        if (table)
                TRY(expect(table, TOML_TABLE, "host"));
        for (size_t i = 0; i < toml_length(table); i++)
                TRY(read_host(r, toml_key_at(table, i), toml_at(table, i)));
        return read_server(r, root, domain);
}

/* A file that names the server among its hosts too means one host, which is asked once. */
static void merge_server(struct hosts *hosts)
{
        const struct host_endpoint *last = &hosts->endpoints[hosts->n - 1];
        if (*last->headers || *last->ca_pem || *last->cert_pem || *last->proxy)
                return;
        for (size_t i = 0; i + 1 < hosts->n; i++) {
                struct host_endpoint *one = &hosts->endpoints[i];
                unsigned more = last->flags & ~one->flags;
                if (strcmp(one->url, last->url) != 0 || (more & ~(unsigned) PULL_ENDPOINT_CREDENTIALS))
                        continue;
                one->flags |= more;
                hosts_drop_last(hosts);
                return;
        }
}

struct error *hosts_parse(const char *text, size_t len_bytes, const char *dir, const char *domain,
                          struct hosts *out)
{
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        _cleanup_(hosts_done) struct hosts hosts = { NULL, 0, NULL };
        struct reading reading = { dir, &hosts };
        TRY_AS(ERROR_FAILED_PRECONDITION, toml_parse(text, len_bytes, &root));
        TRY(read_file(&reading, root, domain));
        merge_server(&hosts);
        *out = hosts;
        hosts = (struct hosts){ NULL, 0, NULL };
        return NULL;
}

/* --- the directories --- */

/* What the file said is told with its name. */
static void name_warnings(struct hosts *hosts, const char *path)
{
        for (char **warning = hosts->warnings; warning && *warning; warning++) {
                char *named = format_string("%s: %s", path, *warning);
                free(*warning);
                *warning = named;
        }
}

/* The domain without a file: what certificates there are in dir (NULL: none) hold for the registry itself. */
static struct error *registry_itself(const char *dir, const char *domain, struct hosts *out)
{
        bool has_certificates = false;
        struct host_endpoint *registry = hosts_add_registry(out, domain);
        registry->flags |= PULL_ENDPOINT_CREDENTIALS;
        if (dir)
                TRY(hosts_certs(dir, out, registry, &has_certificates));
        hosts_settle_scheme(registry, has_certificates);
        return NULL;
}

/* The directory is there. */
static struct error *read_directory(const char *dir, const char *domain, struct hosts *out)
{
        _cleanup_(freep) char *path = format_string("%s/hosts.toml", dir), *text = NULL;
        size_t len_bytes = 0;
        struct error *e = file_read(AT_FDCWD, path, TOML_MAX_BYTES, &text, &len_bytes);
        bool is_absent = e && error_errnum_of(e) == ENOENT;
        if (is_absent || (!e && len_bytes == 0)) {
                error_free(e);
                return registry_itself(dir, domain, out);
        }
        if (!e)
                e = hosts_parse(text, len_bytes, dir, domain, out);
        if (!e)
                name_warnings(out, path);
        return e ? error_wrap(e, "%s", path) : NULL;
}

/* "host:port" as "host_port_": for filesystems and tools that mind a colon. */
static char *directory_name(const char *domain)
{
        const char *colon = strrchr(domain, ':');
        if (!colon || colon == domain)
                return dup_string(domain);
        return format_string("%.*s_%s_", (int) (colon - domain), domain, colon + 1);
}

/* *found is false when there is nothing below dir for the domain. */
static struct error *try_directory(const char *root, const char *domain, struct hosts *out, bool *found)
{
        _cleanup_(freep) char *plain = directory_name(domain);
        const char *const names[] = { plain, domain, "_default" };
        for (size_t i = 0; i < LENGTH(names) && !*found; i++) {
                struct stat st;
                _cleanup_(freep) char *dir = format_string("%s/%s", root, names[i]);
                if (stat(dir, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
                        continue;
                *found = true;
                TRY(read_directory(dir, domain, out));
        }
        return NULL;
}

struct error *hosts_load(const char *dirs, const char *domain, struct hosts *out)
{
        _cleanup_(hosts_done) struct hosts hosts = { NULL, 0, NULL };
        bool found = false;
        for (const char *s = dirs; *s && !found;) {
                size_t n = strcspn(s, ":");
                _cleanup_(freep) char *root = dup_bytes(s, n);
                if (n) {
                        struct error *e = try_directory(root, domain, &hosts, &found);
                        if (e && error_code_of(e) != ERROR_INVALID_ARGUMENT)
                                return error_as(e, ERROR_FAILED_PRECONDITION);
                        TRY(e);
                }
                s += n;
                s += *s == ':';
        }
        if (!found)
                TRY(registry_itself(NULL, domain, &hosts));
        *out = hosts;
        hosts = (struct hosts){ NULL, 0, NULL };
        return NULL;
}
