/* server.h - a gRPC server on a unix socket, over gRPC's C core. It knows no call by name.
 *
 * Services come as protobuf-c descriptors, handlers as a table of struct rpc. One thread of the server's own turns the
 * completion queue and does all socket I/O; handlers run on a pool's threads and may wait. What takes long and is no work
 * need not: a handler can keep its call open, return, and have it finished later from wherever that happens (rpc_keep).
 * A request is checked on the wire (cri/wire.h), decoded into a capped arena, and lives until its handler returns. A
 * method without a handler, and an unknown one, answer UNIMPLEMENTED with their names.
 *
 * Bounds: 16 MiB a message, no compression, calls_max live calls, error texts of 2 KiB. A connection may have all of the
 * calls, for kubelet has one for everything, and what is over a bound must be told so, not wait unseen. The socket
 * is 0600 from birth, and that is the access control. Starting it removes whatever socket is at the path, a live one
 * too: hold an instance (base/instance.h) first.
 *
 * Source: grpc/grpc.h, protobuf-c.h. */
#pragma once
#include "base/error.h"
#include "base/pool.h"
#include "base/wait.h"
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_MESSAGE_MAX_BYTES (16 << 20)

struct server;
struct rpc_call; /* one call under way; belongs to the server, valid until its handler returns */

struct rpc {
        const char *service; /* "runtime.v1.RuntimeService" */
        const char *method;
        enum pool_kind kind; /* the queue of the pool that it waits in */
        bool streams;        /* answers by rpc_send, any number of times; others by rpc_reply, once */
        /* Returns NULL, or an error whose code and message become the status. */
        struct error *(*handle)(void *context, struct rpc_call *call);
};

/* --- for handlers; all on the handler's own thread --- */

/* The request, unpacked and checked, of the method's own type; valid until the handler returns. */
const ProtobufCMessage *rpc_request(const struct rpc_call *call);
const char *rpc_method(const struct rpc_call *call); /* "RunPodSandbox" */
int64_t rpc_arrived_ns(const struct rpc_call *call); /* monotonic: before it waited in line for a thread */

/* What the client sent as a header by this name (lower case), the caller's; NULL: none, or it holds a NUL. The first of several. */
char *rpc_header(const struct rpc_call *call, const char *name);

/* The call's deadline, and a descriptor that is readable once the client is gone, has cancelled, or the deadline has
 * passed. The descriptor is made when this is first called. Valid until the handler returns. */
const struct wait *rpc_wait(struct rpc_call *call);

/* The answer: packed at once, so the message may be freed; sent when the handler returns NULL. Errors: INTERNAL for a
 * second answer; RESOURCE_EXHAUSTED for one of more than 16 MiB. */
MUST_CHECK struct error *rpc_reply(struct rpc_call *call, const ProtobufCMessage *message);

/* Sends a stream's head, before there is a message: the client knows by it that the call has begun. Errors: as rpc_send. */
MUST_CHECK struct error *rpc_send_head(struct rpc_call *call);

/* Sends one message of a stream. Blocks until the client has taken the previous one, so a slow client costs no memory.
 * Errors: CANCELLED when the client is gone; RESOURCE_EXHAUSTED as rpc_reply. */
MUST_CHECK struct error *rpc_send(struct rpc_call *call, const ProtobufCMessage *message);

/* The same with a message that is packed already. */
MUST_CHECK struct error *rpc_send_packed(struct rpc_call *call, const void *bytes, size_t len_bytes);

/* The stream's last message, packed: it goes out with the status, as a plain answer does, when the handler returns NULL. Errors:
 * INTERNAL for a second one; RESOURCE_EXHAUSTED as rpc_reply. */
MUST_CHECK struct error *rpc_send_last_packed(struct rpc_call *call, const void *bytes, size_t len_bytes);

/* memory_bytes, zeroed, that are the call's until it is freed, which is when its answer has gone out as well; end(memory) is
 * called then, on any thread (NULL: nothing is to be done). Once a call. */
void *rpc_memory(struct rpc_call *call, size_t memory_bytes, void (*end)(void *memory));

/* Keeps the call open when the handler returns, which must return NULL then. From here to rpc_finish the server holds a
 * reference for whoever is to call it. gone(memory), with the call's memory, is called when the client has gone, has
 * cancelled, or its time is up, on any thread, perhaps twice, and not once the call is freed: it must not wait. Once a
 * call; not for streams. */
void rpc_keep(struct rpc_call *call, void (*gone)(void *memory));

/* Ends a kept call, once, from any thread, before its handler has returned too: with answer (packed at once), or with e,
 * which is freed. The call, and its memory, may be freed when this returns, or be gone already. */
void rpc_finish(struct rpc_call *call, const ProtobufCMessage *answer, struct error *e);

/* --- for the daemon --- */

struct server_config {
        const char *listen;                                /* "unix:///run/skiff/skiff.sock" */
        const ProtobufCServiceDescriptor *const *services; /* NULL-terminated */
        const struct rpc *rpcs;                            /* outlive the server */
        size_t n_rpcs;
        size_t calls_max; /* live calls; past it RESOURCE_EXHAUSTED. 0: 4000 */
};

/* Binds and listens; clients can connect, and wait until server_start. It sets the umask for a moment: call it before
 * there are other threads. Errors: INVALID_ARGUMENT for a bad endpoint, or an rpc that no service has; INTERNAL. */
MUST_CHECK struct error *server_open(const struct server_config *config, struct server **out);

/* Starts to serve. pool and context must outlive server_free. Errors: INTERNAL. */
MUST_CHECK struct error *server_start(struct server *server, struct pool *pool, void *context);

/* Takes no more calls, waits grace_ms for those under way, then cancels them and waits for their handlers to return, some
 * seconds at most. Frees the server and removes the socket. False when handlers are still at work: then the server is left
 * as it is, what handlers use must not be freed, and the process is to end. NULL is fine. A server that was not started
 * only goes. */
bool server_stop(struct server *server, int64_t grace_ms);

size_t server_live_calls(const struct server *server); /* for tests and metrics */
