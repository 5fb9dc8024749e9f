#include "runtime/selinux.h"
#include "base/file.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FILE_LIMIT_BYTES 65536
#define LEVEL_MAX_BYTES 64

struct selinux {
        char *check_path; /* FS/context: tells whether the policy has a context */
        bool is_on;
        char *process, *file; /* as the policy has them; NULL: it has none */
};

/* The value of a line KEY=VALUE or KEY = "VALUE"; NULL where there is none. The caller's. */
static char *value_of(const char *text, const char *key)
{
        size_t key_bytes = strlen(key);
        for (const char *line = text; *line;) {
                size_t len_bytes = strcspn(line, "\n");
                const char *at = line + strspn(line, " \t"), *end = line + len_bytes;
                line = end + (*end == '\n');
                if (strncmp(at, key, key_bytes) != 0)
                        continue;
                at += key_bytes + strspn(at + key_bytes, " \t");
                if (*at != '=')
                        continue;
                at++;
                at += strspn(at, " \t\"");
                size_t n = strcspn(at, " \t\"\r\n#");
                return n ? dup_bytes(at, n) : NULL;
        }
        return NULL;
}

static char *read_value(const char *path, const char *key)
{
        _cleanup_(freep) char *text = NULL;
        struct error *e = file_read(AT_FDCWD, path, FILE_LIMIT_BYTES, &text, NULL);
        char *value = e ? NULL : value_of(text, key);
        error_ignore(e);
        return value;
}

void selinux_open(const struct selinux_config *config, struct selinux **out)
{
        struct selinux *s = NEW(struct selinux);
        struct statfs fs;
        s->check_path = format_string("%s/context", config->fs_dir);
        /* A test's directory is no selinuxfs: there the file alone counts. */
        bool is_real = strncmp(config->fs_dir, "/sys/", 5) == 0;
        s->is_on = access(s->check_path, F_OK) == 0 &&
                   (!is_real || (statfs(config->fs_dir, &fs) == 0 && fs.f_type == SELINUX_MAGIC));
        _cleanup_(freep) char *config_path = format_string("%s/config", config->etc_dir);
        _cleanup_(freep) char *type = s->is_on ? read_value(config_path, "SELINUXTYPE") : NULL;
        if (type) {
                _cleanup_(freep) char *path =
                        format_string("%s/%s/contexts/lxc_contexts", config->etc_dir, type);
                s->process = read_value(path, "process");
                s->file = s->process ? read_value(path, "file") : NULL;
        }
        *out = s;
}

void selinux_free(struct selinux *s)
{
        if (!s)
                return;
        free(s->check_path);
        free(s->process);
        free(s->file);
        free(s);
}

bool selinux_is_on(const struct selinux *s)
{
        return s->is_on;
}

bool selinux_labels(const struct selinux *s)
{
        return s->is_on && s->process && s->file;
}

void selinux_contexts_done(struct selinux_contexts *contexts)
{
        free(contexts->process);
        free(contexts->file);
        *contexts = (struct selinux_contexts){ NULL, NULL };
}

/* Pair 1 is c0,c1, pair 2 c0,c2, ...: the first is the lower one. */
static void level_of_pair(uint32_t pair, char level[LEVEL_MAX_BYTES])
{
        uint32_t first = 0, left = pair - 1;
        while (left >= SELINUX_CATEGORIES - 1 - first)
                left -= SELINUX_CATEGORIES - 1 - first++;
        (void) snprintf(level, LEVEL_MAX_BYTES, "s0:c%u,c%u", first, first + 1 + left);
}

static const char *or_else(const char *asked, const char *otherwise)
{
        return asked && *asked ? asked : otherwise;
}

/* *base with its parts replaced by those that are asked for. */
static char *compose(const char *base, const struct selinux_asked *asked)
{
        _cleanup_(freep) char *copy = dup_string(base);
        char *level = copy;
        const char *user = strsep(&level, ":"), *role = level ? strsep(&level, ":") : "",
                   *type = level ? strsep(&level, ":") : "";
        return format_string("%s:%s:%s:%s", or_else(asked->user, user), or_else(asked->role, role),
                             or_else(asked->type, type), or_else(asked->level, level ? level : "s0"));
}

static struct error *check_context(const struct selinux *s, const char *context)
{
        size_t len_bytes = strlen(context);
        if (len_bytes > SELINUX_CONTEXT_MAX || strpbrk(context, " \t\r\n\""))
                return error_new(ERROR_INVALID_ARGUMENT, "\"%.255s\" is no SELinux context", context);
        _cleanup_(closep) int fd = open(s->check_path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "open %s", s->check_path);
        if (write(fd, context, len_bytes + 1) < 0)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "the SELinux policy of this node has no context \"%s\"", context);
        return NULL;
}

struct error *selinux_contexts(const struct selinux *s, const struct selinux_asked *asked, uint32_t pair,
                               struct selinux_contexts *out)
{
        char level[LEVEL_MAX_BYTES];
        struct selinux_asked process = *asked;
        if (!selinux_labels(s))
                return error_new(
                        ERROR_FAILED_PRECONDITION,
                        "the SELinux policy of this node has no contexts for containers (lxc_contexts)");
        if (pair && !*or_else(asked->level, "")) {
                level_of_pair(pair, level);
                process.level = level;
        }
        /* Files are the policy's, but for whose they are. */
        const struct selinux_asked file = { .user = process.user, .level = process.level };
        _cleanup_(selinux_contexts_done) struct selinux_contexts made = { compose(s->process, &process),
                                                                          compose(s->file, &file) };
        TRY(check_context(s, made.process));
        TRY(check_context(s, made.file));
        out->process = TAKE(made.process);
        out->file = TAKE(made.file);
        return NULL;
}
