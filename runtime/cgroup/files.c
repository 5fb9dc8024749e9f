/* Files of a cgroup, below a hierarchy's descriptor. */
#include "base/file.h"
#include "runtime/cgroup/cgroup_internal.h"
#include <fcntl.h>
#include <string.h>

struct error *cgroup_open(const struct hierarchy *h, const char *path, const char *file, int flags,
                          int *out_fd)
{
        _cleanup_(freep) char *name = format_string("%s%s%s", path, *file ? "/" : "", file);
        int fd = openat(h->fd, name, flags | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_errno(errno, "open %s/%s", h->mount, name);
        *out_fd = fd;
        return NULL;
}

struct error *cgroup_put(const struct hierarchy *h, const char *path, const char *file, const char *text)
{
        if (!h)
                return error_new(ERROR_FAILED_PRECONDITION, "this host has no cgroup controller for %s",
                                 file);
        _cleanup_(freep) char *name = format_string("%s/%s", path, file);
        _cleanup_(closep) int fd = openat(h->fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_errno(errno, "open %s/%s", h->mount, name);
        size_t len_bytes = strlen(text);
        if (write(fd, text, len_bytes) != (ssize_t) len_bytes)
                return error_errno(errno, "write \"%.*s\" to %s/%s", (int) strcspn(text, "\n"), text,
                                   h->mount, name);
        return NULL;
}

struct error *cgroup_put_number(const struct hierarchy *h, const char *path, const char *file, int64_t value)
{
        char text[24];
        (void) snprintf(text, sizeof(text), "%lld", (long long) value);
        return cgroup_put(h, path, file, text);
}

struct error *cgroup_read(const struct hierarchy *h, const char *path, const char *file, char *text,
                          size_t size_bytes)
{
        _cleanup_(freep) char *name = format_string("%s/%s", path, file);
        _cleanup_(closep) int fd = openat(h->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_errno(errno, "open %s/%s", h->mount, name);
        ssize_t n_bytes = read(fd, text, size_bytes - 1);
        if (n_bytes < 0)
                return error_errno(errno, "read %s/%s", h->mount, name);
        text[n_bytes] = '\0';
        return NULL;
}

bool cgroup_has_file(const struct hierarchy *h, const char *path, const char *file)
{
        _cleanup_(freep) char *name = format_string("%s/%s", path, file);
        return faccessat(h->fd, name, F_OK, 0) == 0;
}

struct error *cgroup_number(const struct hierarchy *h, const char *path, const char *file, uint64_t *out)
{
        char text[64], *end;
        TRY(cgroup_read(h, path, file, text, sizeof(text)));
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        *out = end == text || errno ? UINT64_MAX : value;
        return NULL;
}

uint64_t cgroup_keyed(const char *text, const char *key)
{
        size_t len_bytes = strlen(key);
        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, key, len_bytes) == 0 && line[len_bytes] == ' ')
                        return strtoull(line + len_bytes, NULL, 10);
        }
        return 0;
}
