/* websocket.h - the server's end of Kubernetes' channels over WebSocket: a message is a channel's number and its bytes.
 *
 * In base64 messages are text, the channel a digit. In version 5 a message of 255 and a channel says that its sender has ended that
 * channel. Threads: one. Source: RFC 6455; Kubernetes' apimachinery/pkg/util/httpstream/wsstream. */
#pragma once
#include "cri/stream/mux.h"

/* A mux on the transport, which it borrows, without any channel yet. NULL when there is no memory. */
struct mux *websocket_new(struct transport *transport, struct scratch *scratch, bool is_base64,
                          unsigned version);
