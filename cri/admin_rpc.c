/* skiffd's own calls, for the skiff command. */
#include "api/admin.pb-c.h"
#include "api/cri.pb-c.h"
#include "cri/daemon.h"
#include "cri/validate.h"
#include "images/images.h"
#include "pods/node.h"
#include <fcntl.h>
#include <string.h>

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
        { ADMIN_SERVICE, "Inspect", POOL_QUICK, false, inspect },
        { ADMIN_SERVICE, "Leaks", POOL_POD, false, leaks },
};
const size_t n_admin_rpcs = LENGTH(admin_rpcs);
