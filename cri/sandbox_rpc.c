/* Sandboxes: unpack, check the shape, ask the node, pack. */
#include "api/cri.pb-c.h"
#include "cri/batches.h"
#include "cri/daemon.h"
#include "cri/validate.h"
#include "pods/node.h"
#include <string.h>

static struct error *reply_to(void *call, const ProtobufCMessage *message)
{
        return rpc_reply(call, message);
}

static struct error *check_handler(const char *handler)
{
        if (*handler && strcmp(handler, "skiff") != 0)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "runtime_handler: there is no handler \"%s\"; skiff has only"
                                 " its own, \"\"",
                                 handler);
        return NULL;
}

/* Whose trace the request is part of, by the client's headers. */
static void trace_of(const struct rpc_call *call, struct trace *out)
{
        _cleanup_(freep) char *parent = rpc_header(call, "traceparent"),
                              *state = rpc_header(call, "tracestate"), *baggage = rpc_header(call, "baggage");
        trace_take(out, parent, state, baggage);
}

static struct error *run_pod(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__RunPodSandboxRequest *request = (const void *) rpc_request(call);
        Cri__RunPodSandboxResponse response = CRI__RUN_POD_SANDBOX_RESPONSE__INIT;
        _cleanup_(freep) char *id = NULL;
        _cleanup_(trace_done) struct trace trace = { 0 };
        TRY(validate_pod_config(request->config));
        TRY(check_handler(request->runtime_handler));
        trace_of(call, &trace);
        TRY_WRAP(node_run_pod(daemon->node, request->config, request->runtime_handler, &trace, rpc_wait(call),
                              &id),
                 "run pod %s/%s", request->config->metadata->namespace_, request->config->metadata->name);
        response.pod_sandbox_id = id;
        return rpc_reply(call, &response.base);
}

static struct error *stop_pod(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StopPodSandboxRequest *request = (const void *) rpc_request(call);
        Cri__StopPodSandboxResponse response = CRI__STOP_POD_SANDBOX_RESPONSE__INIT;
        _cleanup_(trace_done) struct trace trace = { 0 };
        if (!*request->pod_sandbox_id)
                return validate_id("pod_sandbox_id", request->pod_sandbox_id);
        trace_of(call, &trace);
        TRY_WRAP(node_stop_pod(daemon->node, request->pod_sandbox_id, &trace), "stop pod %s",
                 request->pod_sandbox_id);
        return rpc_reply(call, &response.base);
}

static struct error *remove_pod(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__RemovePodSandboxRequest *request = (const void *) rpc_request(call);
        Cri__RemovePodSandboxResponse response = CRI__REMOVE_POD_SANDBOX_RESPONSE__INIT;
        _cleanup_(trace_done) struct trace trace = { 0 };
        if (!*request->pod_sandbox_id)
                return validate_id("pod_sandbox_id", request->pod_sandbox_id);
        trace_of(call, &trace);
        TRY_WRAP(node_remove_pod(daemon->node, request->pod_sandbox_id, &trace), "remove pod %s",
                 request->pod_sandbox_id);
        return rpc_reply(call, &response.base);
}

static struct error *update_pod(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__UpdatePodSandboxResourcesRequest *request = (const void *) rpc_request(call);
        Cri__UpdatePodSandboxResourcesResponse response = CRI__UPDATE_POD_SANDBOX_RESOURCES_RESPONSE__INIT;
        TRY(validate_id("pod_sandbox_id", request->pod_sandbox_id));
        TRY_WRAP(node_update_pod(daemon->node, request, rpc_wait(call)), "update pod %s",
                 request->pod_sandbox_id);
        return rpc_reply(call, &response.base);
}

static struct error *pod_status(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__PodSandboxStatusRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        TRY(validate_id("pod_sandbox_id", request->pod_sandbox_id));
        return node_pod_status(daemon->node, request->pod_sandbox_id, request->verbose, &reply);
}

static struct error *list_pods(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ListPodSandboxRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        return node_list_pods(daemon->node, request->filter, &reply);
}

static struct error *stream_pods(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StreamPodSandboxesRequest *request = (const void *) rpc_request(call);
        _cleanup_(batches_done) struct batches batches = BATCHES_NONE;
        const struct node_reply reply = { batches_take, &batches };
        TRY(node_list_pods(daemon->node, request->filter, &reply));
        return batches_send(&batches, call);
}

const struct rpc sandbox_rpcs[] = {
        { RUNTIME_SERVICE, "RunPodSandbox", POOL_POD, false, run_pod },
        { RUNTIME_SERVICE, "StopPodSandbox", POOL_POD, false, stop_pod },
        { RUNTIME_SERVICE, "RemovePodSandbox", POOL_POD, false, remove_pod },
        { RUNTIME_SERVICE, "UpdatePodSandboxResources", POOL_POD, false, update_pod },
        { RUNTIME_SERVICE, "PodSandboxStatus", POOL_QUICK, false, pod_status },
        { RUNTIME_SERVICE, "ListPodSandbox", POOL_QUICK, false, list_pods },
        { RUNTIME_SERVICE, "StreamPodSandboxes", POOL_LISTEN, true, stream_pods },
};
const size_t n_sandbox_rpcs = LENGTH(sandbox_rpcs);
