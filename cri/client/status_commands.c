/* version, info, inspect. */
#include "cri/client/command.h"
#include "cri/client/message_json.h"
#include "cri/client/print.h"
#include <getopt.h>
#include <string.h>

#define JSON_MAX_BYTES ((size_t) 64 << 20)

static struct error *json_flag(struct context *context, int argc, char **argv)
{
        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--json") != 0)
                        return USAGE_ERROR("\"%s\" is too much", argv[i]);
                context->json = true;
        }
        return NULL;
}

struct error *version_command(struct context *context, int argc, char **argv)
{
        TRY(json_flag(context, argc, argv));
        Cri__VersionRequest request = CRI__VERSION_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__VersionResponse *answer = NULL;
        request.version = "v1";
        TRY(runtime_call(context, "Version", &request, CALL_TIMEOUT_MS, &answer));
        if (context->json)
                return print_message_json(&answer->base);
        (void) printf("client   skiff " SKIFF_VERSION "\nruntime  %s %s\nCRI      %s\n", answer->runtime_name,
                      answer->runtime_version, answer->runtime_api_version);
        return NULL;
}

static void print_info(const Cri__StatusResponse *answer)
{
        for (size_t i = 0; answer->status && i < answer->status->n_conditions; i++) {
                const Cri__RuntimeCondition *condition = answer->status->conditions[i];
                (void) printf("%-16s %s%s%s\n", condition->type, condition->status ? "yes" : "no",
                              *condition->message ? ": " : "", condition->message);
        }
        for (size_t i = 0; i < answer->n_runtime_handlers; i++) {
                const Cri__RuntimeHandler *handler = answer->runtime_handlers[i];
                const Cri__RuntimeHandlerFeatures *features = handler->features;
                (void) printf("handler %-8s recursive read-only mounts: %s, user namespaces: %s\n",
                              *handler->name ? handler->name : "(default)",
                              features && features->recursive_read_only_mounts ? "yes" : "no",
                              features && features->user_namespaces ? "yes" : "no");
        }
        if (answer->features)
                (void) printf("supplemental groups policy: %s\n",
                              answer->features->supplemental_groups_policy ? "yes" : "no");
        for (size_t i = 0; i < answer->n_info; i++)
                (void) printf("%s: %s\n", answer->info[i]->key, answer->info[i]->value);
}

struct error *info_command(struct context *context, int argc, char **argv)
{
        TRY(json_flag(context, argc, argv));
        Cri__StatusRequest request = CRI__STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StatusResponse *answer = NULL;
        request.verbose = true;
        TRY(runtime_call(context, "Status", &request, CALL_TIMEOUT_MS, &answer));
        if (context->json)
                return print_message_json(&answer->base);
        print_info(answer);
        return NULL;
}

/* --- inspect --- */

static struct error *inspect_pod(struct context *context, const struct object *object, struct buf *out)
{
        Cri__PodSandboxStatusRequest request = CRI__POD_SANDBOX_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__PodSandboxStatusResponse *answer = NULL;
        request.pod_sandbox_id = object->id;
        request.verbose = true;
        TRY(runtime_call(context, "PodSandboxStatus", &request, CALL_TIMEOUT_MS, &answer));
        return message_json(&answer->base, out);
}

static struct error *inspect_container(struct context *context, const struct object *object, struct buf *out)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
        request.container_id = object->id;
        request.verbose = true;
        TRY(runtime_call(context, "ContainerStatus", &request, CALL_TIMEOUT_MS, &answer));
        return message_json(&answer->base, out);
}

static struct error *inspect_image(struct context *context, const struct object *object, struct buf *out)
{
        Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
        Cri__ImageStatusRequest request = CRI__IMAGE_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ImageStatusResponse *answer = NULL;
        spec.image = object->id;
        request.image = &spec;
        request.verbose = true;
        TRY(image_call(context, "ImageStatus", &request, CALL_TIMEOUT_MS, &answer));
        return message_json(&answer->base, out);
}

static struct error *inspect_one(struct context *context, const char *text, struct buf *out)
{
        _cleanup_(object_done) struct object object = { 0 };
        TRY(object_find(context, OBJECT_POD | OBJECT_CONTAINER | OBJECT_IMAGE, text, &object));
        if (object.kind == OBJECT_IMAGE)
                return inspect_image(context, &object, out);
        return object.kind == OBJECT_POD ? inspect_pod(context, &object, out)
                                         : inspect_container(context, &object, out);
}

struct error *inspect_command(struct context *context, int argc, char **argv)
{
        int first = argc > 1 && strcmp(argv[1], "--json") == 0 ? 2 : 1; /* it is JSON anyway */
        if (argc <= first)
                return USAGE_ERROR("what is to be inspected?");
        for (int i = first; i < argc; i++) {
                _cleanup_(buf_done) struct buf text;
                buf_init(&text, JSON_MAX_BYTES);
                TRY(inspect_one(context, argv[i], &text));
                print_json_indented(text.bytes);
        }
        return NULL;
}
