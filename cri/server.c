/* The socket, the completion queue and who leads it, the start and the stop. */
#include "cri/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "cri/server_internal.h"
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define CALLS_MAX_DEFAULT 4000
/* More than calls_max and its reserve for quick ones. */
#define STREAMS_MAX 5000
/* After a cancel most handlers return within milliseconds. Some cannot be cancelled (the end of a pod, a plugin's run): what
 * they leave is what a kill leaves, and the next start finishes it. */
#define CANCELLED_MAX_MS 5000
#define CLOSED_MAX_MS 50

static void grpc_log(gpr_log_func_args *args)
{
        log_event(args->severity == GPR_LOG_SEVERITY_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG, "grpc",
                  "message", args->message, NULL);
}

static grpc_channel_args *server_args(void)
{
        static grpc_arg args[] = {
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                  .value.integer = SERVER_MESSAGE_MAX_BYTES },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
                  .value.integer = SERVER_MESSAGE_MAX_BYTES },
                /* Identity only: a gzip request is inflated whole before its size is looked at. */
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
                  .value.integer = 1 },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION,
                  .value.integer = 0 },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_MAX_CONCURRENT_STREAMS,
                  .value.integer = STREAMS_MAX },
                /* Go clients with keepalive every 10 s are otherwise cut off as too_many_pings. */
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                  .value.integer = 5000 },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *) GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS,
                  .value.integer = 1 },
        };
        static grpc_channel_args all = { .num_args = LENGTH(args), .args = args };
        return &all;
}

static struct error *check_endpoint(const char *listen)
{
        static const char scheme[] = "unix://";
        if (strncmp(listen, scheme, strlen(scheme)) != 0 || listen[strlen(scheme)] != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "endpoint \"%s\" is not unix:///PATH", listen);
        size_t max = sizeof(((struct sockaddr_un *) 0)->sun_path) - 1;
        if (strlen(listen + strlen(scheme)) > max)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "endpoint \"%s\": a socket's path has at most %zu bytes", listen, max);
        return NULL;
}

static struct error *socket_bind(struct server *server, const char *listen)
{
        grpc_server_credentials *insecure = grpc_insecure_server_credentials_create();
        mode_t mask = umask(0177); /* chmod afterwards would leave a gap */
        int bound = grpc_server_add_http2_port(server->grpc, listen, insecure);
        (void) umask(mask);
        grpc_server_credentials_release(insecure);
        if (!bound)
                return error_new(ERROR_INTERNAL, "listen on %s: refused; the log has gRPC's reason", listen);
        return NULL;
}

static const struct rpc *find_rpc(const struct server_config *config, const char *service, const char *method)
{
        for (size_t i = 0; i < config->n_rpcs; i++)
                if (strcmp(config->rpcs[i].service, service) == 0 &&
                    strcmp(config->rpcs[i].method, method) == 0)
                        return &config->rpcs[i];
        return NULL;
}

static void register_service(struct server *server, const struct server_config *config,
                             const ProtobufCServiceDescriptor *service)
{
        for (unsigned i = 0; i < service->n_methods; i++) {
                struct method *method = &server->methods[server->n_methods++];
                *method = (struct method){
                        .server = server,
                        .descriptor = &service->methods[i],
                        .rpc = find_rpc(config, service->name, service->methods[i].name),
                        .path = format_string("/%s/%s", service->name, service->methods[i].name),
                };
                /* The one request message comes with the call. */
                method->registered = grpc_server_register_method(
                        server->grpc, method->path, NULL, GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
        }
}

static struct error *register_methods(struct server *server, const struct server_config *config)
{
        size_t n = 0, found = 0;
        for (size_t i = 0; config->services[i]; i++)
                n += config->services[i]->n_methods;
        server->methods = NEW_ARRAY(struct method, n);
        for (size_t i = 0; config->services[i]; i++)
                register_service(server, config, config->services[i]);
        for (size_t i = 0; i < n; i++)
                found += server->methods[i].rpc != NULL;
        if (found != config->n_rpcs)
                return error_new(ERROR_INVALID_ARGUMENT, "%zu of %zu handlers belong to no method",
                                 config->n_rpcs - found, config->n_rpcs);
        return NULL;
}

/* gRPC must have been shut down before, or never started. */
static void server_free(struct server *server)
{
        for (size_t i = 0; i < server->n_methods; i++)
                free(server->methods[i].path);
        free(server->methods);
        (void) pthread_cond_destroy(&server->changed);
        (void) pthread_mutex_destroy(&server->lock);
        free(server);
        grpc_shutdown_blocking();
}

static struct server *server_new(const struct server_config *config)
{
        struct server *server = NEW(struct server);
        server->calls_max = config->calls_max ? config->calls_max : CALLS_MAX_DEFAULT;
        (void) pthread_mutex_init(&server->lock, NULL);
        pthread_condattr_t monotonic;
        (void) pthread_condattr_init(&monotonic);
        (void) pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&server->changed, &monotonic);
        (void) pthread_condattr_destroy(&monotonic);
        gpr_set_log_function(grpc_log);
        grpc_init();
        server->queue = grpc_completion_queue_create_for_next(NULL);
        server->grpc = grpc_server_create(server_args(), NULL);
        grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
        return server;
}

struct error *server_open(const struct server_config *config, struct server **out)
{
        TRY(check_endpoint(config->listen));
        struct server *server = server_new(config);
        struct error *e = register_methods(server, config);
        if (!e)
                e = socket_bind(server, config->listen);
        if (e) {
                (void) server_stop(server, 0);
                return e;
        }
        *out = server;
        return NULL;
}

static void set_flag(struct server *server, bool *flag)
{
        (void) pthread_mutex_lock(&server->lock);
        *flag = true;
        (void) pthread_cond_broadcast(&server->changed);
        (void) pthread_mutex_unlock(&server->lock);
}

/* One thread of the pool leads: it waits for what comes. With a call in its hands it lets another lead, and works on the
 * call itself: the answer does not wait for a thread to wake. */
static void lead(void *argument)
{
        struct server *server = argument;
        for (;;) {
                grpc_event event =
                        grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
                if (event.type == GRPC_QUEUE_SHUTDOWN) {
                        set_flag(server, &server->queue_ended);
                        return;
                }
                TAG_TAKEN(event.tag);
                if (event.tag == server) { /* grpc_server_shutdown_and_notify */
                        set_flag(server, &server->shut_down);
                        continue;
                }
                struct tag *tag = event.tag;
                if (!tag->run(tag->call, event.success))
                        continue;
                /* Fails only without any thread, and this is one: at worst this one leads again after the call. */
                error_ignore(pool_run(server->pool, POOL_SERVER, lead, server));
                call_run(tag->call);
                return;
        }
}

struct error *server_start(struct server *server, struct pool *pool, void *context)
{
        server->pool = pool;
        server->context = context;
        grpc_server_start(server->grpc);
        for (size_t i = 0; i < server->n_methods; i++)
                call_arm(server, &server->methods[i]);
        call_arm(server, NULL);
        TRY_WRAP(pool_run(pool, POOL_SERVER, lead, server), "start the server's thread");
        server->started = true;
        return NULL;
}

/* Waits until every call of ours is freed and (closed) gRPC has ended the server, which takes until all connections are;
 * false when timeout_ms was not enough. */
static bool wait_ended(struct server *server, bool closed, int64_t timeout_ms)
{
        int64_t until_ns = clock_monotonic_ns() + timeout_ms * 1000000;
        struct timespec until = { .tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000 };
        int timed_out = 0;
        (void) pthread_mutex_lock(&server->lock);
        while ((atomic_load(&server->live_calls) != 0 || (closed && !server->shut_down)) && !timed_out)
                timed_out = pthread_cond_timedwait(&server->changed, &server->lock, &until) == ETIMEDOUT;
        (void) pthread_mutex_unlock(&server->lock);
        return !timed_out;
}

static void queue_drain(struct server *server)
{
        grpc_completion_queue_shutdown(server->queue);
        for (;;) {
                grpc_event event =
                        grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
                if (event.type == GRPC_QUEUE_SHUTDOWN)
                        break;
                if (event.tag != server) {
                        struct tag *tag = event.tag;
                        (void) tag->run(tag->call, event.success); /* no call arrives any more */
                }
        }
        grpc_completion_queue_destroy(server->queue);
}

bool server_stop(struct server *server, int64_t grace_ms)
{
        if (!server)
                return true;
        atomic_store(&server->stopping, true);
        TAG_GIVEN(server);
        grpc_server_shutdown_and_notify(server->grpc, server->queue, server);
        if (!server->started) {
                grpc_server_cancel_all_calls(server->grpc);
                queue_drain(server);
                grpc_server_destroy(server->grpc);
                server_free(server);
                return true;
        }
        /* Without a call a connection is a client's that has more to ask, or nothing to say: none is waited for. */
        if (!wait_ended(server, false, grace_ms) || !wait_ended(server, true, CLOSED_MAX_MS))
                grpc_server_cancel_all_calls(server->grpc);
        if (!wait_ended(server, true, CANCELLED_MAX_MS)) {
                log_event(LOG_LEVEL_WARN, "calls do not end in time; the next start finishes them", NULL);
                return false;
        }
        grpc_server_destroy(server->grpc);
        grpc_completion_queue_shutdown(server->queue);
        (void) pthread_mutex_lock(&server->lock);
        while (!server->queue_ended)
                (void) pthread_cond_wait(&server->changed, &server->lock);
        (void) pthread_mutex_unlock(&server->lock);
        grpc_completion_queue_destroy(server->queue);
        server_free(server);
        return true;
}

size_t server_live_calls(const struct server *server)
{
        return atomic_load(&server->live_calls);
}
