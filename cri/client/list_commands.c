/* pods, ps, images. */
#include "cri/client/command.h"
#include "cri/client/print.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* Reads [-a] [-q] [--json], and [--tree] where tree is not NULL; nothing else may follow. */
static struct error *list_flags(struct context *context, int argc, char **argv, const char *shorts, bool *all,
                                bool *quiet, bool *tree)
{
        static const struct option flags[] = { { "json", no_argument, NULL, 'j' },
                                               { "all", no_argument, NULL, 'a' },
                                               { "quiet", no_argument, NULL, 'q' },
                                               { "tree", no_argument, NULL, 't' },
                                               { 0 } };
        for (int flag; (flag = getopt_long(argc, argv, shorts, flags, NULL)) != -1;) {
                if (flag == 'j')
                        context->json = true;
                else if (flag == 'a')
                        *all = true;
                else if (flag == 'q')
                        *quiet = true;
                else if (flag == 't' && tree)
                        *tree = true;
                else
                        return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
        }
        if (optind < argc)
                return USAGE_ERROR("\"%s\" is too much", argv[optind]);
        return NULL;
}

static void add_texts(struct table *table, const char *const *texts, size_t n)
{
        for (size_t i = 0; i < n; i++)
                table_add(table, dup_string(texts[i]));
}

struct error *pods_command(struct context *context, int argc, char **argv)
{
        bool all = true, quiet = false;
        TRY(list_flags(context, argc, argv, "+q", &all, &quiet, NULL));
        Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListPodSandboxResponse *answer = NULL;
        TRY(runtime_call(context, "ListPodSandbox", &request, CALL_TIMEOUT_MS, &answer));
        if (context->json)
                return print_list_json((void *const *) answer->items, answer->n_items);
        for (size_t i = 0; quiet && i < answer->n_items; i++)
                (void) puts(answer->items[i]->id);
        if (quiet)
                return NULL;
        static const char *const heading[] = { "POD", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT" };
        _cleanup_(table_done) struct table table;
        table_init(&table, LENGTH(heading));
        add_texts(&table, heading, LENGTH(heading));
        for (size_t i = 0; i < answer->n_items; i++) {
                const Cri__PodSandbox *pod = answer->items[i];
                table_add(&table, print_id(pod->id));
                table_add(&table, print_age(pod->created_at));
                table_add(&table,
                          dup_string(pod->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY ? "ready"
                                                                                         : "not ready"));
                table_add(&table, dup_string(pod->metadata ? pod->metadata->name : ""));
                table_add(&table, dup_string(pod->metadata ? pod->metadata->namespace_ : ""));
                table_add(&table, format_string("%u", pod->metadata ? pod->metadata->attempt : 0));
        }
        table_print(&table);
        return NULL;
}

static const char *container_state(Cri__ContainerState state)
{
        static const char *const names[] = { "created", "running", "exited", "unknown" };
        return (size_t) state < LENGTH(names) ? names[state] : "unknown";
}

/* "exited (3)": lists do not have the code. One that is removed meanwhile, or cannot be asked, has none. */
static char *state_of(struct context *context, const Cri__Container *container)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
        const char *name = container_state(container->state);
        if (container->state != CRI__CONTAINER_STATE__CONTAINER_EXITED)
                return dup_string(name);
        request.container_id = container->id;
        error_ignore(runtime_call(context, "ContainerStatus", &request, CALL_TIMEOUT_MS, &answer));
        return answer && answer->status ? format_string("%s (%d)", name, answer->status->exit_code)
                                        : dup_string(name);
}

static const char *image_name(const Cri__Container *container)
{
        const Cri__ImageSpec *spec = container->image;
        if (spec && *spec->user_specified_image)
                return spec->user_specified_image;
        return spec && *spec->image ? spec->image : container->image_ref;
}

struct error *ps_command(struct context *context, int argc, char **argv)
{
        bool all = false, quiet = false;
        TRY(list_flags(context, argc, argv, "+aq", &all, &quiet, NULL));
        Cri__ContainerStateValue running = CRI__CONTAINER_STATE_VALUE__INIT;
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListContainersResponse *answer = NULL;
        running.state = CRI__CONTAINER_STATE__CONTAINER_RUNNING;
        filter.state = &running;
        request.filter = all ? NULL : &filter;
        TRY(runtime_call(context, "ListContainers", &request, CALL_TIMEOUT_MS, &answer));
        if (context->json)
                return print_list_json((void *const *) answer->containers, answer->n_containers);
        for (size_t i = 0; quiet && i < answer->n_containers; i++)
                (void) puts(answer->containers[i]->id);
        if (quiet)
                return NULL;
        static const char *const heading[] = { "CONTAINER", "CREATED", "STATE", "NAME",
                                               "ATTEMPT",   "POD",     "IMAGE" };
        _cleanup_(table_done) struct table table;
        table_init(&table, LENGTH(heading));
        add_texts(&table, heading, LENGTH(heading));
        for (size_t i = 0; i < answer->n_containers; i++) {
                const Cri__Container *container = answer->containers[i];
                table_add(&table, print_id(container->id));
                table_add(&table, print_age(container->created_at));
                table_add(&table, state_of(context, container));
                table_add(&table, dup_string(container->metadata ? container->metadata->name : ""));
                table_add(&table,
                          format_string("%u", container->metadata ? container->metadata->attempt : 0));
                table_add(&table, print_id(container->pod_sandbox_id));
                table_add(&table, dup_string(image_name(container)));
        }
        table_print(&table);
        return NULL;
}

static void add_image(struct table *table, const Cri__Image *image, const char *name)
{
        table_add(table, dup_string(name));
        table_add(table, print_id(image->id));
        table_add(table, print_size(image->size));
        table_add(table, dup_string(image->pinned ? "pinned" : ""));
}

struct error *images_command(struct context *context, int argc, char **argv)
{
        bool all = true, quiet = false, tree = false;
        TRY(list_flags(context, argc, argv, "+q", &all, &quiet, &tree));
        if (tree)
                return print_image_tree(context);
        Cri__ListImagesRequest request = CRI__LIST_IMAGES_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListImagesResponse *answer = NULL;
        TRY(image_call(context, "ListImages", &request, CALL_TIMEOUT_MS, &answer));
        if (context->json)
                return print_list_json((void *const *) answer->images, answer->n_images);
        for (size_t i = 0; quiet && i < answer->n_images; i++)
                (void) puts(answer->images[i]->id);
        if (quiet)
                return NULL;
        static const char *const heading[] = { "IMAGE", "ID", "SIZE", "" };
        _cleanup_(table_done) struct table table;
        table_init(&table, LENGTH(heading));
        add_texts(&table, heading, LENGTH(heading));
        for (size_t i = 0; i < answer->n_images; i++) {
                const Cri__Image *image = answer->images[i];
                for (size_t tag = 0; tag < image->n_repo_tags; tag++)
                        add_image(&table, image, image->repo_tags[tag]);
                if (image->n_repo_tags == 0)
                        add_image(&table, image, image->n_repo_digests ? image->repo_digests[0] : "<none>");
        }
        table_print(&table);
        return NULL;
}
