/* Not there yet: WebSocket and port-forward. */
#include "cri/stream/forward.h"
#include "cri/stream/remote.h"
#include "cri/stream/websocket.h"

struct purpose *forward_new(const struct purpose *common)
{
        return remote_new(common);
}

struct mux *websocket_new(struct transport *transport, struct scratch *scratch, bool is_base64,
                          unsigned version)
{
        (void) transport, (void) scratch, (void) is_base64, (void) version;
        return NULL;
}
