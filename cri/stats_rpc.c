/* Stats: what pods and containers use, as CRI's own messages and as metrics by name. */
#include "api/cri.pb-c.h"
#include "cri/batches.h"
#include "cri/daemon.h"
#include "cri/validate.h"
#include "pods/node.h"

static struct error *reply_to(void *call, const ProtobufCMessage *message)
{
        return rpc_reply(call, message);
}

static struct error *container_stats(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ContainerStatsRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        TRY(validate_id("container_id", request->container_id));
        return node_container_stats(daemon->node, request->container_id, &reply);
}

static struct error *list_container_stats(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ListContainerStatsRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        return node_list_container_stats(daemon->node, request->filter, &reply);
}

static struct error *pod_stats(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__PodSandboxStatsRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        TRY(validate_id("pod_sandbox_id", request->pod_sandbox_id));
        return node_pod_stats(daemon->node, request->pod_sandbox_id, &reply);
}

static struct error *list_pod_stats(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ListPodSandboxStatsRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        return node_list_pod_stats(daemon->node, request->filter, &reply);
}

static struct error *metric_descriptors(void *context, struct rpc_call *call)
{
        const struct node_reply reply = { reply_to, call };
        (void) context;
        return node_metric_descriptors(&reply);
}

static struct error *list_pod_metrics(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const struct node_reply reply = { reply_to, call };
        return node_list_pod_metrics(daemon->node, &reply);
}

static struct error *stream_container_stats(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StreamContainerStatsRequest *request = (const void *) rpc_request(call);
        _cleanup_(batches_done) struct batches batches = BATCHES_NONE;
        const struct node_reply reply = { batches_take, &batches };
        TRY(node_list_container_stats(daemon->node, request->filter, &reply));
        return batches_send(&batches, call);
}

static struct error *stream_pod_stats(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StreamPodSandboxStatsRequest *request = (const void *) rpc_request(call);
        _cleanup_(batches_done) struct batches batches = BATCHES_NONE;
        const struct node_reply reply = { batches_take, &batches };
        TRY(node_list_pod_stats(daemon->node, request->filter, &reply));
        return batches_send(&batches, call);
}

static struct error *stream_pod_metrics(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        _cleanup_(batches_done) struct batches batches = BATCHES_NONE;
        const struct node_reply reply = { batches_take, &batches };
        TRY(node_list_pod_metrics(daemon->node, &reply));
        return batches_send(&batches, call);
}

/* They may walk a writable layer: not among the quick ones. */
const struct rpc stats_rpcs[] = {
        { RUNTIME_SERVICE, "ContainerStats", POOL_POD, false, container_stats },
        { RUNTIME_SERVICE, "ListContainerStats", POOL_POD, false, list_container_stats },
        { RUNTIME_SERVICE, "PodSandboxStats", POOL_POD, false, pod_stats },
        { RUNTIME_SERVICE, "ListPodSandboxStats", POOL_POD, false, list_pod_stats },
        { RUNTIME_SERVICE, "ListMetricDescriptors", POOL_POD, false, metric_descriptors },
        { RUNTIME_SERVICE, "ListPodSandboxMetrics", POOL_POD, false, list_pod_metrics },
        { RUNTIME_SERVICE, "StreamContainerStats", POOL_LISTEN, true, stream_container_stats },
        { RUNTIME_SERVICE, "StreamPodSandboxStats", POOL_LISTEN, true, stream_pod_stats },
        { RUNTIME_SERVICE, "StreamPodSandboxMetrics", POOL_LISTEN, true, stream_pod_metrics },
};
const size_t n_stats_rpcs = LENGTH(stats_rpcs);
