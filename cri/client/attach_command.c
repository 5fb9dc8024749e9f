/* attach: to the streams that a container was started with. */
#include "base/json.h"
#include "base/wait.h"
#include "cri/client/signals.h"
#include "cri/client/stream_calls.h"
#include <getopt.h>
#include <string.h>

/* CRI has no call that waits for a container's end. */
#define END_MS 1000
#define END_EVERY_MS 10

struct attach_spec {
        bool no_input;
        const char *container;
        struct detach_keys keys;
};

static struct error *parse(int argc, char **argv, struct attach_spec *spec)
{
        static const struct option flags[] = { { "no-stdin", no_argument, NULL, 'n' },
                                               { "detach-keys", required_argument, NULL, 'k' },
                                               { 0 } };
        TRY(detach_keys_parse(DETACH_KEYS_DEFAULT, &spec->keys));
        for (int flag; (flag = getopt_long(argc, argv, "+", flags, NULL)) != -1;) {
                if (flag == '?')
                        return USAGE_ERROR("unknown flag %s, or one without its value", argv[optind - 1]);
                spec->no_input |= flag == 'n';
                if (flag == 'k')
                        TRY_WRAP(detach_keys_parse(optarg, &spec->keys), "usage");
        }
        if (optind + 1 != argc)
                return USAGE_ERROR("one container is needed");
        spec->container = argv[optind];
        return NULL;
}

struct kind {
        bool in, tty;
};

static struct error *open_as(struct context *context, const char *id, struct kind kind,
                             struct stream_session_options *options, struct stream_session **out)
{
        options->in = kind.in;
        options->tty = kind.tty;
        options->err = !kind.tty;
        return attach_open(context, id, options, out);
}

/* The most is asked for first: a server refuses what the container does not have. */
static struct error *open_most(struct context *context, const struct attach_spec *spec, const char *id,
                               struct stream_session_options *options, struct stream_session **out)
{
        static const struct kind kinds[] = {
                { true, true }, { true, false }, { false, true }, { false, false }
        };
        for (size_t i = spec->no_input ? 2 : 0;; i++) {
                struct error *e = open_as(context, id, kinds[i], options, out);
                if (!e || error_code_of(e) != ERROR_INVALID_ARGUMENT || i + 1 == LENGTH(kinds))
                        return e;
                error_ignore(e); /* it has less */
        }
}

/* What the container has is no field of CRI's. containerd, which refuses nothing, tells the container's configuration as JSON
 * to whoever asks for everything. */
static struct error *ask_kind(struct context *context, const char *id, bool *is_told, struct kind *out)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
        request.container_id = id;
        request.verbose = true;
        TRY(runtime_call(context, "ContainerStatus", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_info; i++) {
                _cleanup_(json_freep) struct json *info = NULL;
                const char *text = answer->info[i]->value;
                error_ignore(json_parse(text, strlen(text), &info)); /* any text may be there */
                const struct json *config = json_get(info, "config");
                if (json_type_of(config) != JSON_OBJECT)
                        continue;
                *is_told = true;
                out->in = json_boolean(json_get(config, "stdin"), false);
                out->tty = json_boolean(json_get(config, "tty"), false);
        }
        return NULL;
}

static struct error *open_session(struct context *context, const struct attach_spec *spec, const char *id,
                                  struct stream_session_options *options, struct stream_session **out)
{
        bool is_told = false;
        struct kind kind = { 0 };
        TRY(ask_kind(context, id, &is_told, &kind));
        if (!is_told)
                return open_most(context, spec, id, options, out);
        kind.in &= !spec->no_input;
        return open_as(context, id, kind, options, out);
}

/* When a session ends by itself that is the container's end, or one will not be known: that of the input ends it as well with
 * containerd. */
static struct error *exit_code_of(struct context *context, const char *id, int *out)
{
        struct wait wait = wait_of_ms(END_MS);
        for (;;) {
                _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
                TRY(container_status_patiently(context, id, &answer));
                if (answer->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED)
                        *out = answer->status->exit_code;
                if (answer->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED ||
                    wait_left_ms(&wait) == 0)
                        return NULL;
                error_ignore(
                        wait_delay(&wait, END_EVERY_MS, "the end")); /* the deadline is looked at above */
        }
}

struct error *attach_command(struct context *context, int argc, char **argv)
{
        struct attach_spec spec = { 0 };
        _cleanup_(object_done) struct object object = { 0 };
        _cleanup_(stream_session_freep) struct stream_session *session = NULL;
        struct stream_session_options options = { .out = true,
                                                  .in_fd = STDIN_FILENO,
                                                  .out_fd = STDOUT_FILENO,
                                                  .err_fd = STDERR_FILENO,
                                                  .keys = &spec.keys };
        TRY(parse(argc, argv, &spec));
        TRY(object_find(context, OBJECT_CONTAINER, spec.container, &object));
        TRY(signals_catch());
        TRY(signals_catch_terminal());
        context->interrupted = &signals_ending;
        TRY(open_session(context, &spec, object.id, &options, &session));
        TRY(stream_session_run(session));
        int number = stream_session_signal(session);
        bool detached = stream_session_detached(session);
        if (!detached && !number)
                TRY(stream_session_status(session, &context->exit_code));
        stream_session_free(TAKE(session));
        if (number)
                signals_die(number);
        if (!detached)
                return exit_code_of(context, object.id, &context->exit_code);
        (void) fprintf(stderr, "\nskiff attach: %s runs on\n", spec.container);
        return NULL;
}
