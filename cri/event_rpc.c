/* GetContainerEvents: what happens from now on, for as long as the client listens. */
#include "api/cri.pb-c.h"
#include "cri/daemon.h"
#include "pods/node.h"

static struct error *container_events(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        _cleanup_(node_listener_freep) struct node_listener *listener = NULL;
        const void *bytes = NULL;
        size_t len_bytes = 0;
        TRY(node_listen(daemon->node, &listener));
        TRY(rpc_send_head(call)); /* whoever has that is told of all that follows */
        for (;;) {
                TRY(node_listener_next(listener, rpc_wait(call), &bytes, &len_bytes));
                TRY(rpc_send_packed(call, bytes, len_bytes));
        }
}

const struct rpc event_rpcs[] = {
        { RUNTIME_SERVICE, "GetContainerEvents", POOL_LISTEN, true, container_events },
};
const size_t n_event_rpcs = LENGTH(event_rpcs);
