/* Certificates of a registry as Docker lays them out: HOST/NAME.crt are authorities', HOST/X.cert with X.key is ours; a key may
 * also stand in the .cert. Source: docs.docker.com/engine/security/certificates. */
#include "base/file.h"
#include "images/hosts_internal.h"
#include <dirent.h>
#include <string.h>

static bool ends_with(const char *name, const char *end)
{
        size_t n = strlen(name), end_bytes = strlen(end);
        return n > end_bytes && strcmp(name + n - end_bytes, end) == 0;
}

static int no_directory(const struct dirent *entry)
{
        return entry->d_type != DT_DIR &&
               (ends_with(entry->d_name, ".crt") || ends_with(entry->d_name, ".cert"));
}

struct error *hosts_append_pem(const char *path, struct buf *to)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes = 0;
        TRY_WRAP(file_read(AT_FDCWD, path, to->limit_bytes, &text, &len_bytes), "%s", path);
        TRY_WRAP(buf_append_text(to, text), "%s", path);
        return buf_append_text(to, "\n");
}

/* In place of *out. */
static struct error *read_pem(const char *path, char **out)
{
        struct buf pem;
        buf_init(&pem, CLIENT_LIMIT_BYTES);
        struct error *e = hosts_append_pem(path, &pem);
        if (!e) {
                free(*out);
                *out = buf_take_text(&pem);
        }
        buf_done(&pem);
        return e;
}

static struct error *take_client(const char *path, struct host_endpoint *to)
{
        _cleanup_(freep) char *key = format_string("%.*s.key", (int) (strlen(path) - strlen(".cert")), path);
        TRY(read_pem(path, &to->cert_pem));
        return faccessat(AT_FDCWD, key, F_OK, 0) == 0 ? read_pem(key, &to->key_pem) : NULL;
}

static struct error *take(const char *dir, const char *name, struct hosts *hosts, struct host_endpoint *to,
                          struct buf *authorities)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        if (ends_with(name, ".crt")) {
                TRY(hosts_append_pem(path, authorities));
        } else if (*to->cert_pem) {
                hosts_warn(hosts, format_string("%s: a client certificate beside another is not used", path));
        } else {
                TRY(take_client(path, to));
        }
        return NULL;
}

struct error *hosts_certs(const char *dir, struct hosts *hosts, struct host_endpoint *to, bool *found)
{
        struct dirent **entries = NULL;
        struct buf authorities;
        int n = scandir(dir, &entries, no_directory, alphasort);
        struct error *e = n < 0 && errno != ENOENT ? error_errno(errno, "read %s", dir) : NULL;
        *found = n > 0;
        buf_init(&authorities, CA_LIMIT_BYTES);
        for (int i = 0; i < n; i++) {
                if (!e)
                        e = take(dir, entries[i]->d_name, hosts, to, &authorities);
                free(entries[i]);
        }
        free(entries);
        if (!e && authorities.len_bytes) {
                free(to->ca_pem);
                to->ca_pem = buf_take_text(&authorities);
        }
        buf_done(&authorities);
        return e;
}
