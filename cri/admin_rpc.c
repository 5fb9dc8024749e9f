/* skiffd's own calls, for the skiff command. */
#include "api/admin.pb-c.h"
#include "api/cri.pb-c.h"
#include "cri/daemon.h"
#include "cri/validate.h"
#include "images/images.h"
#include "pods/node.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct error *import_image(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Admin__ImportImageRequest *request = (const void *) rpc_request(call);
        Admin__ImportImageResponse response = ADMIN__IMPORT_IMAGE_RESPONSE__INIT;
        _cleanup_(free_stringsp) char **ids = NULL;
        if (*request->path != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "path: \"%s\" is not an absolute path",
                                 request->path);
        _cleanup_(closep) int fd = open(request->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return error_new(ERROR_INVALID_ARGUMENT, "open %s: %s", request->path, strerror(errno));
        TRY_WRAP(images_import(daemon->images, fd, *request->name ? request->name : NULL, rpc_wait(call),
                               &ids),
                 "import %s", request->path);
        response.image_ids = (const char **) ids;
        while (ids[response.n_image_ids])
                response.n_image_ids++;
        return rpc_reply(call, &response.base);
}

static struct error *send_progress(void *context, const struct pull_progress *progress)
{
        Admin__PullProgressResponse response = ADMIN__PULL_PROGRESS_RESPONSE__INIT;
        response.done_bytes = progress->done_bytes;
        response.total_bytes = progress->total_bytes;
        response.done_layers = (uint32_t) progress->done_layers;
        response.layers = (uint32_t) progress->n_layers;
        return rpc_send(context, &response.base);
}

static struct error *pull_progress(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Admin__PullProgressRequest *request = (const void *) rpc_request(call);
        Admin__PullProgressResponse response = ADMIN__PULL_PROGRESS_RESPONSE__INIT;
        const struct pull_watcher watcher = { send_progress, call };
        const struct image_auth auth = { .username = request->username, .password = request->password };
        _cleanup_(freep) char *id = NULL;
        TRY(pull_and_log(daemon, request->image, *request->username ? &auth : NULL, &watcher, call, &id));
        response.image_id = id;
        return rpc_send(call, &response.base);
}

static struct error *export_image(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Admin__ExportImageRequest *request = (const void *) rpc_request(call);
        Admin__ExportImageResponse response = ADMIN__EXPORT_IMAGE_RESPONSE__INIT;
        _cleanup_(image_freep) struct image *image = NULL;
        _cleanup_(freep) char *id = NULL;
        if (*request->path != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "path: \"%s\" is not an absolute path",
                                 request->path);
        TRY(images_find(daemon->images, request->image, &image));
        _cleanup_(closep) int fd =
                open(request->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_new(ERROR_INVALID_ARGUMENT, "make %s: %s", request->path, strerror(errno));
        struct error *e = images_export(daemon->images, request->image, fd, rpc_wait(call), &id);
        if (!e && fsync(fd) < 0)
                e = error_errno(errno, "sync %s", request->path);
        if (e) {
                (void) unlink(request->path); /* made here; half of it is of no use */
                return e;
        }
        response.image_id = id;
        response.same = strcmp(id, image->id) == 0;
        return rpc_reply(call, &response.base);
}

/* protobuf-c counts its lists, ours end with NULL. The array is the caller's; NULL for none. */
static char **ended_list(const char *const *texts, size_t n)
{
        char **list = n ? NEW_ARRAY(char *, n + 1) : NULL;
        for (size_t i = 0; i < n; i++)
                list[i] = (char *) texts[i];
        return list;
}

static char **ended_words(const Admin__ImageChanges__Words *words)
{
        char **list = words ? ended_list(words->words, words->n_words) : NULL;
        return words && !list ? NEW_ARRAY(char *, 1) : list; /* said to be empty */
}

static struct error *commit_container(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Admin__CommitContainerRequest *request = (const void *) rpc_request(call);
        const Admin__ImageChanges none = ADMIN__IMAGE_CHANGES__INIT,
                                  *asked = request->changes ? request->changes : &none;
        Admin__CommitContainerResponse response = ADMIN__COMMIT_CONTAINER_RESPONSE__INIT;
        _cleanup_(freep) char **entrypoint = ended_words(asked->entrypoint), **cmd = ended_words(asked->cmd),
                              **env = ended_list(asked->env, asked->n_env),
                              **labels = ended_list(asked->labels, asked->n_labels),
                              **ports = ended_list(asked->ports, asked->n_ports),
                              **volumes = ended_list(asked->volumes, asked->n_volumes);
        const struct image_changes changes = { .entrypoint = entrypoint,
                                               .cmd = cmd,
                                               .env = env,
                                               .labels = labels,
                                               .ports = ports,
                                               .volumes = volumes,
                                               .user = asked->user ? asked->user->text : NULL,
                                               .working_dir =
                                                       asked->working_dir ? asked->working_dir->text : NULL,
                                               .stop_signal =
                                                       asked->stop_signal ? asked->stop_signal->text : NULL };
        const struct image_commit commit = { .name = request->image,
                                             .author = request->author,
                                             .comment = request->comment,
                                             .changes = &changes };
        _cleanup_(freep) char *image_id = NULL;
        TRY(validate_id("container_id", request->container_id));
        TRY_WRAP(node_commit_container(daemon->node, request->container_id, request->pause, &commit,
                                       rpc_wait(call), &image_id),
                 "commit %s", request->container_id);
        response.image_id = image_id;
        return rpc_reply(call, &response.base);
}

/* What a list of layers points at. */
struct layer_lists {
        Admin__Layer *layers, **layer_pointers;
        Admin__ImageLayers *images, **image_pointers;
};

static void layer_lists_done(struct layer_lists *lists)
{
        free(lists->layers);
        free(lists->layer_pointers);
        free(lists->images);
        free(lists->image_pointers);
}

static void fill_layers(struct layer_lists *lists, struct image_layer *layers, size_t n)
{
        lists->layers = NEW_ARRAY(Admin__Layer, n + 1);
        lists->layer_pointers = NEW_ARRAY(Admin__Layer *, n + 1);
        for (size_t i = 0; i < n; i++) {
                Admin__Layer *to = lists->layer_pointers[i] = &lists->layers[i];
                *to = (Admin__Layer) ADMIN__LAYER__INIT;
                to->diff_id = layers[i].diff_id;
                to->bytes = layers[i].bytes;
                to->inodes = layers[i].inodes;
                to->images = layers[i].n_images;
        }
}

static void fill_images(struct layer_lists *lists, struct image *const *images, size_t n)
{
        lists->images = NEW_ARRAY(Admin__ImageLayers, n + 1);
        lists->image_pointers = NEW_ARRAY(Admin__ImageLayers *, n + 1);
        for (size_t i = 0; i < n; i++) {
                Admin__ImageLayers *to = lists->image_pointers[i] = &lists->images[i];
                *to = (Admin__ImageLayers) ADMIN__IMAGE_LAYERS__INIT;
                to->image_id = images[i]->id;
                to->diff_ids = (const char **) images[i]->diff_ids;
                while (images[i]->diff_ids[to->n_diff_ids])
                        to->n_diff_ids++;
        }
}

static struct error *list_layers(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        Admin__ListLayersResponse response = ADMIN__LIST_LAYERS_RESPONSE__INIT;
        _cleanup_(layer_lists_done) struct layer_lists lists = { NULL, NULL, NULL, NULL };
        _cleanup_(freep) struct image_layer *layers = NULL;
        struct image **images = NULL;
        size_t n = 0;
        TRY(images_list(daemon->images, &images, &n));
        fill_images(&lists, images, n);
        response.images = lists.image_pointers;
        response.n_images = n;
        images_layers(daemon->images, &layers, &response.n_layers);
        fill_layers(&lists, layers, response.n_layers);
        response.layers = lists.layer_pointers;
        struct error *e = rpc_reply(call, &response.base);
        image_list_free(images, n);
        return e;
}

/* The verbose info of a pod or a container, as JSON. */
static struct error *take_pod_info(void *context, const ProtobufCMessage *message)
{
        const Cri__PodSandboxStatusResponse *status = (const void *) message;
        *(char **) context = dup_string(status->n_info ? status->info[0]->value : "{}");
        return NULL;
}

static struct error *take_container_info(void *context, const ProtobufCMessage *message)
{
        const Cri__ContainerStatusResponse *status = (const void *) message;
        *(char **) context = dup_string(status->n_info ? status->info[0]->value : "{}");
        return NULL;
}

static struct error *inspect(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Admin__InspectRequest *request = (const void *) rpc_request(call);
        Admin__InspectResponse response = ADMIN__INSPECT_RESPONSE__INIT;
        _cleanup_(freep) char *json = NULL;
        const struct node_reply of_container = { take_container_info, &json },
                                of_pod = { take_pod_info, &json };
        TRY(validate_id("id", request->id));
        struct error *e = node_container_status(daemon->node, request->id, true, &of_container);
        if (e && error_code_of(e) == ERROR_NOT_FOUND) {
                error_free(e);
                e = node_pod_status(daemon->node, request->id, true, &of_pod);
        }
        if (e)
                return e;
        response.json = json;
        return rpc_reply(call, &response.base);
}

static struct error *leaks(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        Admin__LeaksResponse response = ADMIN__LEAKS_RESPONSE__INIT;
        _cleanup_(free_stringsp) char **found = NULL;
        TRY(node_leaks(daemon->node, &found));
        response.leaks = (const char **) found;
        while (found[response.n_leaks])
                response.n_leaks++;
        return rpc_reply(call, &response.base);
}

const struct rpc admin_rpcs[] = {
        { ADMIN_SERVICE, "ImportImage", POOL_PULL, false, import_image },
        { ADMIN_SERVICE, "PullProgress", POOL_PULL, true, pull_progress },
        { ADMIN_SERVICE, "ExportImage", POOL_PULL, false, export_image },
        { ADMIN_SERVICE, "CommitContainer", POOL_PULL, false, commit_container },
        { ADMIN_SERVICE, "ListLayers", POOL_QUICK, false, list_layers },
        { ADMIN_SERVICE, "Inspect", POOL_QUICK, false, inspect },
        { ADMIN_SERVICE, "Leaks", POOL_POD, false, leaks },
};
const size_t n_admin_rpcs = LENGTH(admin_rpcs);
