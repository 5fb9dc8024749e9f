/* A daemon for tests/integration/test_server.py: the server with a few handlers over CRI's descriptors, each of which
 * shows one thing that a server must do right. server_program unix:///PATH; SIGTERM stops it. */
#include "api/cri.pb-c.h"
#include "base/clock.h"
#include "base/log.h"
#include "cri/server.h"
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int cancelled;
static struct server *server;

/* Counters, as the answer. */
static struct error *version(void *context, struct rpc_call *call)
{
        (void) context;
        _cleanup_(freep) char *text =
                format_string("cancelled=%d live=%zu", atomic_load(&cancelled), server_live_calls(server));
        Cri__VersionResponse answer = CRI__VERSION_RESPONSE__INIT;
        answer.version = ((const Cri__VersionRequest *) rpc_request(call))->version;
        answer.runtime_name = "test";
        answer.runtime_version = text;
        return rpc_reply(call, &answer.base);
}

/* Waits until the client is gone. */
static struct error *status(void *context, struct rpc_call *call)
{
        (void) context;
        struct error *e = wait_fd(rpc_wait(call), -1, 0, "status");
        atomic_fetch_add(&cancelled, 1);
        return e;
}

/* `timeout` bytes of output. */
static struct error *exec_sync(void *context, struct rpc_call *call)
{
        (void) context;
        const Cri__ExecSyncRequest *request = (const void *) rpc_request(call);
        size_t len_bytes = (size_t) request->timeout;
        _cleanup_(freep) uint8_t *bytes = NEW_ARRAY(uint8_t, len_bytes + 1);
        memset(bytes, 'x', len_bytes);
        Cri__ExecSyncResponse answer = CRI__EXEC_SYNC_RESPONSE__INIT;
        answer.stdout = (ProtobufCBinaryData){ len_bytes, bytes };
        return rpc_reply(call, &answer.base);
}

/* An error whose text is the id, many times over for "long". */
static struct error *container_status(void *context, struct rpc_call *call)
{
        (void) context;
        const Cri__ContainerStatusRequest *request = (const void *) rpc_request(call);
        struct error *e =
                error_new(ERROR_NOT_FOUND, "container \"%s\" 100%%\nsecond line", request->container_id);
        for (int i = 0; request->verbose && i < 200; i++)
                e = error_wrap(e, "gr\xc3\xbc\xc3\x9f"
                                  "e aus \xe2\x82\xac \xff!");
        return e;
}

/* Half a second of work. */
static struct error *stop_container(void *context, struct rpc_call *call)
{
        (void) context;
        TRY(wait_delay(rpc_wait(call), 500, "stop"));
        Cri__StopContainerResponse answer = CRI__STOP_CONTAINER_RESPONSE__INIT;
        return rpc_reply(call, &answer.base);
}

static struct error *no_answer(void *context, struct rpc_call *call)
{
        (void) context;
        (void) call;
        return NULL;
}

/* Three answers of a stream. */
static struct error *stream_images(void *context, struct rpc_call *call)
{
        (void) context;
        static const char *const ids[] = { "one", "two", "three" };
        for (size_t i = 0; i < LENGTH(ids); i++) {
                Cri__Image image = CRI__IMAGE__INIT, *images[] = { &image };
                Cri__StreamImagesResponse answer = CRI__STREAM_IMAGES_RESPONSE__INIT;
                image.id = ids[i];
                answer.n_images = 1;
                answer.images = images;
                TRY(rpc_send(call, &answer.base));
        }
        return NULL;
}

/* Events without end, as fast as the client takes them. */
static struct error *events(void *context, struct rpc_call *call)
{
        (void) context;
        Cri__ContainerEventResponse event = CRI__CONTAINER_EVENT_RESPONSE__INIT;
        event.container_id = "0123456789012345678901234567890123456789012345678901234567890123";
        for (;;) {
                struct error *e = rpc_send(call, &event.base);
                if (e) {
                        atomic_fetch_add(&cancelled, 1);
                        return e;
                }
                event.created_at++;
        }
}

/* A stream that is idle until the client goes. */
static struct error *stream_containers(void *context, struct rpc_call *call)
{
        return status(context, call);
}

#define RUNTIME "runtime.v1.RuntimeService"
#define IMAGE "runtime.v1.ImageService"
static const struct rpc rpcs[] = {
        { RUNTIME, "Version", POOL_QUICK, false, version },
        { RUNTIME, "Status", POOL_EXEC, false, status },
        { RUNTIME, "ExecSync", POOL_EXEC, false, exec_sync },
        { RUNTIME, "ContainerStatus", POOL_QUICK, false, container_status },
        { RUNTIME, "StopContainer", POOL_POD, false, stop_container },
        { RUNTIME, "RemoveContainer", POOL_POD, false, no_answer },
        { RUNTIME, "RunPodSandbox", POOL_POD, false, stop_container },
        { RUNTIME, "GetContainerEvents", POOL_PULL, true, events },
        { RUNTIME, "StreamContainers", POOL_PULL, true, stream_containers },
        { IMAGE, "StreamImages", POOL_QUICK, true, stream_images },
};

static struct error *serve(const char *listen)
{
        static const ProtobufCServiceDescriptor *const services[] = { &cri__runtime_service__descriptor,
                                                                      &cri__image_service__descriptor, NULL };
        static const size_t caps[POOL_KINDS] = { 4, 64, 64, 64 };
        struct server_config config = { .listen = listen,
                                        .services = services,
                                        .rpcs = rpcs,
                                        .n_rpcs = LENGTH(rpcs),
                                        .calls_max = 2500 };
        sigset_t ends;
        int which;
        (void) sigemptyset(&ends);
        (void) sigaddset(&ends, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &ends, NULL);
        TRY(server_open(&config, &server));
        _cleanup_(pool_freep) struct pool *pool = NULL;
        TRY(pool_open(caps, &pool));
        TRY(server_start(server, pool, NULL));
        (void) sigwait(&ends, &which);
        (void) server_stop(server, 200);
        return NULL;
}

int main(int argc, char **argv)
{
        if (argc != 2)
                return 64;
        struct error *e = serve(argv[1]);
        if (!e)
                return 0;
        log_error(LOG_LEVEL_ERROR, e, "cannot serve", NULL, NULL);
        return 1;
}
