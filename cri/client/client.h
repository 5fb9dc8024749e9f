/* client.h - a small gRPC client over a unix socket, by protobuf-c's descriptors.
 *
 * One call at a time. Threads: one. Source: grpc/grpc.h. */
#pragma once
#include "base/error.h"
#include <protobuf-c/protobuf-c.h>
#include <signal.h>
#include <stdint.h>

struct client;

/* Connects to "unix:///PATH" (a bare /PATH will do). Errors: INVALID_ARGUMENT for another endpoint; UNAVAILABLE when
 * nobody listens there, with what to do about it. */
MUST_CHECK struct error *client_open(const char *endpoint, struct client **out);
void client_free(struct client *client);
DEFINE_FREEP(struct client, client_free)

/* Calls a method of the service. *answer is a message of the method's output, the caller's (client_answer_free). The
 * error has the status' code and text. timeout_ms 0: none. When *interrupted (may be NULL) becomes nonzero the call is
 * cancelled. */
MUST_CHECK struct error *client_call(struct client *client, const ProtobufCServiceDescriptor *service,
                                     const char *method, const ProtobufCMessage *request, int64_t timeout_ms,
                                     const volatile sig_atomic_t *interrupted, ProtobufCMessage **answer);

/* Takes the messages of a stream, each valid during the call. */
struct client_taker {
        void (*take)(void *context, const ProtobufCMessage *message);
        void *context;
};

/* As client_call without a timeout, for a method that answers with a stream: each message goes to the taker. */
MUST_CHECK struct error *client_stream(struct client *client, const ProtobufCServiceDescriptor *service,
                                       const char *method, const ProtobufCMessage *request,
                                       const volatile sig_atomic_t *interrupted,
                                       const struct client_taker *taker);

/* For _cleanup_: frees the message that the pointer points to. */
void client_answer_freep(void *answer);
