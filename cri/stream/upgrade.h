/* upgrade.h - from an HTTP request to a framing: what is asked for, what of it we speak, and the answer in bytes.
 *
 * Two framings carry a session: SPDY/3.1, and WebSocket; the tunnel of port-forward is SPDY inside WebSocket messages. Under
 * each a subprotocol says which version of Kubernetes' remote command is spoken; the first of the client's list that we know
 * is taken. Threads: no state. Source: RFC 6455 4.2, RFC 9110 7.8; Kubernetes' streaming servers for the texts. */
#pragma once
#include "base/buf.h"
#include "cri/stream/control.h"
#include "cri/stream/request.h"

enum upgrade_framing { UPGRADE_SPDY, UPGRADE_WEBSOCKET, UPGRADE_TUNNEL };

struct upgrade {
        enum upgrade_framing framing;
        unsigned version; /* of the remote command protocol, 1 to 5; 0 in a port-forward over SPDY */
        bool is_base64;   /* WebSocket: text messages of base64 */
};

/* What the path and method name, before any token is looked at: 0, with the kind and where in the path the token begins, or
 * the status to refuse with. */
int upgrade_target(const struct request *request, enum control_kind *kind, const char **token);

/* Negotiates. Appends the whole answer and returns its status: 101, with *out set, or another. */
int upgrade_negotiate(const struct request *request, enum control_kind kind, struct upgrade *out,
                      struct buf *answer);

/* Appends a whole answer that refuses. fields: more header lines, each with its "\r\n"; "" for none. */
void upgrade_refuse(struct buf *answer, int status, const char *fields, const char *text);
