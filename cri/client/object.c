/* What an id, a prefix of one, or a name stands for. */
#include "cri/client/command.h"
#include <string.h>

void object_done(struct object *object)
{
        free(object->id);
        free(object->pod_id);
        *object = (struct object){ 0 };
}

/* --- looking for the one that text names --- */

struct search {
        const char *text;
        struct object best;
        bool exact;   /* best is named in full */
        size_t found; /* objects that fit as well as best */
        char *also;   /* another one of them, for the error */
};

/* `sha256:` is left out by people. */
static const char *bare_id(const char *id)
{
        return strncmp(id, "sha256:", 7) == 0 ? id + 7 : id;
}

/* One object: by a whole id or name, else by the start of its id. */
static void consider(struct search *search, enum object_kind kind, const char *id, const char *name,
                     const char *pod_id)
{
        bool exact = strcmp(id, search->text) == 0 || strcmp(bare_id(id), search->text) == 0 ||
                     (name && strcmp(name, search->text) == 0);
        bool starts = strncmp(bare_id(id), bare_id(search->text), strlen(bare_id(search->text))) == 0;
        if (!exact && (search->exact || !starts))
                return;
        /* `run` gives a pod and its container one name: the pod is meant, and the container goes with it. */
        if (exact && search->exact && pod_id && search->best.kind == OBJECT_POD &&
            strcmp(search->best.id, pod_id) == 0)
                return;
        if (exact && !search->exact)
                search->found = 0; /* whatever only starts so is out */
        if (search->found++) {
                if (!search->also)
                        search->also = dup_string(id);
                return;
        }
        object_done(&search->best);
        freep(&search->also);
        search->exact = exact;
        search->best = (struct object){ kind, dup_string(id), dup_string(pod_id) };
}

static struct error *search_pods(struct context *context, struct search *search)
{
        Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListPodSandboxResponse *answer = NULL;
        TRY(runtime_call(context, "ListPodSandbox", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_items; i++) {
                const Cri__PodSandbox *pod = answer->items[i];
                consider(search, OBJECT_POD, pod->id, pod->metadata ? pod->metadata->name : NULL, NULL);
        }
        return NULL;
}

/* pod_id: only that pod's, whatever they are called; NULL: all that fit. */
static struct error *search_containers(struct context *context, struct search *search, const char *pod_id)
{
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListContainersResponse *answer = NULL;
        filter.pod_sandbox_id = pod_id ? pod_id : "";
        request.filter = &filter;
        TRY(runtime_call(context, "ListContainers", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_containers; i++) {
                const Cri__Container *container = answer->containers[i];
                consider(search, OBJECT_CONTAINER, container->id,
                         pod_id                ? search->text
                         : container->metadata ? container->metadata->name
                                               : NULL,
                         container->pod_sandbox_id);
        }
        return NULL;
}

/* Where a container is wanted a pod's id or name stands for its only one: `run -d` prints the pod's. */
static struct error *search_by_pod(struct context *context, struct search *search)
{
        struct search pods = { .text = search->text };
        struct error *e = search_pods(context, &pods);
        if (!e && pods.found == 1)
                e = search_containers(context, search, pods.best.id);
        object_done(&pods.best);
        free(pods.also);
        return e;
}

/* Images have short names and digests that the daemon resolves better than a prefix can. */
static struct error *search_images(struct context *context, struct search *search)
{
        Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
        Cri__ImageStatusRequest request = CRI__IMAGE_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ImageStatusResponse *answer = NULL;
        spec.image = search->text;
        request.image = &spec;
        struct error *e = image_call(context, "ImageStatus", &request, CALL_TIMEOUT_MS, &answer);
        if (e && error_code_of(e) == ERROR_INVALID_ARGUMENT) {
                error_ignore(e); /* no reference: then it names something else, or nothing */
                return NULL;
        }
        if (e)
                return e;
        if (answer->image)
                consider(search, OBJECT_IMAGE, answer->image->id, search->text, NULL);
        return NULL;
}

static struct error *not_one(const struct search *search, unsigned kinds)
{
        static const char *const names[] = { [OBJECT_POD] = "pod",
                                             [OBJECT_CONTAINER] = "container",
                                             [OBJECT_POD | OBJECT_CONTAINER] = "pod or container",
                                             [OBJECT_IMAGE] = "image",
                                             [OBJECT_POD | OBJECT_IMAGE] = "pod or image",
                                             [OBJECT_CONTAINER | OBJECT_IMAGE] = "container or image",
                                             [OBJECT_POD | OBJECT_CONTAINER | OBJECT_IMAGE] =
                                                     "pod, container or image" };
        if (!search->found)
                return error_new(ERROR_NOT_FOUND, "there is no %s \"%s\"", names[kinds & 7], search->text);
        return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" fits %zu: %s, %s%s", search->text, search->found,
                         search->best.id, search->also ? search->also : "?",
                         search->found > 2 ? ", ..." : "");
}

struct error *object_find(struct context *context, unsigned kinds, const char *text, struct object *out)
{
        struct search search = { .text = text };
        struct error *e = *text ? NULL : USAGE_ERROR("an empty id names nothing");
        if (!e && (kinds & OBJECT_POD))
                e = search_pods(context, &search);
        if (!e && (kinds & OBJECT_CONTAINER))
                e = search_containers(context, &search, NULL);
        if (!e && kinds == OBJECT_CONTAINER && !search.found)
                e = search_by_pod(context, &search);
        if (!e && (kinds & OBJECT_IMAGE) && !search.exact)
                e = search_images(context, &search);
        if (!e && search.found != 1)
                e = not_one(&search, kinds);
        free(search.also);
        if (e)
                object_done(&search.best);
        else
                *out = search.best;
        return e;
}
