/* exec: a command in a container that runs. */
#include "cri/client/signals.h"
#include "cri/client/stream_calls.h"
#include "cri/client/terminal.h"
#include <getopt.h>
#include <string.h>

struct exec_spec {
        bool input, tty, has_timeout;
        int64_t timeout_s;
        const char *container;
        char **command;
        size_t n_command;
};

static struct error *parse(int argc, char **argv, struct exec_spec *spec)
{
        static const struct option flags[] = { { "interactive", no_argument, NULL, 'i' },
                                               { "stdin", no_argument, NULL, 'i' },
                                               { "tty", no_argument, NULL, 't' },
                                               { "timeout", required_argument, NULL, 'T' },
                                               { 0 } };
        for (int flag; (flag = getopt_long(argc, argv, "+it", flags, NULL)) != -1;) {
                if (flag == '?')
                        return USAGE_ERROR("unknown flag %s, or one without its value", argv[optind - 1]);
                spec->input |= flag == 'i';
                spec->tty |= flag == 't';
                spec->has_timeout |= flag == 'T';
                if (flag == 'T')
                        TRY(parse_seconds(optarg, &spec->timeout_s));
        }
        int first = optind + 1;
        if (first < argc && strcmp(argv[first], "--") == 0)
                first++;
        if (first >= argc)
                return USAGE_ERROR("a container and a command are needed");
        if (spec->has_timeout && (spec->input || spec->tty))
                return USAGE_ERROR("--timeout goes with neither -i nor -t");
        spec->container = argv[optind];
        spec->command = argv + first;
        spec->n_command = (size_t) (argc - first);
        return NULL;
}

static void write_out(const ProtobufCBinaryData *data, FILE *to)
{
        if (data->len)
                (void) fwrite(data->data, 1, data->len, to);
        (void) fflush(to);
}

/* ExecSync is the call that knows a timeout. */
static struct error *run_for(struct context *context, const struct exec_spec *spec, const char *id)
{
        Cri__ExecSyncRequest request = CRI__EXEC_SYNC_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ExecSyncResponse *answer = NULL;
        request.container_id = id;
        request.timeout = spec->timeout_s;
        request.n_cmd = spec->n_command;
        request.cmd = (void *) spec->command;
        /* The command's own time is the daemon's to keep; none here, or a long command would lose its output. */
        TRY(runtime_call(context, "ExecSync", &request, 0, &answer));
        write_out(&answer->stdout, stdout);
        write_out(&answer->stderr, stderr);
        context->exit_code = answer->exit_code;
        return NULL;
}

static struct error *run(struct context *context, const struct exec_spec *spec, const char *id)
{
        struct stream_session_options options = { .in = spec->input,
                                                  .out = true,
                                                  .err = !spec->tty,
                                                  .tty = spec->tty,
                                                  .in_fd = STDIN_FILENO,
                                                  .out_fd = STDOUT_FILENO,
                                                  .err_fd = STDERR_FILENO };
        _cleanup_(stream_session_freep) struct stream_session *session = NULL;
        if (spec->tty) {
                TRY(signals_catch());
                TRY(signals_catch_terminal());
                context->interrupted = &signals_ending;
        }
        TRY(exec_open(context, id, spec->command, spec->n_command, &options, &session));
        return exec_finish(context, &session, &context->exit_code);
}

struct error *exec_command(struct context *context, int argc, char **argv)
{
        struct exec_spec spec = { 0 };
        _cleanup_(object_done) struct object object = { 0 };
        TRY(parse(argc, argv, &spec));
        if (spec.tty)
                TRY(terminal_need(STDIN_FILENO));
        TRY(object_find(context, OBJECT_CONTAINER, spec.container, &object));
        return spec.has_timeout ? run_for(context, &spec, object.id) : run(context, &spec, object.id);
}
