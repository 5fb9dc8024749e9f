#include "cri/client/client.h"
#include "base/clock.h"
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* gRPC's queue cannot be woken by a signal, so Ctrl-C is looked for this often. */
#define INTERRUPT_CHECK_MS 100

struct client {
        grpc_channel *channel;
        grpc_completion_queue *queue;
};

static void log_nothing(gpr_log_func_args *args)
{
        (void) args; /* what goes wrong is in the status */
}

/* gRPC says of a missing socket "failed to connect to all addresses"; a plain connect says why. */
static struct error *probe(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof(address.sun_path))
                return error_new(ERROR_INVALID_ARGUMENT, "%s: a socket's path has at most %zu bytes", path,
                                 sizeof(address.sun_path) - 1);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_errno(errno, "socket");
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) == 0)
                return NULL;
        if (errno == EACCES || errno == EPERM)
                return error_new(ERROR_PERMISSION_DENIED, "%s: %s; the socket is for root", path,
                                 strerror(errno));
        return error_new(ERROR_UNAVAILABLE,
                         "nobody answers at %s: %s; start skiffd, or name another socket with "
                         "--endpoint or CONTAINER_RUNTIME_ENDPOINT",
                         path, strerror(errno));
}

static struct error *endpoint_path(const char *endpoint, const char **out)
{
        static const char scheme[] = "unix://";
        *out = strncmp(endpoint, scheme, strlen(scheme)) == 0 ? endpoint + strlen(scheme) : endpoint;
        if (**out != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "endpoint \"%s\" is not unix:///PATH", endpoint);
        return NULL;
}

struct error *client_open(const char *endpoint, struct client **out)
{
        const char *path;
        TRY(endpoint_path(endpoint, &path));
        TRY(probe(path));
        grpc_arg args[] = {
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                  .value.integer = -1 },
                { .type = GRPC_ARG_INTEGER, .key = (char *) GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0 },
        };
        grpc_channel_args all = { .num_args = LENGTH(args), .args = args };
        _cleanup_(freep) char *target = format_string("unix://%s", path);
        struct client *client = NEW(struct client);
        gpr_set_log_function(log_nothing);
        grpc_init();
        grpc_channel_credentials *insecure = grpc_insecure_credentials_create();
        client->queue = grpc_completion_queue_create_for_next(NULL);
        client->channel = grpc_channel_create(target, insecure, &all);
        grpc_channel_credentials_release(insecure);
        *out = client;
        return NULL;
}

void client_free(struct client *client)
{
        if (!client)
                return;
        grpc_channel_destroy(client->channel);
        grpc_completion_queue_shutdown(client->queue);
        while (grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
               GRPC_QUEUE_SHUTDOWN)
                ;
        grpc_completion_queue_destroy(client->queue);
        free(client);
        grpc_shutdown_blocking();
}

void client_answer_freep(void *answer)
{
        ProtobufCMessage **message = answer;
        if (*message)
                protobuf_c_message_free_unpacked(*message, NULL);
        *message = NULL;
}

/* What one call receives. */
struct received {
        grpc_metadata_array initial, trailing;
        grpc_byte_buffer *message;
        grpc_status_code status;
        grpc_slice details;
};

static void received_done(struct received *received)
{
        grpc_metadata_array_destroy(&received->initial);
        grpc_metadata_array_destroy(&received->trailing);
        if (received->message)
                grpc_byte_buffer_destroy(received->message);
        grpc_slice_unref(received->details);
}

static enum error_code code_of(grpc_status_code status)
{
        static const enum error_code codes[] = {
                [GRPC_STATUS_CANCELLED] = ERROR_CANCELLED,
                [GRPC_STATUS_UNKNOWN] = ERROR_UNKNOWN,
                [GRPC_STATUS_INVALID_ARGUMENT] = ERROR_INVALID_ARGUMENT,
                [GRPC_STATUS_DEADLINE_EXCEEDED] = ERROR_DEADLINE_EXCEEDED,
                [GRPC_STATUS_NOT_FOUND] = ERROR_NOT_FOUND,
                [GRPC_STATUS_ALREADY_EXISTS] = ERROR_ALREADY_EXISTS,
                [GRPC_STATUS_PERMISSION_DENIED] = ERROR_PERMISSION_DENIED,
                [GRPC_STATUS_RESOURCE_EXHAUSTED] = ERROR_RESOURCE_EXHAUSTED,
                [GRPC_STATUS_FAILED_PRECONDITION] = ERROR_FAILED_PRECONDITION,
                [GRPC_STATUS_ABORTED] = ERROR_ABORTED,
                [GRPC_STATUS_OUT_OF_RANGE] = ERROR_OUT_OF_RANGE,
                [GRPC_STATUS_UNIMPLEMENTED] = ERROR_UNIMPLEMENTED,
                [GRPC_STATUS_INTERNAL] = ERROR_INTERNAL,
                [GRPC_STATUS_UNAVAILABLE] = ERROR_UNAVAILABLE,
                [GRPC_STATUS_DATA_LOSS] = ERROR_DATA_LOSS,
                [GRPC_STATUS_UNAUTHENTICATED] = ERROR_UNAUTHENTICATED,
        };
        return (size_t) status < LENGTH(codes) ? codes[status] : ERROR_UNKNOWN;
}

static gpr_timespec deadline_of(int64_t timeout_ms)
{
        return timeout_ms > 0 ? gpr_time_add(gpr_now(GPR_CLOCK_REALTIME),
                                             gpr_time_from_millis(timeout_ms, GPR_TIMESPAN))
                              : gpr_inf_future(GPR_CLOCK_REALTIME);
}

/* Starts what the ops say and waits until it is done. */
static struct error *batch(struct client *client, grpc_call *call, const grpc_op *ops, size_t n,
                           const volatile sig_atomic_t *interrupted)
{
        grpc_call_error refused = grpc_call_start_batch(call, ops, n, call, NULL);
        if (refused != GRPC_CALL_OK)
                return error_new(ERROR_INTERNAL, "grpc: %s", grpc_call_error_to_string(refused));
        for (bool cancelled = false;;) {
                grpc_event event =
                        grpc_completion_queue_next(client->queue, deadline_of(INTERRUPT_CHECK_MS), NULL);
                if (event.type == GRPC_OP_COMPLETE)
                        return NULL;
                if (interrupted && *interrupted && !cancelled) {
                        (void) grpc_call_cancel(call, NULL);
                        cancelled = true; /* the batch still ends */
                }
        }
}

static grpc_byte_buffer *pack(const ProtobufCMessage *request)
{
        grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(request));
        (void) protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(slice));
        grpc_byte_buffer *packed = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        return packed;
}

static grpc_op status_op(struct received *received)
{
        grpc_op op = { 0 };
        op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
        op.data.recv_status_on_client.trailing_metadata = &received->trailing;
        op.data.recv_status_on_client.status = &received->status;
        op.data.recv_status_on_client.status_details = &received->details;
        return op;
}

static grpc_op message_op(struct received *received)
{
        grpc_op op = { 0 };
        op.op = GRPC_OP_RECV_MESSAGE;
        op.data.recv_message.recv_message = &received->message;
        return op;
}

static struct error *run_batch(struct client *client, grpc_call *call, const ProtobufCMessage *request,
                               const volatile sig_atomic_t *interrupted, struct received *received)
{
        grpc_byte_buffer *sent = pack(request);
        grpc_op ops[] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },
                          { .op = GRPC_OP_SEND_MESSAGE },
                          { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT },
                          { .op = GRPC_OP_RECV_INITIAL_METADATA },
                          message_op(received),
                          status_op(received) };
        ops[1].data.send_message.send_message = sent;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &received->initial;
        struct error *e = batch(client, call, ops, LENGTH(ops), interrupted);
        grpc_byte_buffer_destroy(sent);
        return e;
}

static struct error *status_error(const struct received *received)
{
        if (received->status == GRPC_STATUS_OK)
                return NULL;
        _cleanup_(freep) char *text =
                dup_bytes(GRPC_SLICE_START_PTR(received->details), GRPC_SLICE_LENGTH(received->details));
        return error_new(code_of(received->status), "%s", *text ? text : "no reason given");
}

static struct error *read_answer(const struct received *received, const ProtobufCMessageDescriptor *output,
                                 ProtobufCMessage **answer)
{
        TRY(status_error(received));
        grpc_byte_buffer_reader reader;
        if (!received->message || !grpc_byte_buffer_reader_init(&reader, received->message))
                return error_new(ERROR_INTERNAL, "no answer");
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        *answer = protobuf_c_message_unpack(output, NULL, GRPC_SLICE_LENGTH(slice),
                                            GRPC_SLICE_START_PTR(slice));
        grpc_slice_unref(slice);
        return *answer ? NULL : error_new(ERROR_INTERNAL, "the answer is no %s", output->name);
}

/* A call of the method and what it receives. */
struct running {
        grpc_call *call;
        struct received received;
        const ProtobufCMessageDescriptor *output;
};

static struct error *running_init(struct client *client, const ProtobufCServiceDescriptor *service,
                                  const char *method, int64_t timeout_ms, struct running *out)
{
        const ProtobufCMethodDescriptor *found =
                protobuf_c_service_descriptor_get_method_by_name(service, method);
        if (!found)
                return error_new(ERROR_INTERNAL, "%s has no method %s", service->name, method);
        _cleanup_(freep) char *path = format_string("/%s/%s", service->name, method);
        *out = (struct running){ .received = { .details = grpc_empty_slice() }, .output = found->output };
        grpc_metadata_array_init(&out->received.initial);
        grpc_metadata_array_init(&out->received.trailing);
        grpc_slice path_slice = grpc_slice_from_copied_string(path);
        out->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue,
                                             path_slice, NULL, deadline_of(timeout_ms), NULL);
        grpc_slice_unref(path_slice);
        return NULL;
}

static void running_done(struct running *running)
{
        received_done(&running->received);
        grpc_call_unref(running->call);
}

struct error *client_call(struct client *client, const ProtobufCServiceDescriptor *service,
                          const char *method, const ProtobufCMessage *request, int64_t timeout_ms,
                          const volatile sig_atomic_t *interrupted, ProtobufCMessage **answer)
{
        struct running running;
        TRY(running_init(client, service, method, timeout_ms, &running));
        struct error *e = run_batch(client, running.call, request, interrupted, &running.received);
        if (!e)
                e = read_answer(&running.received, running.output, answer);
        running_done(&running);
        return e;
}

static struct error *send_request(struct client *client, struct running *running,
                                  const ProtobufCMessage *request, const volatile sig_atomic_t *interrupted)
{
        grpc_byte_buffer *sent = pack(request);
        grpc_op ops[] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },
                          { .op = GRPC_OP_SEND_MESSAGE },
                          { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT },
                          { .op = GRPC_OP_RECV_INITIAL_METADATA } };
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &running->received.initial;
        ops[1].data.send_message.send_message = sent;
        struct error *e = batch(client, running->call, ops, LENGTH(ops), interrupted);
        grpc_byte_buffer_destroy(sent);
        return e;
}

/* *more is false at the stream's end. */
static struct error *take_message(struct client *client, struct running *running,
                                  const volatile sig_atomic_t *interrupted, const struct client_taker *taker,
                                  bool *more)
{
        struct received *received = &running->received;
        _cleanup_(client_answer_freep) ProtobufCMessage *message = NULL;
        grpc_op op = message_op(received);
        TRY(batch(client, running->call, &op, 1, interrupted));
        *more = received->message != NULL;
        if (!*more)
                return NULL;
        received->status = GRPC_STATUS_OK; /* it comes last */
        TRY(read_answer(received, running->output, &message));
        grpc_byte_buffer_destroy(received->message);
        received->message = NULL;
        taker->take(taker->context, message);
        return NULL;
}

static struct error *run_stream(struct client *client, struct running *running,
                                const ProtobufCMessage *request, const volatile sig_atomic_t *interrupted,
                                const struct client_taker *taker)
{
        TRY(send_request(client, running, request, interrupted));
        for (bool more = true; more;)
                TRY(take_message(client, running, interrupted, taker, &more));
        grpc_op op = status_op(&running->received);
        TRY(batch(client, running->call, &op, 1, interrupted));
        return status_error(&running->received);
}

struct error *client_stream(struct client *client, const ProtobufCServiceDescriptor *service,
                            const char *method, const ProtobufCMessage *request,
                            const volatile sig_atomic_t *interrupted, const struct client_taker *taker)
{
        struct running running;
        TRY(running_init(client, service, method, 0, &running));
        struct error *e = run_stream(client, &running, request, interrupted, taker);
        running_done(&running);
        return e;
}
