#include "base/clock.h"
#include "cri/client/command.h"
#include <string.h>

#define AWAY_MAX_NS INT64_C(60000000000)

/* skiffd's errors tell their story themselves. Those that gRPC makes here do not even say what was asked for. */
static struct error *told(struct error *e, const char *method)
{
        if (strcmp(error_message(e), "Deadline Exceeded") == 0)
                return error_wrap(e, "no answer to %s", method);
        return error_code_of(e) == ERROR_CANCELLED ? error_wrap(e, "%s", method) : e;
}

static struct error *call(struct context *context, const ProtobufCServiceDescriptor *service,
                          const char *method, const void *request, int64_t timeout_ms, void *answer)
{
        if (!context->client)
                TRY(client_open(context->endpoint, &context->client));
        struct error *e = client_call(context->client, service, method, request, timeout_ms,
                                      context->interrupted, answer);
        if (!e)
                context->away_since_ns = 0;
        return e ? told(e, method) : NULL;
}

struct error *call_forgive(struct context *context, struct error *e)
{
        bool is_ours = context->interrupted && *context->interrupted;
        /* A skiffd that is stopped cancels what is under way. */
        bool is_away = error_code_of(e) == ERROR_UNAVAILABLE || error_code_of(e) == ERROR_CANCELLED;
        int64_t now_ns = clock_monotonic_ns();
        if (is_ours || !is_away)
                return e;
        client_free(TAKE(context->client));
        if (!context->away_since_ns)
                context->away_since_ns = now_ns;
        if (now_ns - context->away_since_ns > AWAY_MAX_NS)
                return e;
        error_free(e);
        return NULL;
}

struct error *runtime_call(struct context *context, const char *method, const void *request,
                           int64_t timeout_ms, void *answer)
{
        return call(context, &cri__runtime_service__descriptor, method, request, timeout_ms, answer);
}

struct error *image_call(struct context *context, const char *method, const void *request, int64_t timeout_ms,
                         void *answer)
{
        return call(context, &cri__image_service__descriptor, method, request, timeout_ms, answer);
}

struct error *admin_call(struct context *context, const char *method, const void *request, int64_t timeout_ms,
                         void *answer)
{
        struct error *e = call(context, &admin__admin__descriptor, method, request, timeout_ms, answer);
        if (e && error_code_of(e) == ERROR_UNIMPLEMENTED)
                e = error_wrap(e, "%s has no skiff.admin.v1.Admin: is it a skiffd?", context->endpoint);
        return e;
}

static struct error *stream(struct context *context, const ProtobufCServiceDescriptor *service,
                            const char *method, const void *request, const struct client_taker *taker)
{
        if (!context->client)
                TRY(client_open(context->endpoint, &context->client));
        struct error *e =
                client_stream(context->client, service, method, request, context->interrupted, taker);
        return e ? told(e, method) : NULL;
}

struct error *runtime_stream(struct context *context, const char *method, const void *request,
                             const struct client_taker *taker)
{
        return stream(context, &cri__runtime_service__descriptor, method, request, taker);
}

struct error *admin_stream(struct context *context, const char *method, const void *request,
                           const struct client_taker *taker)
{
        return stream(context, &admin__admin__descriptor, method, request, taker);
}
