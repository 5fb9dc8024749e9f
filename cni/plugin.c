#include "cni/plugin.h"
#include "base/json.h"
#include "base/process.h"
#include "base/utf8.h"
#include <string.h>
#include <sys/stat.h>

#define HOLDER_FD 3
#define SAID_MAX_BYTES 1024 /* of what a plugin says, in an error's message */
#define CODE_TRY_AGAIN_LATER 11

struct error *plugin_find(const char *bin_dirs, const char *type, char **out)
{
        _cleanup_(freep) char *dirs = dup_string(bin_dirs);
        char *rest = dirs;
        for (char *dir; (dir = strsep(&rest, ":"));) {
                if (!*dir)
                        continue;
                _cleanup_(freep) char *path = format_string("%s/%s", dir, type);
                struct stat st;
                if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111)) {
                        *out = TAKE(path);
                        return NULL;
                }
        }
        return error_new(ERROR_FAILED_PRECONDITION, "there is no such program in %s", bin_dirs);
}

#define ENVIRONMENT_MAX 12

static void environment_make(const struct plugin_run *run, char *env[ENVIRONMENT_MAX])
{
        const struct cni_attachment *attachment = run->attachment;
        size_t n = 0;
        /* Plugins run others: iptables, nft, and each other for IPAM. */
        env[n++] = dup_string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        env[n++] = format_string("CNI_COMMAND=%s", run->command);
        env[n++] = format_string("CNI_CONTAINERID=%s", attachment->container_id);
        env[n++] = format_string("CNI_NETNS=%s", attachment->netns_path ? attachment->netns_path : "");
        env[n++] = format_string("CNI_IFNAME=%s", attachment->ifname);
        env[n++] = format_string("CNI_ARGS=%s", run->args);
        env[n++] = format_string("CNI_PATH=%s", run->bin_dirs);
        if (attachment->trace)
                env[n++] = format_string("TRACEPARENT=%s", attachment->trace->parent);
        if (attachment->trace && attachment->trace->state)
                env[n++] = format_string("TRACESTATE=%s", attachment->trace->state);
        if (attachment->trace && attachment->trace->baggage)
                env[n++] = format_string("BAGGAGE=%s", attachment->trace->baggage);
        env[n] = NULL;
}

static void environment_done(char *(*env)[ENVIRONMENT_MAX])
{
        for (char **variable = *env; *variable; variable++)
                free(*variable);
}

/* What a plugin wrote where no JSON says it: its stderr, or its stdout, from the end, since the end says why. */
static char *said(const struct buf *out, const struct buf *err)
{
        const struct buf *b = err->len_bytes ? err : out;
        if (!b->len_bytes)
                return dup_string("it said nothing");
        size_t skipped = b->len_bytes > SAID_MAX_BYTES ? b->len_bytes - SAID_MAX_BYTES : 0;
        char *text = utf8_repair(b->bytes + skipped, SAID_MAX_BYTES);
        for (size_t len = strlen(text); len && strchr(" \t\r\n", text[len - 1]); len--)
                text[len - 1] = '\0';
        return text;
}

/* The error structure that a plugin prints: {"code": 7, "msg": "...", "details": "..."}. */
static struct error *error_of(const struct buf *out, const struct buf *err, int status)
{
        _cleanup_(json_freep) struct json *printed = NULL;
        _cleanup_(freep) char *text = said(out, err);
        if (out->len_bytes)
                error_ignore(json_parse(out->bytes, out->len_bytes, &printed)); /* rubbish is quoted below */
        const char *message = json_text(json_get(printed, "msg"), NULL);
        if (!message && status > 128)
                return error_new(ERROR_INTERNAL, "killed by signal %d: %s", status - 128, text);
        if (!message)
                return error_new(ERROR_INTERNAL, "exit code %d: %s", status, text);
        int64_t number = json_integer(json_get(printed, "code"), 0);
        const char *details = json_text(json_get(printed, "details"), "");
        enum error_code code = number == CODE_TRY_AGAIN_LATER ? ERROR_UNAVAILABLE : ERROR_INTERNAL;
        struct error *e = error_new(code, "%s%s%s (code %lld)", message, *details ? "; " : "", details,
                                    (long long) number);
        /* A plugin's warnings come with every call; its stderr is told only when the message does not hold it. */
        if (err->len_bytes && !strstr(error_message(e), text)) {
                _cleanup_(freep) char *both = format_string("%s; stderr: %s", error_message(e), text);
                error_free(e);
                return error_new(code, "%s", both);
        }
        return e;
}

static struct error *run_found(const struct plugin_run *run, const char *path, const struct buf *conf,
                               const struct wait *wait, struct buf *out)
{
        const char *const argv[] = { path, NULL };
        _cleanup_(environment_done) char *env[ENVIRONMENT_MAX] = { NULL };
        _cleanup_(buf_done) struct buf err;
        buf_init(&err, PLUGIN_OUTPUT_MAX_BYTES);
        environment_make(run, env);
        struct process_start start = process_start_init(path, argv);
        start.env = (const char *const *) env;
        if (run->holder_fd >= 0) {
                start.fds[HOLDER_FD] = run->holder_fd;
                start.n_fds = HOLDER_FD + 1;
        }
        int status = 0;
        TRY(process_run(&start, conf->bytes, conf->len_bytes, out, &err, wait, &status));
        return status ? error_of(out, &err, status) : NULL;
}

struct error *plugin_run(const struct plugin_run *run, const struct buf *conf, const struct wait *wait,
                         struct buf *out)
{
        _cleanup_(freep) char *path = NULL;
        TRY_WRAP(plugin_find(run->bin_dirs, run->type, &path), "plugin %s", run->type);
        TRY_WRAP(run_found(run, path, conf, wait, out), "plugin %s: %s", run->type, run->command);
        return NULL;
}
