#include "pods/lifecycle/bundle.h"
#include "base/file.h"
#include "base/json.h"
#include "pods/background.h"
#include "pods/lifecycle/pod_directory.h"
#include "pods/spec/oci_spec.h"
#include "pods/spec/spec.h"
#include "pods/table.h"
#include <string.h>

#define CONFIG_MAX_BYTES (16U << 20)
#define ANNOTATIONS_MAX_BYTES (1U << 20)
#define POSTSTOP_MAX_MS (2 * HOOK_TIMEOUT_S * INT64_C(1000)) /* of all of them together */
#define NAME_SIZE (sizeof("bundle-") + ID_LEN)

static void name_of(const struct container *c, char out[NAME_SIZE])
{
        (void) snprintf(out, NAME_SIZE, "bundle-%s", c->id);
}

void bundle_done(struct bundle *bundle)
{
        free(TAKE(bundle->path));
        free(TAKE(bundle->annotations));
}

static struct error *put_annotations(const Cri__ContainerConfig *config, struct buf *out)
{
        TRY(buf_append_text(out, "{"));
        for (size_t i = 0; i < config->n_annotations; i++) {
                TRY(buf_append_text(out, i ? "," : ""));
                TRY(json_put_text(out, config->annotations[i]->key));
                TRY(buf_append_text(out, ":"));
                TRY(json_put_text(out, config->annotations[i]->value));
        }
        return buf_append_text(out, "}");
}

static struct error *write_config(struct container *c, int bundle_fd)
{
        _cleanup_(buf_done) struct buf json;
        buf_init(&json, CONFIG_MAX_BYTES);
        (void) pthread_mutex_lock(&c->pod->node->lock);
        struct error *e = oci_spec_put(c, &json);
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        TRY(e);
        return file_replace(bundle_fd, "config.json", json.bytes, json.len_bytes, 0600, false);
}

static struct error *fill(struct container *c, int pod_fd, const char *name)
{
        TRY(file_mkdirs(pod_fd, name, 0700));
        _cleanup_(closep) int bundle_fd =
                openat(pod_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (bundle_fd < 0)
                return error_errno(errno, "open it");
        TRY(file_mkdirs(bundle_fd, "rootfs", 0700));
        return write_config(c, bundle_fd);
}

struct error *bundle_make(struct container *c, struct bundle *bundle, struct hook_surroundings *surroundings)
{
        char name[NAME_SIZE];
        _cleanup_(closep) int pod_fd = -1;
        _cleanup_(buf_done) struct buf annotations;
        buf_init(&annotations, ANNOTATIONS_MAX_BYTES);
        *bundle = (struct bundle){ .path = NULL };
        *surroundings = (struct hook_surroundings){ .bundle = NULL };
        if (!c->spec->n_hooks)
                return NULL;
        name_of(c, name);
        TRY(pod_directory_open(c->pod, &pod_fd));
        if (pod_fd < 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the directory of pod %s is gone", c->pod->id);
        TRY_WRAP(fill(c, pod_fd, name), "the bundle for hooks");
        TRY_WRAP(put_annotations(c->config, &annotations), "annotations for hooks");
        bundle->path = format_string("%s/pods/%s/%s", c->pod->node->state, c->pod->id, name);
        bundle->annotations = buf_take_text(&annotations);
        *surroundings = (struct hook_surroundings){ bundle->path, bundle->annotations };
        return NULL;
}

struct error *bundle_remove(struct container *c)
{
        char name[NAME_SIZE];
        _cleanup_(closep) int pod_fd = -1;
        if (!c->cdi) /* where alone hooks come from */
                return NULL;
        name_of(c, name);
        TRY(pod_directory_open(c->pod, &pod_fd));
        return pod_fd < 0 ? NULL : file_remove_tree(pod_fd, name);
}

static struct error *poststop(struct container *c)
{
        _cleanup_(bundle_done) struct bundle bundle = { .path = NULL };
        struct hook_surroundings surroundings;
        const struct wait wait = wait_of_ms(POSTSTOP_MAX_MS);
        TRY(spec_ensure(c->pod->node, c));
        TRY(bundle_make(c, &bundle, &surroundings));
        return surroundings.bundle ? runtime_container_poststop(c->spec, &surroundings, &wait) : NULL;
}

void bundle_poststop(struct container *c)
{
        if (c->cdi && strstr(c->cdi, "\"poststop\""))
                background_container(container_ref(c), poststop, "run the hooks after a container's end");
}
