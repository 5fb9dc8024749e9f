#include "images/hosts.h"
#include "base/file.h"
#include "base/toml.h"
#include "images/pull_protocol.h"
#include <stdbool.h>
#include <string.h>

/* All of an endpoint travels in one message (PULL_DATA_MAX). */
enum { CA_LIMIT_BYTES = 80 << 10, CLIENT_LIMIT_BYTES = 16 << 10, HEADERS_LIMIT_BYTES = 8 << 10 };

static struct error *expect(const struct toml_value *value, enum toml_type type, const char *key)
{
        if (toml_type_of(value) == type)
                return NULL;
        return error_new(ERROR_INVALID_ARGUMENT, "line %u: %s is %s, not %s", toml_line(value), key,
                         toml_type_name(toml_type_of(value)), toml_type_name(type));
}

static struct error *read_capabilities(const struct toml_value *list, unsigned *flags)
{
        TRY(expect(list, TOML_ARRAY, "capabilities"));
        *flags &= ~(unsigned) (PULL_ENDPOINT_RESOLVE | PULL_ENDPOINT_PULL);
        for (size_t i = 0; i < toml_length(list); i++) {
                const char *text = toml_text(toml_at(list, i), "");
                if (strcmp(text, "resolve") == 0)
                        *flags |= PULL_ENDPOINT_RESOLVE;
                else if (strcmp(text, "pull") == 0)
                        *flags |= PULL_ENDPOINT_PULL;
                else if (strcmp(text, "push") != 0) /* nothing is pushed */
                        return error_new(ERROR_INVALID_ARGUMENT, "line %u: unknown capability \"%s\"",
                                         toml_line(toml_at(list, i)), text);
        }
        return NULL;
}

/* A PEM file's text at the end of *to; what the key of the table is called is for errors. */
static struct error *append_pem(const char *dir, const struct toml_value *value, const char *key,
                                struct buf *to)
{
        TRY(expect(value, TOML_STRING, key));
        const char *path = toml_text(value, "");
        _cleanup_(freep) char *whole = *path == '/' ? dup_string(path) : format_string("%s/%s", dir, path),
                              *text = NULL;
        size_t len_bytes = 0;
        TRY_WRAP(file_read(AT_FDCWD, whole, to->limit_bytes, &text, &len_bytes), "line %u: %s %s",
                 toml_line(value), key, whole);
        TRY_WRAP(buf_append_text(to, text), "line %u: %s", toml_line(value), key);
        return buf_append_text(to, "\n");
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

/* "both.pem", ["both.pem"] or [["certificate.pem", "key.pem"]]: of several only one could be shown. */
static struct error *read_client(const char *dir, const struct toml_value *value, struct host_endpoint *to)
{
        const struct toml_value *one = value;
        if (toml_type_of(value) == TOML_ARRAY && toml_length(value) != 1)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "line %u: client: %zu certificates, but one is shown", toml_line(value),
                                 toml_length(value));
        if (toml_type_of(value) == TOML_ARRAY)
                one = toml_at(value, 0);
        if (toml_type_of(one) != TOML_ARRAY)
                return read_pem(dir, one, "client", CLIENT_LIMIT_BYTES, &to->cert_pem);
        if (toml_length(one) == 0 || toml_length(one) > 2)
                return error_new(ERROR_INVALID_ARGUMENT, "line %u: client: not a certificate and a key",
                                 toml_line(value));
        TRY(read_pem(dir, toml_at(one, 0), "client", CLIENT_LIMIT_BYTES, &to->cert_pem));
        if (toml_length(one) == 2 && *toml_text(toml_at(one, 1), ""))
                TRY(read_pem(dir, toml_at(one, 1), "client", CLIENT_LIMIT_BYTES, &to->key_pem));
        return NULL;
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
        if (!*name || strpbrk(name, ": \t") || !is_header_text(name) || !is_header_text(toml_text(value, "")))
                return error_new(ERROR_INVALID_ARGUMENT, "line %u: header \"%s\" is none", toml_line(value),
                                 name);
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

/* One key of a [host] table, or of the file's top, which speaks of the server. */
static struct error *read_key(const char *dir, const char *key, const struct toml_value *value,
                              struct host_endpoint *to)
{
        if (strcmp(key, "capabilities") == 0)
                return read_capabilities(value, &to->flags);
        if (strcmp(key, "skip_verify") == 0)
                return read_flag(value, key, PULL_ENDPOINT_SKIP_VERIFY, &to->flags);
        if (strcmp(key, "override_path") == 0)
                return read_flag(value, key, PULL_ENDPOINT_OVERRIDE_PATH, &to->flags);
        if (strcmp(key, "ca") == 0)
                return read_pem(dir, value, key, CA_LIMIT_BYTES, &to->ca_pem);
        if (strcmp(key, "client") == 0)
                return read_client(dir, value, to);
        if (strcmp(key, "header") == 0)
                return read_header(value, to);
        return error_new(ERROR_INVALID_ARGUMENT, "line %u: %s is not supported", toml_line(value), key);
}

/* "host" and "host:port" mean https there, as in containerd. */
static char *url_of(const char *text)
{
        return strstr(text, "://") ? dup_string(text) : format_string("https://%s", text);
}

static struct host_endpoint *endpoint_add(struct hosts *hosts, const char *url)
{
        hosts->endpoints = grow_array(hosts->endpoints, hosts->n + 1, sizeof(*hosts->endpoints));
        struct host_endpoint *endpoint = &hosts->endpoints[hosts->n++];
        *endpoint = (struct host_endpoint){ .url = url_of(url),
                                            .flags = PULL_ENDPOINT_RESOLVE | PULL_ENDPOINT_PULL,
                                            .ca_pem = dup_string(""),
                                            .cert_pem = dup_string(""),
                                            .key_pem = dup_string(""),
                                            .headers = dup_string("") };
        return endpoint;
}

static struct error *read_hosts(const struct toml_value *table, const char *dir, struct hosts *hosts)
{
        TRY(expect(table, TOML_TABLE, "host"));
        for (size_t i = 0; i < toml_length(table); i++) {
                const struct toml_value *host = toml_at(table, i);
                TRY(expect(host, TOML_TABLE, "host"));
                if (hosts->n + 1 == PULL_ENDPOINTS_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT, "line %u: more than %d hosts",
                                         toml_line(host), PULL_ENDPOINTS_MAX - 1);
                struct host_endpoint *endpoint = endpoint_add(hosts, toml_key_at(table, i));
                for (size_t j = 0; j < toml_length(host); j++)
                        TRY(read_key(dir, toml_key_at(host, j), toml_at(host, j), endpoint));
        }
        return NULL;
}

static struct error *read_file(const struct toml_value *root, const char *dir, const char *domain,
                               struct hosts *hosts)
{
        const struct toml_value *server = toml_get(root, "server"), *table = toml_get(root, "host");
        if (server)
                TRY(expect(server, TOML_STRING, "server"));
        if (table)
                TRY(read_hosts(table, dir, hosts));
        /* The registry itself comes last, whatever the file's order. */
        bool is_hub = strcmp(domain, "docker.io") == 0;
        struct host_endpoint *last =
                endpoint_add(hosts, toml_text(server, is_hub ? "registry-1.docker.io" : domain));
        last->flags |= PULL_ENDPOINT_CREDENTIALS; /* a mirror must not learn the registry's password */
        for (size_t i = 0; i < toml_length(root); i++) {
                const char *key = toml_key_at(root, i);
                if (strcmp(key, "server") != 0 && strcmp(key, "host") != 0)
                        TRY(read_key(dir, key, toml_at(root, i), last));
        }
        return NULL;
}

struct error *hosts_parse(const char *text, size_t len_bytes, const char *dir, const char *domain,
                          struct hosts *out)
{
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        _cleanup_(hosts_done) struct hosts hosts = { NULL, 0 };
        TRY(toml_parse(text, len_bytes, &root));
        TRY(read_file(root, dir, domain, &hosts));
        *out = hosts;
        hosts = (struct hosts){ NULL, 0 };
        return NULL;
}

/* *found is false when there is no such file. */
static struct error *try_file(const char *dir, const char *domain, struct hosts *out, bool *found)
{
        _cleanup_(freep) char *path = format_string("%s/hosts.toml", dir), *text = NULL;
        size_t len_bytes = 0;
        struct error *e = file_read(AT_FDCWD, path, TOML_MAX_BYTES, &text, &len_bytes);
        if (e && (error_errnum_of(e) == ENOENT || error_errnum_of(e) == ENOTDIR)) {
                error_ignore(e); /* the next place may have it */
                return NULL;
        }
        *found = true;
        if (!e)
                e = hosts_parse(text, len_bytes, dir, domain, out);
        return e ? error_as(error_wrap(e, "%s", path), ERROR_FAILED_PRECONDITION) : NULL;
}

struct error *hosts_load(const char *dirs, const char *domain, struct hosts *out)
{
        const char *const names[] = { domain, "_default" };
        *out = (struct hosts){ NULL, 0 };
        for (size_t i = 0; i < LENGTH(names); i++)
                for (const char *s = dirs; *s;) {
                        size_t n = strcspn(s, ":");
                        bool found = false;
                        _cleanup_(freep) char *dir = format_string("%.*s/%s", (int) n, s, names[i]);
                        TRY(try_file(dir, domain, out, &found));
                        if (found)
                                return NULL;
                        s += n;
                        s += *s == ':';
                }
        return NULL;
}

void hosts_done(struct hosts *hosts)
{
        for (size_t i = 0; i < hosts->n; i++) {
                free(hosts->endpoints[i].url);
                free(hosts->endpoints[i].ca_pem);
                explicit_bzero(hosts->endpoints[i].key_pem, strlen(hosts->endpoints[i].key_pem));
                free(hosts->endpoints[i].cert_pem);
                free(hosts->endpoints[i].key_pem);
                free(hosts->endpoints[i].headers);
        }
        free(hosts->endpoints);
        *hosts = (struct hosts){ NULL, 0 };
}
