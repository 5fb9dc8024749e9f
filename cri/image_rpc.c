/* Images: CRI's messages from and to the image store. */
#include "api/cri.pb-c.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "cri/batches.h"
#include "cri/daemon.h"
#include "cri/validate.h"
#include "images/images.h"
#include <string.h>

static size_t count(char *const *strings)
{
        size_t n = 0;
        while (strings[n])
                n++;
        return n;
}

/* What a CRI image message points at, beside the image itself. */
struct parts {
        Cri__Image message;
        Cri__Int64Value uid;
        Cri__ImageSpec spec;
        char username[64];
};

/* The user of the image's config, as kubelet's runAsNonRoot check wants it: a number, or else a name. */
static void fill_user(struct parts *p, const char *user)
{
        size_t len_bytes = user ? strcspn(user, ":") : 0;
        char *end = NULL;
        if (!len_bytes || len_bytes >= sizeof(p->username))
                return;
        memcpy(p->username, user, len_bytes);
        p->username[len_bytes] = '\0';
        long long uid = strtoll(p->username, &end, 10);
        if (*end) {
                p->message.username = p->username;
                return;
        }
        p->uid = (Cri__Int64Value) CRI__INT64_VALUE__INIT;
        p->uid.value = uid;
        p->message.uid = &p->uid;
}

static void fill_image(struct parts *p, const struct image *image)
{
        *p = (struct parts){ .message = CRI__IMAGE__INIT, .spec = CRI__IMAGE_SPEC__INIT };
        p->message.id = image->id;
        p->message.repo_tags = (const char **) image->repo_tags;
        p->message.n_repo_tags = count(image->repo_tags);
        p->message.repo_digests = (const char **) image->repo_digests;
        p->message.n_repo_digests = count(image->repo_digests);
        p->message.size = image->size_bytes;
        p->message.pinned = image->pinned;
        fill_user(p, image->user);
        p->spec.image = image->id;
        p->message.spec = &p->spec;
}

static struct error *reply_to(void *call, const ProtobufCMessage *message)
{
        return rpc_reply(call, message);
}

static struct error *list_reply(const struct node_reply *reply, struct image *const *images, size_t n)
{
        Cri__ListImagesResponse response = CRI__LIST_IMAGES_RESPONSE__INIT;
        _cleanup_(freep) struct parts *parts = NEW_ARRAY(struct parts, n);
        _cleanup_(freep) Cri__Image **pointers = NEW_ARRAY(Cri__Image *, n);
        for (size_t i = 0; i < n; i++) {
                fill_image(&parts[i], images[i]);
                pointers[i] = &parts[i].message;
        }
        response.images = pointers;
        response.n_images = n;
        return reply->send(reply->context, &response.base);
}

/* The filter's image, if any, is a reference of any form, or a repository: none that matches is an empty list. */
static struct error *list_to(const struct daemon *daemon, const Cri__ImageFilter *filter,
                             const struct node_reply *reply)
{
        const char *wanted = filter && filter->image ? filter->image->image : "";
        struct image **images = NULL;
        size_t n = 0;
        TRY(*wanted ? images_select(daemon->images, wanted, &images, &n)
                    : images_list(daemon->images, &images, &n));
        struct error *e = list_reply(reply, images, n);
        image_list_free(images, n);
        return e;
}

static struct error *list_images(void *context, struct rpc_call *call)
{
        const Cri__ListImagesRequest *request = (const void *) rpc_request(call);
        const struct node_reply reply = { reply_to, call };
        return list_to(context, request->filter, &reply);
}

static struct error *stream_images(void *context, struct rpc_call *call)
{
        const Cri__StreamImagesRequest *request = (const void *) rpc_request(call);
        _cleanup_(batches_done) struct batches batches = BATCHES_NONE;
        const struct node_reply reply = { batches_take, &batches };
        TRY(list_to(context, request->filter, &reply));
        return batches_send(&batches, call);
}

static struct error *status_info(const struct image *image, Cri__ImageStatusResponse *response,
                                 Cri__ImageStatusResponse__InfoEntry *entry, struct buf *json)
{
        TRY(buf_append_text(json, "{\"imageSpec\":"));
        TRY(buf_append_text(json, image->config_json));
        TRY(buf_append_text(json, "}"));
        entry->key = "info";
        entry->value = json->bytes;
        response->n_info = 1;
        return NULL;
}

/* An image that is not there is an answer without an image, not an error. */
static struct error *image_status(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__ImageStatusRequest *request = (const void *) rpc_request(call);
        Cri__ImageStatusResponse response = CRI__IMAGE_STATUS_RESPONSE__INIT;
        Cri__ImageStatusResponse__InfoEntry entry = CRI__IMAGE_STATUS_RESPONSE__INFO_ENTRY__INIT;
        Cri__ImageStatusResponse__InfoEntry *entries[] = { &entry };
        _cleanup_(image_freep) struct image *image = NULL;
        _cleanup_(buf_done) struct buf json;
        struct parts parts;
        buf_init(&json, 8 << 20);
        TRY(validate_image_spec(request->image));
        struct error *e = images_find(daemon->images, request->image->image, &image);
        if (e && error_code_of(e) == ERROR_NOT_FOUND) {
                error_free(e);
                return rpc_reply(call, &response.base);
        }
        if (e)
                return e;
        fill_image(&parts, image);
        response.image = &parts.message;
        response.info = entries;
        if (request->verbose)
                TRY(status_info(image, &response, &entry, &json));
        return rpc_reply(call, &response.base);
}

static struct error *remove_image(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__RemoveImageRequest *request = (const void *) rpc_request(call);
        Cri__RemoveImageResponse response = CRI__REMOVE_IMAGE_RESPONSE__INIT;
        TRY(validate_image_spec(request->image));
        TRY_WRAP(images_remove(daemon->images, request->image->image), "remove image %s",
                 request->image->image);
        return rpc_reply(call, &response.base);
}

struct error *pull_and_log(struct daemon *daemon, const char *image, const struct image_auth *auth,
                           const struct pull_watcher *watcher, struct rpc_call *call, char **id)
{
        char took_ms[24];
        int64_t began_ns = clock_monotonic_ns();
        struct error *e =
                images_pull(daemon->images, image, auth, watcher, rpc_arrived_ns(call), rpc_wait(call), id);
        (void) snprintf(took_ms, sizeof(took_ms), "%lld",
                        (long long) ((clock_monotonic_ns() - began_ns) / 1000000));
        if (e)
                log_event(LOG_LEVEL_WARN, "pull failed", "image", image, "error", error_message(e), "ms",
                          took_ms, NULL);
        else
                log_event(LOG_LEVEL_INFO, "pulled", "image", image, "id", *id, "ms", took_ms, NULL);
        return e;
}

static struct error *pull_image(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__PullImageRequest *request = (const void *) rpc_request(call);
        Cri__PullImageResponse response = CRI__PULL_IMAGE_RESPONSE__INIT;
        struct image_auth auth = { 0 };
        _cleanup_(freep) char *id = NULL;
        TRY(validate_image_spec(request->image));
        if (request->auth)
                auth = (struct image_auth){ request->auth->username,       request->auth->password,
                                            request->auth->auth,           request->auth->server_address,
                                            request->auth->identity_token, request->auth->registry_token };
        struct error *e =
                pull_and_log(daemon, request->image->image, request->auth ? &auth : NULL, NULL, call, &id);
        if (e) /* kubelet knows a registry's failure by its message's beginning */
                return error_code_of(e) == ERROR_UNAVAILABLE ? error_wrap(e, "RegistryUnavailable") : e;
        response.image_ref = id;
        return rpc_reply(call, &response.base);
}

static void fill_usage(Cri__FilesystemUsage *usage, Cri__FilesystemIdentifier *id, Cri__UInt64Value *bytes,
                       Cri__UInt64Value *inodes, const struct images_usage *from, bool of_containers)
{
        *usage = (Cri__FilesystemUsage) CRI__FILESYSTEM_USAGE__INIT;
        *id = (Cri__FilesystemIdentifier) CRI__FILESYSTEM_IDENTIFIER__INIT;
        *bytes = (Cri__UInt64Value) CRI__UINT64_VALUE__INIT;
        *inodes = (Cri__UInt64Value) CRI__UINT64_VALUE__INIT;
        id->mountpoint = from->mountpoint;
        bytes->value = of_containers ? from->container_bytes : from->image_bytes;
        inodes->value = of_containers ? from->container_inodes : from->image_inodes;
        usage->timestamp = clock_wall_ns();
        usage->fs_id = id;
        usage->used_bytes = bytes;
        usage->inodes_used = inodes;
}

static struct error *image_fs_info(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        Cri__ImageFsInfoResponse response = CRI__IMAGE_FS_INFO_RESPONSE__INIT;
        Cri__FilesystemUsage usages[2], *image_usages[] = { &usages[0] },
                                        *container_usages[] = { &usages[1] };
        Cri__FilesystemIdentifier ids[2];
        Cri__UInt64Value bytes[2], inodes[2];
        _cleanup_(freep) struct images_usage *usage = NEW(struct images_usage);
        TRY(images_usage(daemon->images, usage));
        for (int i = 0; i < 2; i++)
                fill_usage(&usages[i], &ids[i], &bytes[i], &inodes[i], usage, i == 1);
        response.image_filesystems = image_usages;
        response.n_image_filesystems = 1;
        response.container_filesystems = container_usages;
        response.n_container_filesystems = 1;
        return rpc_reply(call, &response.base);
}

const struct rpc image_rpcs[] = {
        { IMAGE_SERVICE, "ListImages", POOL_QUICK, false, list_images },
        { IMAGE_SERVICE, "StreamImages", POOL_LISTEN, true, stream_images },
        { IMAGE_SERVICE, "ImageStatus", POOL_QUICK, false, image_status },
        { IMAGE_SERVICE, "RemoveImage", POOL_POD, false, remove_image },
        { IMAGE_SERVICE, "PullImage", POOL_PULL, false, pull_image },
        { IMAGE_SERVICE, "ImageFsInfo", POOL_QUICK, false, image_fs_info },
};
const size_t n_image_rpcs = LENGTH(image_rpcs);
