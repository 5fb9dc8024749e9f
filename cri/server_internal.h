/* server_internal.h - what server.c (the socket, the queue) and call.c (one call's life) share.
 *
 * A call has up to four operations in the queue, each with a tag in struct rpc_call: its arrival, the end of the stream
 * as the transport sees it (closed), the last message sent (sent), and the end that we sent (done). It has a reference
 * for each operation under way and one for the work on it; the last one out frees it. */
#pragma once
#include "cri/arena.h"
#include "cri/server.h"
#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

struct rpc_call;

struct tag {
        /* On the thread that leads the queue. True: the call has been entered into the pool and is to be worked on there
         * and then, by call_run. */
        bool (*run)(struct rpc_call *call, bool ok);
        struct rpc_call *call;
};

struct method {
        struct server *server;
        const ProtobufCMethodDescriptor *descriptor;
        const struct rpc *rpc; /* NULL: not implemented */
        void *registered;
        char *path;
};

struct server {
        grpc_server *grpc;
        grpc_completion_queue *queue;
        bool started;
        struct pool *pool;
        void *context;
        struct method *methods;
        size_t n_methods, calls_max;
        atomic_size_t live_calls; /* that have arrived and are not freed */
        pthread_mutex_t lock;
        pthread_cond_t changed; /* shut_down, queue_ended, or live_calls is 0 */
        bool shut_down, queue_ended;
        atomic_bool stopping;
};

struct rpc_call {
        struct server *server;
        struct method *method; /* NULL for the catch-all */
        struct tag arrived, closed, sent, done;
        atomic_int references;
        bool counted;

        grpc_call *grpc;
        gpr_timespec deadline;
        grpc_metadata_array metadata;
        grpc_byte_buffer *payload;
        grpc_call_details details; /* catch-all only */
        int close_cancelled;

        int64_t arrived_ns;
        struct arena arena;
        ProtobufCMessage *request;
        grpc_byte_buffer *reply;
        bool metadata_sent, finished;
        void *memory; /* rpc_memory */
        void (*end)(void *memory);

        pthread_mutex_t lock; /* below this */
        pthread_cond_t changed;
        void (*gone)(void *memory); /* NULL: not kept */
        bool cancelled, sending, send_failed;
        int cancel_fd;
        struct wait wait;
};

/* TSan does not see that memory goes through the queue in gRPC's uninstrumented code. */
#if defined(__SANITIZE_THREAD__)
#define SKIFF_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SKIFF_TSAN 1
#endif
#endif
#ifdef SKIFF_TSAN
void __tsan_acquire(void *p);
void __tsan_release(void *p);
#define TAG_GIVEN(tag) __tsan_release(tag)
#define TAG_TAKEN(tag) __tsan_acquire(tag)
#else
#define TAG_GIVEN(tag) ((void) (tag))
#define TAG_TAKEN(tag) ((void) (tag))
#endif

/* Waits for the next call of the method (NULL: of any other method). Does nothing once the server is stopping. */
void call_arm(struct server *server, struct method *method);

/* Works on a call whose tag's run returned true, on this thread, which may wait. */
void call_run(struct rpc_call *call);
