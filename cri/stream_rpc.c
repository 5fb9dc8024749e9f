/* Exec, Attach, PortForward: what cannot work is refused here, else a URL is told; opened it is when a client has come. */
#include "api/cri.pb-c.h"
#include "base/buf.h"
#include "cri/daemon.h"
#include "cri/streamer.h"
#include "cri/validate.h"
#include "pods/node.h"

/* As Go prints a list of strings: what clients of other runtimes are told of a command that failed. */
static char *command_text(const char *const *argv, size_t n)
{
        _cleanup_(buf_done) struct buf text;
        struct error *e = NULL;
        buf_init(&text, CONTROL_TEXT_MAX);
        for (size_t i = 0; i < n && !e; i++)
                e = buf_append_format(&text, "%s%s", i ? " " : "[", argv[i]);
        if (!e)
                e = buf_append_format(&text, "]");
        error_ignore(e); /* too long to be told: cut */
        return buf_take_text(&text);
}

static struct error *exec(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ExecRequest *request = (const void *) rpc_request(call);
        Cri__ExecResponse response = CRI__EXEC_RESPONSE__INIT;
        const struct control_message token = { .streams = { request->stdin, request->stdout, request->stderr,
                                                            request->tty, 0, 0 } };
        _cleanup_(freep) char *described = NULL, *url = NULL;
        TRY(validate_id("container_id", request->container_id));
        TRY(node_check_exec(daemon->node, request));
        described = command_text((const char *const *) request->cmd, request->n_cmd);
        TRY(streamer_offer(daemon->streamer, CONTROL_EXEC, &request->base, &token, described, &url));
        response.url = url;
        return rpc_reply(call, &response.base);
}

static struct error *attach(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__AttachRequest *request = (const void *) rpc_request(call);
        Cri__AttachResponse response = CRI__ATTACH_RESPONSE__INIT;
        const struct control_message token = { .streams = { request->stdin, request->stdout, request->stderr,
                                                            request->tty, 0, 0 } };
        _cleanup_(freep) char *url = NULL;
        TRY(validate_id("container_id", request->container_id));
        TRY(node_check_attach(daemon->node, request));
        TRY(streamer_offer(daemon->streamer, CONTROL_ATTACH, &request->base, &token, request->container_id,
                           &url));
        response.url = url;
        return rpc_reply(call, &response.base);
}

static struct error *port_forward(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__PortForwardRequest *request = (const void *) rpc_request(call);
        Cri__PortForwardResponse response = CRI__PORT_FORWARD_RESPONSE__INIT;
        struct control_message token = { .n_ports = (uint32_t) request->n_port };
        _cleanup_(freep) char *url = NULL;
        TRY(validate_id("pod_sandbox_id", request->pod_sandbox_id));
        if (request->n_port > CONTROL_PORTS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "port: more than %d", CONTROL_PORTS_MAX);
        TRY(node_check_forward(daemon->node, request));
        for (size_t i = 0; i < request->n_port; i++)
                token.ports[i] = (uint16_t) request->port[i];
        TRY(streamer_offer(daemon->streamer, CONTROL_FORWARD, &request->base, &token, request->pod_sandbox_id,
                           &url));
        response.url = url;
        return rpc_reply(call, &response.base);
}

struct error *stream_open(void *context, enum control_kind kind, const ProtobufCMessage *request,
                          uint16_t rows, uint16_t columns, const struct wait *wait, struct session_fds *out)
{
        struct daemon *daemon = context;
        switch (kind) {
        case CONTROL_EXEC:
                return node_open_exec(daemon->node, (const void *) request, rows, columns, wait, out);
        case CONTROL_ATTACH:
                return node_open_attach(daemon->node, (const void *) request, rows, columns, wait, out);
        case CONTROL_FORWARD:
                return node_open_forward(daemon->node, (const void *) request, wait, out);
        }
        return error_new(ERROR_INTERNAL, "no such kind of session");
}

const struct rpc stream_rpcs[] = {
        { RUNTIME_SERVICE, "Exec", POOL_QUICK, false, exec },
        { RUNTIME_SERVICE, "Attach", POOL_QUICK, false, attach },
        { RUNTIME_SERVICE, "PortForward", POOL_QUICK, false, port_forward },
};
const size_t n_stream_rpcs = LENGTH(stream_rpcs);
