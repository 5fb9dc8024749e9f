/* A cgroup's limits as files and values. A new cgroup is just written, and removed by the caller when that fails; in one
 * that is in use each value is read before it is overwritten, and what was written goes back in reverse when one that
 * comes later is refused. */
#include "runtime/cgroup/cgroup_internal.h"
#include <string.h>

#define VALUE_MAX_BYTES 4096

void settings_done(struct settings *settings)
{
        for (size_t i = 0; i < settings->n; i++) {
                free(settings->list[i].file);
                free(settings->list[i].value);
                free(settings->list[i].before);
        }
        free(settings->list);
        *settings = (struct settings){ 0 };
}

void settings_add(struct settings *settings, const struct hierarchy *h, const char *file, const char *value)
{
        settings->list = grow_array(settings->list, settings->n + 1, sizeof(*settings->list));
        settings->list[settings->n++] =
                (struct setting){ .h = h, .file = dup_string(file), .value = dup_string(value) };
}

void settings_add_number(struct settings *settings, const struct hierarchy *h, const char *file,
                         int64_t value)
{
        char text[24];
        (void) snprintf(text, sizeof(text), "%lld", (long long) value);
        settings_add(settings, h, file, text);
}

/* What the kernel says of a value, in a client's terms: that it cannot be, or that it cannot be now. */
static struct error *refusal(struct error *e)
{
        switch (error_errnum_of(e)) {
        case EINVAL:
        case ENODEV: /* io.max of a device that there is not */
        case ERANGE:
        case EOVERFLOW:
        case E2BIG:
        case EACCES: /* a cpuset's cpus that the parent does not have, on v1 */
        case ENOSPC: /* a cpuset that would be empty */
        case ENOENT: /* no such file: huge pages of a size that there is not */
        case EOPNOTSUPP:
                return error_as(e, ERROR_INVALID_ARGUMENT);
        case EBUSY: /* less memory than is in use */
                return error_as(e, ERROR_FAILED_PRECONDITION);
        default:
                return e;
        }
}

/* Of a file with a line a device (io.max, say): the key of one line, with its blank. */
static size_t key_bytes(const char *line)
{
        return strcspn(line, " \n") + 1;
}

static bool has_key(const char *text, const char *line)
{
        size_t n_bytes = key_bytes(line);
        for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n')
                if (strncmp(at, line, n_bytes) == 0)
                        return true;
        return false;
}

/* One write a line, as the kernel takes them. A file that was empty is emptied. */
static struct error *lines_put(const struct setting *s, const char *path)
{
        _cleanup_(freep) char *text = dup_string(s->before);
        char *rest = text;
        if (!*text)
                return cgroup_put(s->h, path, s->file, "\n");
        for (char *line; (line = strsep(&rest, "\n"));)
                if (*line)
                        TRY(cgroup_put(s->h, path, s->file, line));
        return NULL;
}

/* Files in which the line of a device that has none says something all the same: what it must say for it to go. */
static const struct {
        const char *file, *none;
} of_devices[] = { { "io.max", "rbps=max wbps=max riops=max wiops=max" },
                   { "io.weight", "default" },
                   { "io.bfq.weight", "default" },
                   { "io.latency", "target=0" } };

static struct error *put_back(const struct setting *s, const char *path)
{
        size_t n_bytes = key_bytes(s->value);
        bool is_device = memchr(s->value, ':', strnlen(s->value, n_bytes)) != NULL;
        for (size_t i = 0; is_device && i < LENGTH(of_devices); i++) {
                if (strcmp(s->file, of_devices[i].file) != 0 || has_key(s->before, s->value))
                        continue;
                _cleanup_(freep) char *none =
                        format_string("%.*s%s", (int) n_bytes, s->value, of_devices[i].none);
                return cgroup_put(s->h, path, s->file, none);
        }
        return lines_put(s, path);
}

static bool is_as_before(const struct setting *s, const char *path)
{
        char text[VALUE_MAX_BYTES];
        struct error *e = cgroup_read(s->h, path, s->file, text, sizeof(text));
        bool same = !e && strcmp(text, s->before) == 0;
        error_ignore(e); /* then it is not known to be */
        return same;
}

/* The first n, last first. All are tried: a value that cannot be put back before another one has been may come right with
 * that (a quota and its period). What is not as it was then is told with e. */
static struct error *undo(const struct settings *settings, size_t n, const char *path, struct error *e)
{
        for (size_t i = n; i-- > 0;)
                error_ignore(put_back(&settings->list[i], path));
        for (size_t i = 0; i < n; i++)
                if (!is_as_before(&settings->list[i], path))
                        e = error_wrap(e, "%s stays changed", settings->list[i].file);
        return e;
}

/* All values before the first is changed: a file that cannot be read back is no setting. */
static struct error *remember(struct settings *settings, const char *path)
{
        char text[VALUE_MAX_BYTES];
        for (size_t i = 0; i < settings->n; i++) {
                struct setting *s = &settings->list[i];
                struct error *e = cgroup_read(s->h, path, s->file, text, sizeof(text));
                if (e)
                        return refusal(e);
                s->before = dup_string(text);
        }
        return NULL;
}

struct error *settings_apply(struct settings *settings, const char *path, bool in_use)
{
        if (in_use)
                TRY(remember(settings, path));
        for (size_t i = 0; i < settings->n; i++) {
                const struct setting *s = &settings->list[i];
                struct error *e = cgroup_put(s->h, path, s->file, s->value);
                if (e)
                        return in_use ? undo(settings, i, path, refusal(e)) : refusal(e);
        }
        return NULL;
}
