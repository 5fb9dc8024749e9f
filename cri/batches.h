/* batches.h - an answer's list as messages of a stream.
 *
 * CRI's Stream... calls answer what their List... calls do, in parts, and have the list under the same number: so each message
 * is packed from a part of the list's answer. Cut by bytes: an item that is larger than a batch has one of its own.
 *
 * Threads: one at a time. Source: api/cri.proto. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include "cri/server.h"
#include "pods/node.h"

#define BATCH_BYTES (256 << 10)

struct batches {
        struct buf *parts;
        size_t n, size;
};
#define BATCHES_NONE ((struct batches){ NULL, 0, 0 })
void batches_done(struct batches *batches); /* for _cleanup_ */

/* Packs all items of the answer, whose only field is their list. Where struct node_reply has it as its send, batches is the
 * context. Errors: INTERNAL for another kind of message; RESOURCE_EXHAUSTED. */
MUST_CHECK struct error *batches_take(void *batches, const ProtobufCMessage *answer);

/* Sends them; none is a stream without messages. Errors: as rpc_send. */
MUST_CHECK struct error *batches_send(struct batches *batches, struct rpc_call *call);
