/* One call's life: armed, arrived, worked on, finished, freed. */
#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "cri/server_internal.h"
#include "cri/wire.h"
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <string.h>
#include <sys/eventfd.h>

#define ERROR_TEXT_MAX_BYTES                                                                                 \
        2048 /* percent-encoded it must stay below the 8 KiB of headers that C clients take */
#define QUICK_RESERVE 200
#define DEADLINE_MAX_SECONDS 1000000000LL   /* more would overflow nanoseconds */
#define ARENA_MAX_BYTES ((size_t) 96 << 20) /* 16 MiB of honest elements fit */

static void call_drop(struct rpc_call *call, int references)
{
        if (atomic_fetch_sub(&call->references, references) != references)
                return;
        struct server *server = call->server;
        bool counted = call->counted;
        if (call->grpc)
                grpc_call_unref(call->grpc);
        if (call->payload)
                grpc_byte_buffer_destroy(call->payload);
        if (call->reply)
                grpc_byte_buffer_destroy(call->reply);
        grpc_metadata_array_destroy(&call->metadata);
        if (!call->method)
                grpc_call_details_destroy(&call->details);
        arena_done(&call->arena);
        if (call->end)
                call->end(call->memory);
        free(call->memory);
        closep(&call->cancel_fd);
        (void) pthread_cond_destroy(&call->changed);
        (void) pthread_mutex_destroy(&call->lock);
        free(call);
        if (!counted)
                return;
        /* Under the lock, for once it is 0 the server may go. */
        (void) pthread_mutex_lock(&server->lock);
        if (atomic_fetch_sub(&server->live_calls, 1) == 1)
                (void) pthread_cond_broadcast(&server->changed);
        (void) pthread_mutex_unlock(&server->lock);
}

static void call_unref(struct rpc_call *call)
{
        call_drop(call, 1);
}

/* Starts a batch that ends with the tag; it holds a reference until then. False when gRPC refuses it, which only a
 * mistake of ours can cause. */
static bool start_batch(struct rpc_call *call, const grpc_op *ops, size_t n, struct tag *tag)
{
        atomic_fetch_add(&call->references, 1);
        TAG_GIVEN(tag);
        grpc_call_error e = grpc_call_start_batch(call->grpc, ops, n, tag, NULL);
        if (e == GRPC_CALL_OK)
                return true;
        log_event(LOG_LEVEL_ERROR, "grpc refused a batch", "reason", grpc_call_error_to_string(e), NULL);
        (void) atomic_fetch_sub(&call->references, 1); /* never the last: the caller has one too */
        return false;
}

/* --- the end --- */

static grpc_status_code status_of(enum error_code code)
{
        static const grpc_status_code codes[] = {
                [ERROR_CANCELLED] = GRPC_STATUS_CANCELLED,
                [ERROR_UNKNOWN] = GRPC_STATUS_UNKNOWN,
                [ERROR_INVALID_ARGUMENT] = GRPC_STATUS_INVALID_ARGUMENT,
                [ERROR_DEADLINE_EXCEEDED] = GRPC_STATUS_DEADLINE_EXCEEDED,
                [ERROR_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
                [ERROR_ALREADY_EXISTS] = GRPC_STATUS_ALREADY_EXISTS,
                [ERROR_PERMISSION_DENIED] = GRPC_STATUS_PERMISSION_DENIED,
                [ERROR_RESOURCE_EXHAUSTED] = GRPC_STATUS_RESOURCE_EXHAUSTED,
                [ERROR_FAILED_PRECONDITION] = GRPC_STATUS_FAILED_PRECONDITION,
                [ERROR_ABORTED] = GRPC_STATUS_ABORTED,
                [ERROR_OUT_OF_RANGE] = GRPC_STATUS_OUT_OF_RANGE,
                [ERROR_UNIMPLEMENTED] = GRPC_STATUS_UNIMPLEMENTED,
                [ERROR_INTERNAL] = GRPC_STATUS_INTERNAL,
                [ERROR_UNAVAILABLE] = GRPC_STATUS_UNAVAILABLE,
                [ERROR_DATA_LOSS] = GRPC_STATUS_DATA_LOSS,
                [ERROR_UNAUTHENTICATED] = GRPC_STATUS_UNAUTHENTICATED,
        };
        return (size_t) code < LENGTH(codes) ? codes[code] : GRPC_STATUS_UNKNOWN;
}

/* Sends the status (and the answer, and the first metadata where they have not gone yet). Once a call; after a cancel
 * or the deadline it is harmless. Frees e. */
static void call_finish(struct rpc_call *call, struct error *e)
{
        if (call->finished) {
                error_free(e);
                return;
        }
        call->finished = true;
        _cleanup_(freep) char *text = e ? utf8_repair(error_message(e), ERROR_TEXT_MAX_BYTES) : NULL;
        grpc_slice details = grpc_slice_from_copied_string(text ? text : "");
        grpc_op ops[3] = { 0 };
        size_t n = 0;
        if (!call->metadata_sent)
                ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        if (!e && call->reply) {
                ops[n].op = GRPC_OP_SEND_MESSAGE;
                ops[n++].data.send_message.send_message = call->reply;
        }
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = e ? status_of(error_code_of(e)) : GRPC_STATUS_OK;
        ops[n++].data.send_status_from_server.status_details = &details;
        (void) start_batch(call, ops, n, &call->done);
        grpc_slice_unref(details);
        error_free(e);
}

static bool on_done(struct rpc_call *call, bool ok)
{
        (void) ok;
        call_unref(call);
        return false;
}

/* Tells who is to finish a kept call that nobody waits for it any more. */
static void tell_if_gone(struct rpc_call *call)
{
        (void) pthread_mutex_lock(&call->lock);
        void (*gone)(void *) = call->cancelled ? call->gone : NULL;
        (void) pthread_mutex_unlock(&call->lock);
        if (gone)
                gone(call->memory);
}

/* The transport is through with the call: the client has got the status, is gone, has cancelled, or time is up. */
static bool on_closed(struct rpc_call *call, bool ok)
{
        (void) pthread_mutex_lock(&call->lock);
        call->cancelled = !ok || call->close_cancelled;
        if (call->cancelled && call->cancel_fd >= 0)
                (void) eventfd_write(call->cancel_fd, 1);
        (void) pthread_cond_broadcast(&call->changed);
        (void) pthread_mutex_unlock(&call->lock);
        tell_if_gone(call);
        call_unref(call);
        return false;
}

static bool is_cancelled(struct rpc_call *call)
{
        (void) pthread_mutex_lock(&call->lock);
        bool cancelled = call->cancelled;
        (void) pthread_mutex_unlock(&call->lock);
        return cancelled;
}

/* --- the work, on a thread of the pool --- */

/* Failures of ours are worth a line; what a client does wrong, or asks for that is gone, is its own business. */
static enum log_level level_of(enum error_code code)
{
        switch (code) {
        case ERROR_INTERNAL:
        case ERROR_UNKNOWN:
        case ERROR_DATA_LOSS:
        case ERROR_RESOURCE_EXHAUSTED:
                return LOG_LEVEL_ERROR;
        case ERROR_NOT_FOUND:
        case ERROR_CANCELLED:
        case ERROR_UNIMPLEMENTED:
        case ERROR_DEADLINE_EXCEEDED:
                return LOG_LEVEL_DEBUG;
        default:
                return LOG_LEVEL_WARN;
        }
}

static void call_log(const struct rpc_call *call, const struct error *e)
{
        char took_ms[32];
        int64_t took_us = (clock_monotonic_ns() - call->arrived_ns) / 1000;
        (void) snprintf(took_ms, sizeof(took_ms), "%lld.%03lld", (long long) took_us / 1000,
                        (long long) took_us % 1000);
        if (e)
                log_event(level_of(error_code_of(e)), "call failed", "method", rpc_method(call), "code",
                          error_code_name(error_code_of(e)), "error", error_message(e), "ms", took_ms, NULL);
        else
                log_event(LOG_LEVEL_DEBUG, "call", "method", rpc_method(call), "ms", took_ms, NULL);
}

static struct error *decode(struct rpc_call *call, grpc_slice slice)
{
        const ProtobufCMessageDescriptor *input = call->method->descriptor->input;
        TRY(wire_check(input, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice)));
        call->request = protobuf_c_message_unpack(input, &call->arena.allocator, GRPC_SLICE_LENGTH(slice),
                                                  GRPC_SLICE_START_PTR(slice));
        if (!call->request && call->arena.used_bytes > ARENA_MAX_BYTES / 2)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "the request takes more than %zu MiB when decoded",
                                 ARENA_MAX_BYTES >> 20);
        if (!call->request)
                return error_new(ERROR_INVALID_ARGUMENT, "the request is no %s", input->name);
        return NULL;
}

static struct error *read_request(struct rpc_call *call)
{
        if (!call->payload)
                return error_new(ERROR_INVALID_ARGUMENT, "the call has no request message");
        grpc_byte_buffer_reader reader;
        if (!grpc_byte_buffer_reader_init(&reader, call->payload))
                return error_new(ERROR_INVALID_ARGUMENT, "the request cannot be read");
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        grpc_byte_buffer_destroy(TAKE(call->payload));
        struct error *e = decode(call, slice);
        grpc_slice_unref(slice);
        return e;
}

static bool is_kept(struct rpc_call *call)
{
        (void) pthread_mutex_lock(&call->lock);
        bool kept = call->gone != NULL;
        (void) pthread_mutex_unlock(&call->lock);
        return kept;
}

static struct error *call_work(struct rpc_call *call)
{
        /* It may have waited in line for longer than its client. */
        if (is_cancelled(call))
                return error_new(ERROR_CANCELLED, "cancelled before it began");
        TRY(read_request(call));
        TRY(call->method->rpc->handle(call->server->context, call));
        if (is_kept(call))
                return NULL;
        if (!call->reply && !call->method->rpc->streams)
                return error_new(ERROR_INTERNAL, "the handler gave no answer");
        return NULL;
}

/* A send ends when the client has room for more, and fails when it is gone or time is up: gRPC sees to both. */
static void wait_not_sending(struct rpc_call *call)
{
        (void) pthread_mutex_lock(&call->lock);
        while (call->sending)
                (void) pthread_cond_wait(&call->changed, &call->lock);
        (void) pthread_mutex_unlock(&call->lock);
}

/* Who leads the queue starts no other send, so the sends of a call are all on this thread. */
static void work_on(struct rpc_call *call)
{
        struct error *e = call_work(call);
        if (is_kept(call)) { /* its end is another's; what is still needed is in its memory */
                arena_done(&call->arena);
                grpc_metadata_array_destroy(&call->metadata);
                grpc_metadata_array_init(&call->metadata);
                tell_if_gone(call);
                call_unref(call);
                return;
        }
        /* Both end the call at its deadline, and what the handler saw first is chance. */
        if (e && error_code_of(e) == ERROR_CANCELLED && clock_monotonic_ns() >= call->wait.deadline_ns)
                e = error_as(e, ERROR_DEADLINE_EXCEEDED);
        call_log(call, e);
        wait_not_sending(call);
        call_finish(call, e);
        call_unref(call);
}

/* One that had to wait in line. */
static void run_queued(void *argument)
{
        work_on(argument);
}

void call_run(struct rpc_call *call)
{
        struct pool *pool = call->server->pool;
        enum pool_kind kind = call->method->rpc->kind;
        work_on(call);
        pool_leave(pool, kind); /* the call may be gone */
}

/* --- arrival --- */

static int64_t deadline_ns_of(gpr_timespec deadline)
{
        if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0)
                return WAIT_FOREVER;
        gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
        if (left.tv_sec > DEADLINE_MAX_SECONDS)
                return WAIT_FOREVER;
        return clock_monotonic_ns() + left.tv_sec * 1000000000 + left.tv_nsec;
}

static struct error *unknown_method(const struct rpc_call *call)
{
        char *path = grpc_slice_to_c_string(call->details.method);
        _cleanup_(freep) char *readable = utf8_repair(path, 256);
        gpr_free(path);
        return error_new(ERROR_UNIMPLEMENTED, "unknown method %s", readable);
}

/* Why the call gets no handler, or NULL: then *here says that it is to be worked on by this thread. */
static struct error *call_place(const struct rpc_call *call, bool *here)
{
        /* kubelet takes a runtime that does not answer its probes and lists for a dead one. */
        bool is_quick = call->method && call->method->rpc && call->method->rpc->kind == POOL_QUICK;
        if (atomic_load(&call->server->live_calls) > call->server->calls_max + (is_quick ? QUICK_RESERVE : 0))
                return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %zu calls are under way",
                                 call->server->calls_max);
        if (!call->method)
                return unknown_method(call);
        if (!call->method->rpc)
                return error_new(ERROR_UNIMPLEMENTED, "%s is not implemented", rpc_method(call));
        *here = pool_enter(call->server->pool, call->method->rpc->kind);
        return *here ? NULL
                     : pool_run(call->server->pool, call->method->rpc->kind, run_queued, (void *) call);
}

static bool on_arrived(struct rpc_call *call, bool ok)
{
        if (!ok) { /* the server is shutting down */
                call_unref(call);
                return false;
        }
        call_arm(call->server, call->method);
        call->counted = true;
        atomic_fetch_add(&call->server->live_calls, 1);
        call->arrived_ns = clock_monotonic_ns();
        call->wait.deadline_ns = deadline_ns_of(call->method ? call->deadline : call->details.deadline);
        grpc_op closed = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
        closed.data.recv_close_on_server.cancelled = &call->close_cancelled;
        (void) start_batch(call, &closed, 1, &call->closed);
        atomic_fetch_add(&call->references, 1); /* the work's, where it comes to that */
        bool here = false;
        struct error *e = call_place(call, &here);
        bool refused = e != NULL;
        if (refused)
                call_finish(call, e);
        call_drop(call, refused ? 2 : 1);
        return here;
}

static bool on_sent(struct rpc_call *call, bool ok)
{
        (void) pthread_mutex_lock(&call->lock);
        call->sending = false;
        call->send_failed |= !ok;
        (void) pthread_cond_broadcast(&call->changed);
        (void) pthread_mutex_unlock(&call->lock);
        call_unref(call);
        return false;
}

static struct rpc_call *call_new(struct server *server, struct method *method)
{
        struct rpc_call *call = NEW(struct rpc_call);
        call->server = server;
        call->method = method;
        call->arrived = (struct tag){ on_arrived, call };
        call->closed = (struct tag){ on_closed, call };
        call->sent = (struct tag){ on_sent, call };
        call->done = (struct tag){ on_done, call };
        atomic_init(&call->references, 1); /* of the request for its arrival */
        call->cancel_fd = -1;
        call->wait.cancel_fd = -1;
        grpc_metadata_array_init(&call->metadata);
        if (!method)
                grpc_call_details_init(&call->details);
        arena_init(&call->arena, ARENA_MAX_BYTES);
        (void) pthread_mutex_init(&call->lock, NULL);
        (void) pthread_cond_init(&call->changed, NULL);
        return call;
}

void call_arm(struct server *server, struct method *method)
{
        if (atomic_load(&server->stopping))
                return;
        struct rpc_call *call = call_new(server, method);
        TAG_GIVEN(&call->arrived);
        grpc_call_error e;
        if (method)
                e = grpc_server_request_registered_call(server->grpc, method->registered, &call->grpc,
                                                        &call->deadline, &call->metadata, &call->payload,
                                                        server->queue, server->queue, &call->arrived);
        else
                e = grpc_server_request_call(server->grpc, &call->grpc, &call->details, &call->metadata,
                                             server->queue, server->queue, &call->arrived);
        if (e == GRPC_CALL_OK)
                return;
        log_event(LOG_LEVEL_ERROR, "grpc takes no request", "reason", grpc_call_error_to_string(e), NULL);
        call_unref(call);
}

/* --- for handlers --- */

const ProtobufCMessage *rpc_request(const struct rpc_call *call)
{
        return call->request;
}

const char *rpc_method(const struct rpc_call *call)
{
        return call->method->descriptor->name;
}

char *rpc_header(const struct rpc_call *call, const char *name)
{
        for (size_t i = 0; i < call->metadata.count; i++) {
                const grpc_metadata *one = &call->metadata.metadata[i];
                if (grpc_slice_str_cmp(one->key, name) != 0)
                        continue;
                const size_t len = GRPC_SLICE_LENGTH(one->value);
                if (memchr(GRPC_SLICE_START_PTR(one->value), '\0', len))
                        return NULL;
                return format_string("%.*s", (int) len, (const char *) GRPC_SLICE_START_PTR(one->value));
        }
        return NULL;
}

const struct wait *rpc_wait(struct rpc_call *call)
{
        (void) pthread_mutex_lock(&call->lock);
        /* Without a descriptor to be had the deadline still ends the wait. */
        if (call->cancel_fd < 0)
                call->cancel_fd = eventfd(call->cancelled ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
        call->wait.cancel_fd = call->cancel_fd;
        (void) pthread_mutex_unlock(&call->lock);
        return &call->wait;
}

/* Packs straight into the slice that gRPC sends. */
static struct error *pack(const ProtobufCMessage *message, grpc_byte_buffer **out)
{
        size_t len_bytes = protobuf_c_message_get_packed_size(message);
        if (len_bytes > SERVER_MESSAGE_MAX_BYTES)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "the answer has %zu bytes, more than %d",
                                 len_bytes, SERVER_MESSAGE_MAX_BYTES);
        grpc_slice slice = grpc_slice_malloc(len_bytes);
        (void) protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
        struct error *e = NULL;
#ifdef SKIFF_FAULTS
        /* A Go client refuses the whole answer for one bad string. */
        e = wire_check(message->descriptor, GRPC_SLICE_START_PTR(slice), len_bytes);
        if (e)
                e = error_as(error_wrap(e, "answer"), ERROR_INTERNAL);
#endif
        if (!e)
                *out = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        return e;
}

int64_t rpc_arrived_ns(const struct rpc_call *call)
{
        return call->arrived_ns;
}

struct error *rpc_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
        if (call->reply || call->method->rpc->streams)
                return error_new(ERROR_INTERNAL, "%s: a second answer", rpc_method(call));
        return pack(message, &call->reply);
}

void *rpc_memory(struct rpc_call *call, size_t memory_bytes, void (*end)(void *memory))
{
        call->memory = NEW_ARRAY(char, memory_bytes);
        call->end = end;
        return call->memory;
}

void rpc_keep(struct rpc_call *call, void (*gone)(void *memory))
{
        atomic_fetch_add(&call->references, 1); /* rpc_finish's */
        (void) pthread_mutex_lock(&call->lock);
        call->gone = gone;
        (void) pthread_mutex_unlock(&call->lock);
}

void rpc_finish(struct rpc_call *call, const ProtobufCMessage *answer, struct error *e)
{
        if (!e)
                e = pack(answer, &call->reply);
        call_log(call, e);
        call_finish(call, e);
        call_unref(call);
}

/* Waits for the message before and takes its place; false when the client is gone. */
static bool begin_send(struct rpc_call *call)
{
        wait_not_sending(call);
        (void) pthread_mutex_lock(&call->lock);
        call->sending = !call->send_failed && !call->cancelled;
        bool begun = call->sending;
        (void) pthread_mutex_unlock(&call->lock);
        return begun;
}

/* buffer is taken; NULL: the head alone. */
static struct error *buffer_send(struct rpc_call *call, grpc_byte_buffer *buffer)
{
        if (!begin_send(call)) {
                grpc_byte_buffer_destroy(buffer);
                return error_new(ERROR_CANCELLED, "the client is gone");
        }
        grpc_op ops[2] = { 0 };
        size_t n = 0;
        if (!call->metadata_sent)
                ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        call->metadata_sent = true;
        if (buffer) {
                ops[n].op = GRPC_OP_SEND_MESSAGE;
                ops[n++].data.send_message.send_message = buffer;
        }
        bool started = start_batch(call, ops, n, &call->sent);
        grpc_byte_buffer_destroy(buffer);
        if (!started)
                return error_new(ERROR_INTERNAL, "send: refused by gRPC");
        return NULL;
}

struct error *rpc_send_head(struct rpc_call *call)
{
        return call->metadata_sent ? NULL : buffer_send(call, NULL);
}

struct error *rpc_send(struct rpc_call *call, const ProtobufCMessage *message)
{
        grpc_byte_buffer *buffer = NULL;
        TRY(pack(message, &buffer));
        return buffer_send(call, buffer);
}

static struct error *buffer_of(const void *bytes, size_t len_bytes, grpc_byte_buffer **out)
{
        if (len_bytes > SERVER_MESSAGE_MAX_BYTES)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "a message of %zu bytes, more than %d", len_bytes,
                                 SERVER_MESSAGE_MAX_BYTES);
        grpc_slice slice = grpc_slice_from_copied_buffer(bytes, len_bytes);
        *out = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        return NULL;
}

struct error *rpc_send_packed(struct rpc_call *call, const void *bytes, size_t len_bytes)
{
        grpc_byte_buffer *buffer = NULL;
        TRY(buffer_of(bytes, len_bytes, &buffer));
        return buffer_send(call, buffer);
}

struct error *rpc_send_last_packed(struct rpc_call *call, const void *bytes, size_t len_bytes)
{
        if (call->reply)
                return error_new(ERROR_INTERNAL, "%s: a second last message", rpc_method(call));
        return buffer_of(bytes, len_bytes, &call->reply);
}
