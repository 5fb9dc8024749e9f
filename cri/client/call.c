#include "cri/client/command.h"

static struct error *call(struct context *context, const ProtobufCServiceDescriptor *service,
                          const char *method, const void *request, int64_t timeout_ms, void *answer)
{
        if (!context->client)
                TRY(client_open(context->endpoint, &context->client));
        TRY_WRAP(client_call(context->client, service, method, request, timeout_ms, context->interrupted,
                             answer),
                 "%s", method);
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

struct error *admin_stream(struct context *context, const char *method, const void *request,
                           const struct client_taker *taker)
{
        if (!context->client)
                TRY(client_open(context->endpoint, &context->client));
        TRY_WRAP(client_stream(context->client, &admin__admin__descriptor, method, request,
                               context->interrupted, taker),
                 "%s", method);
        return NULL;
}
