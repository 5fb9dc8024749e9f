#include "cni/bridge/delegate.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define CODE_TRY_AGAIN_LATER 11

static struct error *find(struct arena *arena, const char *path, const char *type, const char **out)
{
        char *rest = arena_copy(arena, path, strlen(path)), *dir;
        while ((dir = strsep(&rest, ":"))) {
                const char *file = arena_format(arena, "%s/%s", dir, type);
                if (*dir && access(file, X_OK) == 0) {
                        *out = file;
                        return NULL;
                }
        }
        return error_new(ERROR_FAILED_PRECONDITION, "failed to find plugin \"%s\" in path [%s]", type, path);
}

/* In a file, not a pipe: the plugin reads when it likes. */
static struct error *stdin_of(const struct config *config, int *out_fd)
{
        _cleanup_(closep) int fd = memfd_create("configuration", MFD_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "memfd_create");
        ssize_t n_bytes = write(fd, config->raw, config->raw_len_bytes);
        if (n_bytes != (ssize_t) config->raw_len_bytes || lseek(fd, 0, SEEK_SET) < 0)
                return error_errno(errno, "write the configuration for a plugin");
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static struct error *start(const char *file, const char *type, int in_fd, int out_fd, pid_t *pid)
{
        posix_spawn_file_actions_t actions;
        _cleanup_(freep) char *name = dup_string(type);
        char *argv[] = { name, NULL };
        int errnum = posix_spawn_file_actions_init(&actions);
        if (!errnum)
                errnum = posix_spawn_file_actions_adddup2(&actions, in_fd, STDIN_FILENO);
        if (!errnum)
                errnum = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
        if (!errnum)
                errnum = posix_spawn(pid, file, &actions, NULL, argv, environ);
        (void) posix_spawn_file_actions_destroy(&actions);
        return errnum ? error_errno(errnum, "run %s", file) : NULL;
}

/* The plugin's own words, where it has some. */
static struct error *failure(const struct config *config, const char *type, const struct buf *out, int status)
{
        const struct jv *json = NULL;
        const char *msg = "", *details = "";
        int64_t code = 0;
        struct error *e = jv_parse(config->arena, out->bytes ? out->bytes : "", out->len_bytes, &json);
        if (!e)
                e = jv_want_text(json, "msg", &msg);
        if (!e)
                e = jv_want_text(json, "details", &details);
        if (!e)
                e = jv_want_integer(json, "code", 0, INT32_MAX, &code);
        error_free(e);
        if (*msg)
                return error_new(code == CODE_TRY_AGAIN_LATER ? ERROR_UNAVAILABLE : ERROR_INTERNAL,
                                 "ipam plugin %s: %s%s%s", type, msg, *details ? ": " : "", details);
        return error_new(ERROR_INTERNAL, "ipam plugin %s ended with %s %d", type,
                         WIFSIGNALED(status) ? "signal" : "status",
                         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

struct error *delegate_run(const struct environment *env, const struct config *config, const char *type,
                           const char *command, struct buf *out)
{
        _cleanup_(closep) int in_fd = -1, read_fd = -1, write_fd = -1;
        const char *file = NULL;
        int ends[2], status = 0;
        pid_t pid = -1;
        TRY(find(config->arena, env->path, type, &file));
        TRY(stdin_of(config, &in_fd));
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(errno, "pipe2");
        read_fd = ends[0];
        write_fd = ends[1];
        if (setenv("CNI_COMMAND", command, 1) < 0)
                return error_errno(errno, "setenv");
        TRY(start(file, type, in_fd, write_fd, &pid));
        closep(&write_fd);
        struct error *e = buf_read_all(out, read_fd);
        closep(&read_fd); /* one that writes more than we take ends by that */
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (e)
                return error_wrap(e, "ipam plugin %s", type);
        return status ? failure(config, type, out, status) : NULL;
}
