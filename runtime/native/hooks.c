#include "runtime/native/hooks.h"
#include "base/json.h"
#include "base/process.h"
#include <string.h>

#define OCI_VERSION "1.1.0"
#define STATE_MAX_BYTES 49152 /* with its process id it fits into a pipe: one in the container gets it so */
#define OUTPUT_MAX_BYTES (1U << 20)
#define WORDS_MAX_BYTES 4096 /* of it, in a message */

struct error *hook_place_find(const struct hook_surroundings *surroundings, struct hook_place *out)
{
        *out = (struct hook_place){ .annotations = surroundings->annotations };
        if (!surroundings->bundle)
                return error_new(ERROR_INVALID_ARGUMENT, "hooks without a bundle");
        out->bundle = realpath(surroundings->bundle, NULL);
        return out->bundle ? NULL : error_errno(errno, "bundle %s", surroundings->bundle);
}

void hook_place_done(struct hook_place *place)
{
        free(TAKE(place->bundle));
}

bool hooks_have(const struct container_spec *spec, enum hook_stage stage)
{
        for (size_t i = 0; i < spec->n_hooks; i++)
                if (spec->hooks[i].stage == stage)
                        return true;
        return false;
}

bool hooks_of_host_in(const struct container_spec *spec)
{
        return hooks_have(spec, HOOK_PRESTART) || hooks_have(spec, HOOK_CREATE_RUNTIME) ||
               hooks_have(spec, HOOK_CREATE_CONTAINER);
}

/* Annotations that are too long are left out. */
char *hooks_state_begin(const struct container_spec *spec, const char *status, const struct hook_place *place)
{
        _cleanup_(buf_done) struct buf text;
        const char *annotations = place->annotations ? place->annotations : "{}";
        buf_init(&text, STATE_MAX_BYTES);
        error_ignore(buf_append_format(&text,
                                       "{\"ociVersion\":\"" OCI_VERSION "\",\"id\":\"%s\",\"status\":\"%s\","
                                       "\"bundle\":",
                                       spec->id, status));
        error_ignore(json_put_text(&text, place->bundle));
        struct error *e = buf_append_format(&text, ",\"annotations\":%s", annotations);
        if (e) {
                error_ignore(e);
                error_ignore(buf_append_text(&text, ",\"annotations\":{}"));
        }
        error_ignore(buf_append_text(&text, ",\"pid\":"));
        return buf_take_text(&text);
}

struct run {
        const struct container_hook *hook;
        size_t index; /* among those of its stage */
        struct process_start start;
        struct buf out, err;
};

static struct error *failed(const struct run *run, const char *why)
{
        const char *words = run->err.len_bytes ? run->err.bytes : run->out.len_bytes ? run->out.bytes : "";
        size_t n = strlen(words);
        while (n && strchr(" \r\n", words[n - 1]))
                n--;
        size_t skip = n > WORDS_MAX_BYTES ? n - WORDS_MAX_BYTES : 0; /* the end says most */
        return error_new(ERROR_FAILED_PRECONDITION, "error running %s hook #%zu (%s): %s%s%.*s",
                         hook_stage_name(run->hook->stage), run->index, run->hook->path, why, n ? ": " : "",
                         (int) (n - skip), words + skip);
}

static struct error *run_timed(struct run *run, const char *state, const struct wait *wait)
{
        int64_t timeout_s = run->hook->timeout_s;
        if (timeout_s <= 0 || timeout_s > HOOK_TIMEOUT_S)
                timeout_s = HOOK_TIMEOUT_S;
        const struct wait within = wait_within(wait, timeout_s * 1000);
        char why[32];
        int status = 0;
        struct error *e =
                process_run(&run->start, state, strlen(state), &run->out, &run->err, &within, &status);
        if (e && error_code_of(e) == ERROR_DEADLINE_EXCEEDED) {
                error_free(e);
                TRY(wait_check(wait, "run a hook")); /* the whole start's deadline */
                return failed(run, "it took too long");
        }
        if (e)
                return error_as(error_wrap(e, "error running %s hook #%zu", hook_stage_name(run->hook->stage),
                                           run->index),
                                error_code_of(e) == ERROR_CANCELLED ? ERROR_CANCELLED
                                                                    : ERROR_FAILED_PRECONDITION);
        (void) snprintf(why, sizeof(why), "exit status %d", status);
        return status ? failed(run, why) : NULL;
}

static struct error *run_one(const struct container_hook *hook, size_t index, const char *state, int pid_fd,
                             const struct hook_view *view, const struct wait *wait)
{
        struct run run = { .hook = hook,
                           .index = index,
                           .start = process_start_init(hook->path, (const char *const *) hook->argv) };
        buf_init(&run.out, OUTPUT_MAX_BYTES);
        buf_init(&run.err, OUTPUT_MAX_BYTES);
        run.start.env = (const char *const *) hook->env;
        run.start.ends_with_us = true; /* the next skiffd would run it again beside this one */
        if (view) {                    /* of peers: a copy, which the child gets, is as good */
                run.start.mount_namespace_fd = view->mounts_fd;
                run.start.root_fd = view->root_fd;
        }
        if (hook->stage == HOOK_CREATE_CONTAINER)
                run.start.namespaces_fd = pid_fd;
        struct error *e = run_timed(&run, state, wait);
        buf_done(&run.out);
        buf_done(&run.err);
        return e;
}

struct error *hooks_run(const struct container_spec *spec, enum hook_stage stage, const char *status,
                        const struct hooks_for *for_it, const struct hook_view *view, const struct wait *wait)
{
        if (!hooks_have(spec, stage))
                return NULL;
        _cleanup_(freep) char *begin = hooks_state_begin(spec, status, for_it->place);
        _cleanup_(freep) char *state = format_string("%s%d}", begin, for_it->pid);
        size_t index = 0;
        for (size_t i = 0; i < spec->n_hooks; i++)
                if (spec->hooks[i].stage == stage)
                        TRY(run_one(&spec->hooks[i], index++, state, for_it->pid_fd, view, wait));
        return NULL;
}

struct error *runtime_container_poststop(const struct container_spec *spec,
                                         const struct hook_surroundings *surroundings,
                                         const struct wait *wait)
{
        _cleanup_(hook_place_done) struct hook_place place = { .bundle = NULL };
        struct error *first = NULL;
        size_t index = 0;
        if (!hooks_have(spec, HOOK_POSTSTOP))
                return NULL;
        TRY(hook_place_find(surroundings, &place));
        _cleanup_(freep) char *begin = hooks_state_begin(spec, "stopped", &place);
        _cleanup_(freep) char *state = format_string("%s0}", begin);
        for (size_t i = 0; i < spec->n_hooks; i++) {
                if (spec->hooks[i].stage != HOOK_POSTSTOP)
                        continue;
                struct error *e = run_one(&spec->hooks[i], index++, state, -1, NULL, wait);
                if (first)
                        error_ignore(e);
                else
                        first = e;
        }
        return first;
}
