/* completion: scripts for shells, the manual page, and the words that a script asks for while somebody types. */
#include "cri/client/command.h"
#include <string.h>

static struct error *pods(struct context *context)
{
        Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListPodSandboxResponse *answer = NULL;
        TRY(runtime_call(context, "ListPodSandbox", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_items; i++)
                (void) puts(answer->items[i]->metadata ? answer->items[i]->metadata->name
                                                       : answer->items[i]->id);
        return NULL;
}

static struct error *containers(struct context *context, const char *behind)
{
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListContainersResponse *answer = NULL;
        TRY(runtime_call(context, "ListContainers", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_containers; i++)
                (void) printf("%s%s\n",
                              answer->containers[i]->metadata ? answer->containers[i]->metadata->name
                                                              : answer->containers[i]->id,
                              behind);
        return NULL;
}

/* Docker Hub's names are known without its host, as people type them. */
static const char *familiar(const char *name)
{
        static const char *const prefixes[] = { "docker.io/library/", "docker.io/" };
        for (size_t i = 0; i < LENGTH(prefixes); i++)
                if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
                        return name + strlen(prefixes[i]);
        return name;
}

static struct error *images(struct context *context)
{
        Cri__ListImagesRequest request = CRI__LIST_IMAGES_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListImagesResponse *answer = NULL;
        TRY(image_call(context, "ListImages", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_images; i++)
                for (size_t j = 0; j < answer->images[i]->n_repo_tags; j++)
                        (void) puts(familiar(answer->images[i]->repo_tags[j]));
        return NULL;
}

static struct error *words(struct context *context, enum completes kind)
{
        if (kind == COMPLETES_PLACES)
                return containers(context, ":");
        if (kind == COMPLETES_PODS || kind == COMPLETES_OBJECTS || kind == COMPLETES_ALL)
                TRY(pods(context));
        if (kind == COMPLETES_CONTAINERS || kind == COMPLETES_OBJECTS || kind == COMPLETES_ALL)
                TRY(containers(context, ""));
        if (kind == COMPLETES_IMAGES || kind == COMPLETES_ALL)
                TRY(images(context));
        return NULL;
}

const char *completes_name(enum completes kind)
{
        static const char *const names[] = {
                [COMPLETES_FILES] = "files",           [COMPLETES_PODS] = "pods",
                [COMPLETES_CONTAINERS] = "containers", [COMPLETES_OBJECTS] = "objects",
                [COMPLETES_IMAGES] = "images",         [COMPLETES_ALL] = "all",
                [COMPLETES_PLACES] = "places",         [COMPLETES_COMMANDS] = "commands",
                [COMPLETES_WORDS] = "words",
        };
        return kind == COMPLETES_NOTHING ? "" : names[kind];
}

struct error *completion_command(struct context *context, int argc, char **argv)
{
        static const struct {
                const char *name;
                void (*print)(void);
        } scripts[] = { { "bash", print_completion_bash },
                        { "zsh", print_completion_zsh },
                        { "fish", print_completion_fish },
                        { "manual", print_manual } };
        for (size_t i = 0; argc == 2 && i < LENGTH(scripts); i++)
                if (strcmp(argv[1], scripts[i].name) == 0) {
                        scripts[i].print();
                        return NULL;
                }
        for (enum completes kind = COMPLETES_PODS; argc == 2 && kind <= COMPLETES_PLACES; kind++)
                if (strcmp(argv[1], completes_name(kind)) == 0)
                        return words(context, kind);
        return USAGE_ERROR("of what?");
}
