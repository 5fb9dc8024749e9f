#include "cri/client/stream_calls.h"
#include "cri/client/signals.h"
#include "cri/client/stream_status.h"

static struct error *told(struct context *context, struct error *e)
{
        if (e)
                context->error_exit_code = stream_status_not_run(error_message(e));
        return e;
}

struct error *exec_open(struct context *context, const char *container_id, char **command, size_t n_command,
                        struct stream_session_options *options, struct stream_session **out)
{
        Cri__ExecRequest request = CRI__EXEC_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ExecResponse *answer = NULL;
        request.container_id = container_id;
        request.n_cmd = n_command;
        request.cmd = (void *) command;
        request.stdin = options->in;
        request.stdout = options->out;
        request.stderr = options->err;
        request.tty = options->tty;
        struct error *e = runtime_call(context, "Exec", &request, CALL_TIMEOUT_MS, &answer);
        if (e)
                return told(context, e);
        options->url = answer->url;
        e = told(context, stream_session_open(options, out));
        options->url = NULL;
        return e;
}

struct error *attach_open(struct context *context, const char *container_id,
                          struct stream_session_options *options, struct stream_session **out)
{
        Cri__AttachRequest request = CRI__ATTACH_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__AttachResponse *answer = NULL;
        request.container_id = container_id;
        request.stdin = options->in;
        request.stdout = options->out;
        request.stderr = options->err;
        request.tty = options->tty;
        TRY(runtime_call(context, "Attach", &request, CALL_TIMEOUT_MS, &answer));
        options->url = answer->url;
        struct error *e = stream_session_open(options, out);
        options->url = NULL;
        return e;
}

struct error *exec_finish(struct context *context, struct stream_session **session, int *exit_code)
{
        struct error *e = stream_session_run(*session);
        int number = stream_session_signal(*session);
        if (!e && number == 0)
                e = told(context, stream_session_status(*session, exit_code));
        stream_session_free(TAKE(*session));
        if (number)
                signals_die(number);
        return e;
}
