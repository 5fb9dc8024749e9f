/* Containers: unpack, check the shape, ask the node, pack. */
#include "api/cri.pb-c.h"
#include "cri/batches.h"
#include "cri/daemon.h"
#include "cri/validate.h"
#include "pods/node.h"
#include <stdio.h>

/* What an exec may print whatever the others do: the output of a probe. */
#define EXEC_OWN_BYTES (64 << 10)
#define ID_SHOWN_BYTES 80 /* of an id in an error: a whole one, with room */

static struct error *reply_to(void *call, const ProtobufCMessage *message)
{
        return rpc_reply(call, message);
}

static struct error *create_container(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__CreateContainerRequest *request = (const void *) rpc_request(call);
        Cri__CreateContainerResponse response = CRI__CREATE_CONTAINER_RESPONSE__INIT;
        _cleanup_(freep) char *id = NULL;
        TRY(validate_id("pod_sandbox_id", request->pod_sandbox_id));
        TRY(validate_container_config(request->config));
        TRY_WRAP(node_create_container(daemon->node, request, rpc_wait(call), &id), "create container %s",
                 request->config->metadata->name);
        response.container_id = id;
        return rpc_reply(call, &response.base);
}

static struct error *start_container(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StartContainerRequest *request = (const void *) rpc_request(call);
        Cri__StartContainerResponse response = CRI__START_CONTAINER_RESPONSE__INIT;
        TRY(validate_id("container_id", request->container_id));
        TRY_WRAP(node_start_container(daemon->node, request->container_id, rpc_wait(call)),
                 "start container %s", request->container_id);
        return rpc_reply(call, &response.base);
}

/* A stop that waits for its container to end: no thread does. */
struct stop_call {
        struct node_waiter waiter; /* the first: it leads back here */
        struct rpc_call *call;
        struct node *node;
        char id[ID_SHOWN_BYTES];
};

static void stop_done(struct node_waiter *waiter, struct error *e)
{
        struct stop_call *stop = (struct stop_call *) (void *) waiter;
        Cri__StopContainerResponse response = CRI__STOP_CONTAINER_RESPONSE__INIT;
        rpc_finish(stop->call, &response.base, e ? error_wrap(e, "stop container %s", stop->id) : NULL);
}

static void stop_gone(void *memory)
{
        struct stop_call *stop = memory;
        if (node_waiter_leave(stop->node, &stop->waiter))
                stop_done(&stop->waiter,
                          error_new(ERROR_CANCELLED, "the client does not wait any more; the stop goes on"));
}

static struct error *stop_container(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StopContainerRequest *request = (const void *) rpc_request(call);
        if (!*request->container_id)
                return validate_id("container_id", request->container_id);
        struct stop_call *stop = rpc_memory(call, sizeof(*stop), NULL);
        stop->waiter.done = stop_done;
        stop->call = call;
        stop->node = daemon->node;
        (void) snprintf(stop->id, sizeof(stop->id), "%s", request->container_id);
        rpc_keep(call, stop_gone);
        node_stop_container(daemon->node, request->container_id, request->timeout, &stop->waiter);
        return NULL;
}

static struct error *remove_container(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__RemoveContainerRequest *request = (const void *) rpc_request(call);
        Cri__RemoveContainerResponse response = CRI__REMOVE_CONTAINER_RESPONSE__INIT;
        if (!*request->container_id)
                return validate_id("container_id", request->container_id);
        TRY_WRAP(node_remove_container(daemon->node, request->container_id), "remove container %s",
                 request->container_id);
        return rpc_reply(call, &response.base);
}

static struct error *container_status(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ContainerStatusRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        TRY(validate_id("container_id", request->container_id));
        return node_container_status(daemon->node, request->container_id, request->verbose, &reply);
}

static struct error *list_containers(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ListContainersRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        return node_list_containers(daemon->node, request->filter, &reply);
}

static struct error *stream_containers(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StreamContainersRequest *request = (const void *) rpc_request(call);
        _cleanup_(batches_done) struct batches batches = BATCHES_NONE;
        const struct node_reply reply = { batches_take, &batches };
        TRY(node_list_containers(daemon->node, request->filter, &reply));
        return batches_send(&batches, call);
}

static struct error *update_container(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__UpdateContainerResourcesRequest *request = (const void *) rpc_request(call);
        Cri__UpdateContainerResourcesResponse response = CRI__UPDATE_CONTAINER_RESOURCES_RESPONSE__INIT;
        TRY(validate_id("container_id", request->container_id));
        if (!request->linux)
                return error_new(ERROR_INVALID_ARGUMENT, "linux is missing");
        TRY_WRAP(node_update_container(daemon->node, request->container_id, request->linux),
                 "update container %s", request->container_id);
        return rpc_reply(call, &response.base);
}

static struct error *reopen_log(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ReopenContainerLogRequest *request = (const void *) rpc_request(call);
        Cri__ReopenContainerLogResponse response = CRI__REOPEN_CONTAINER_LOG_RESPONSE__INIT;
        TRY(validate_id("container_id", request->container_id));
        TRY_WRAP(node_reopen_log(daemon->node, request->container_id, rpc_wait(call)),
                 "reopen the log of container %s", request->container_id);
        return rpc_reply(call, &response.base);
}

static void share_end(void *memory)
{
        share_done(memory);
}

/* What it may keep of output is given back when the answer has gone out: it is in memory until then. */
static struct error *exec_sync(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ExecSyncRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        TRY(validate_exec_sync(request));
        struct share *share = rpc_memory(call, sizeof(*share), share_end);
        share_init(share, &daemon->exec_output, EXEC_OWN_BYTES);
        TRY_WRAP(node_exec_sync(daemon->node, request, share, rpc_wait(call), &reply), "exec in container %s",
                 request->container_id);
        return NULL;
}

const struct rpc container_rpcs[] = {
        { RUNTIME_SERVICE, "CreateContainer", POOL_POD, false, create_container },
        { RUNTIME_SERVICE, "StartContainer", POOL_POD, false, start_container },
        { RUNTIME_SERVICE, "StopContainer", POOL_POD, false, stop_container },
        { RUNTIME_SERVICE, "RemoveContainer", POOL_POD, false, remove_container },
        { RUNTIME_SERVICE, "ContainerStatus", POOL_QUICK, false, container_status },
        { RUNTIME_SERVICE, "ListContainers", POOL_QUICK, false, list_containers },
        { RUNTIME_SERVICE, "StreamContainers", POOL_LISTEN, true, stream_containers },
        { RUNTIME_SERVICE, "UpdateContainerResources", POOL_POD, false, update_container },
        { RUNTIME_SERVICE, "ReopenContainerLog", POOL_POD, false, reopen_log },
        { RUNTIME_SERVICE, "ExecSync", POOL_EXEC, false, exec_sync },
};
const size_t n_container_rpcs = LENGTH(container_rpcs);
