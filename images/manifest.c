#include "images/manifest.h"
#include "base/json.h"
#include "images/platform.h"
#include "images/strings.h"
#include <string.h>

static const int64_t blob_max_bytes = INT64_C(1) << 42;

static const char *const index_types[] = {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
};

static const char *const image_types[] = {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
};

static const char *const config_types[] = {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
};

static const char *const layer_types[] = {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
};

static bool is_one_of(const char *text, const char *const *known, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(text, known[i]) == 0)
                        return true;
        return false;
}

static void descriptor_done(struct descriptor *d)
{
        free(d->media_type);
        free(d->os);
        free(d->architecture);
        free(d->variant);
        free(d->name);
        free(d->fullname);
}

/* An absent or empty type is odd, but what the bytes are tells too. */
static struct error *descriptor_read(const struct json *json, struct descriptor *out)
{
        const char *digest = NULL;
        if (json_type_of(json) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "not an object");
        TRY(json_need_text(json, "digest", &digest));
        TRY(digest_parse(digest, &out->digest));
        TRY(json_need_integer(json, "size", &out->size_bytes));
        if (out->size_bytes < 0 || out->size_bytes > blob_max_bytes)
                return error_new(ERROR_INVALID_ARGUMENT, "\"size\" is out of range");
        out->media_type = dup_string(json_text(json_get(json, "mediaType"), ""));
        const struct json *platform = json_get(json, "platform"), *notes = json_get(json, "annotations");
        out->os = dup_string(json_text(json_get(platform, "os"), NULL));
        out->architecture = dup_string(json_text(json_get(platform, "architecture"), NULL));
        out->variant = dup_string(json_text(json_get(platform, "variant"), NULL));
        out->name = dup_string(json_text(json_get(notes, "org.opencontainers.image.ref.name"), NULL));
        out->fullname = dup_string(json_text(json_get(notes, "io.containerd.image.name"), NULL));
        /* BuildKit's attestations are for "unknown/unknown" and say this too. */
        out->is_artifact = *json_text(json_get(json, "artifactType"), "") ||
                           *json_text(json_get(notes, "vnd.docker.reference.type"), "");
        return NULL;
}

static struct error *entries_read(const struct json *root, const char *key, size_t max, struct manifest *to)
{
        const struct json *list = json_get(root, key);
        size_t n = json_length(list);
        if (json_type_of(list) != JSON_ARRAY && json_type_of(list) != JSON_NULL)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a list", key);
        if (n > max)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" has %zu entries, more than %zu", key, n,
                                 max);
        to->entries = NEW_ARRAY(struct descriptor, n);
        for (size_t i = 0; i < n; i++) {
                to->n = i + 1;
                TRY_WRAP(descriptor_read(json_at(list, i), &to->entries[i]), "\"%s\" %zu", key, i);
        }
        return NULL;
}

bool manifest_config_is_known(const struct manifest *image)
{
        return is_one_of(image->config.media_type, config_types, LENGTH(config_types));
}

const char *manifest_odd_layer(const struct manifest *image)
{
        for (size_t i = 0; i < image->n; i++)
                if (!is_one_of(image->entries[i].media_type, layer_types, LENGTH(layer_types)))
                        return image->entries[i].media_type;
        return NULL;
}

/* A chart, a signature or a policy lies in registries in an image's place: it says so, or its config is empty. */
static struct error *image_read(const struct json *root, struct manifest *to)
{
        to->kind = MANIFEST_IMAGE;
        TRY_WRAP(descriptor_read(json_get(root, "config"), &to->config), "\"config\"");
        const char *artifact = json_text(json_get(root, "artifactType"), "");
        bool is_empty = strcmp(to->config.media_type, "application/vnd.oci.empty.v1+json") == 0;
        if (!manifest_config_is_known(to) && (*artifact || is_empty))
                return error_new(ERROR_UNIMPLEMENTED, "not a container image: its config is a %s%s%s",
                                 to->config.media_type, *artifact ? " of an artifact " : "", artifact);
        return entries_read(root, "layers", LAYERS_MAX, to);
}

/* Whether the member is there as more than null. */
static bool has(const struct json *root, const char *key)
{
        return json_get(root, key) && json_type_of(json_get(root, key)) != JSON_NULL;
}

static struct error *kind_of(const struct json *root, const char *media_type, bool *is_index)
{
        const char *said = json_text(json_get(root, "mediaType"), ""), *type = said;
        if (!*type && media_type)
                type = media_type;
        int64_t version = json_integer(json_get(root, "schemaVersion"), 0);
        if (version == 1)
                return error_new(ERROR_UNIMPLEMENTED,
                                 "a schema 1 manifest: push the image again in a newer form");
        if (version != 2)
                return error_new(ERROR_INVALID_ARGUMENT, "\"schemaVersion\" is not 2");
        bool has_list = has(root, "manifests"), has_layers = has(root, "layers");
        if (has_list && has_layers)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "both \"manifests\" and \"layers\": index or image?");
        bool says_index = is_one_of(type, index_types, LENGTH(index_types));
        bool says_image = is_one_of(type, image_types, LENGTH(image_types));
        if (!has_list && !has_layers) { /* one that is null tells the kind all the same */
                has_list = json_get(root, "manifests") && !json_get(root, "config");
                has_layers = json_get(root, "config") && !json_get(root, "manifests");
        }
        if ((says_index && has_layers) || (says_image && has_list))
                return error_new(ERROR_INVALID_ARGUMENT, "its media type %s is not what it holds", type);
        /* What it says of itself counts; of what a registry's header says many are in error. */
        if (!says_index && !says_image && (*said || (!has_list && !has_layers)))
                return error_new(ERROR_UNIMPLEMENTED, "unknown media type \"%s\"", type);
        *is_index = says_index || has_list;
        return NULL;
}

static struct error *read_any(const struct json *root, const char *media_type, struct manifest *to)
{
        bool is_index = false;
        if (json_type_of(root) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "not an object");
        TRY(kind_of(root, media_type, &is_index));
        if (!is_index)
                return image_read(root, to);
        to->kind = MANIFEST_INDEX;
        return entries_read(root, "manifests", INDEX_MAX, to);
}

struct error *manifest_parse(const char *bytes, size_t len_bytes, const char *media_type,
                             struct manifest **out)
{
        _cleanup_(json_freep) struct json *root = NULL;
        _cleanup_(manifest_freep) struct manifest *manifest = NEW(struct manifest);
        if (len_bytes > MANIFEST_LIMIT_BYTES)
                return error_new(ERROR_INVALID_ARGUMENT, "manifest: larger than %u bytes",
                                 MANIFEST_LIMIT_BYTES);
        TRY_WRAP(json_parse(bytes, len_bytes, &root), "manifest");
        TRY_WRAP(read_any(root, media_type, manifest), "manifest");
        *out = TAKE(manifest);
        return NULL;
}

void manifest_free(struct manifest *manifest)
{
        if (!manifest)
                return;
        descriptor_done(&manifest->config);
        for (size_t i = 0; i < manifest->n; i++)
                descriptor_done(&manifest->entries[i]);
        free(manifest->entries);
        free(manifest);
}

static struct platform platform_of(const struct descriptor *d)
{
        return (struct platform){ d->os, d->architecture, d->variant };
}

/* What may be an image or hold one. */
static bool may_be_image(const struct descriptor *d)
{
        return !d->is_artifact &&
               (!*d->media_type || is_one_of(d->media_type, image_types, LENGTH(image_types)) ||
                is_one_of(d->media_type, index_types, LENGTH(index_types)));
}

void manifest_candidates(const struct manifest *index, const struct descriptor ***out, size_t *n)
{
        const struct descriptor **list = NEW_ARRAY(const struct descriptor *, index->n);
        int *ranks = NEW_ARRAY(int, index->n);
        *n = 0;
        for (size_t i = 0; i < index->n; i++) {
                const struct platform platform = platform_of(&index->entries[i]);
                int rank = may_be_image(&index->entries[i]) ? platform_rank(&platform) : 0;
                if (!rank)
                        continue;
                size_t at = (*n)++;
                for (; at > 0 && ranks[at - 1] > rank; at--) {
                        list[at] = list[at - 1];
                        ranks[at] = ranks[at - 1];
                }
                list[at] = &index->entries[i];
                ranks[at] = rank;
        }
        free(ranks);
        *out = list;
}

enum { NAMED_MAX = 8 };

struct error *manifest_no_image(const struct manifest *index)
{
        char here[PLATFORM_TEXT_SIZE], others[NAMED_MAX * (PLATFORM_TEXT_SIZE + 2)] = "";
        size_t n = 0, n_named = 0;
        platform_here(here);
        for (size_t i = 0; i < index->n && n_named < NAMED_MAX; i++) {
                char one[PLATFORM_TEXT_SIZE];
                const struct platform platform = platform_of(&index->entries[i]);
                if (!may_be_image(&index->entries[i]) || !platform.architecture || !*platform.architecture ||
                    strcmp(platform.architecture, "unknown") == 0)
                        continue;
                platform_format(&platform, one);
                n += (size_t) snprintf(others + n, sizeof(others) - n, "%s%s", n_named++ ? ", " : "", one);
        }
        return error_new(ERROR_NOT_FOUND, "no image for %s in the index%s%s", here,
                         n_named ? ", but for " : "", others);
}

static struct error *docker_image_read(const struct json *json, struct docker_image *to)
{
        const char *config = NULL;
        TRY(json_need_text(json, "Config", &config));
        to->config = dup_string(config);
        TRY(strings_of_json(json, "Layers", LAYERS_MAX, &to->layers));
        return strings_of_json(json, "RepoTags", INDEX_MAX, &to->repo_tags);
}

struct error *docker_manifest_parse(const char *bytes, size_t len_bytes, struct docker_image **out, size_t *n)
{
        _cleanup_(json_freep) struct json *root = NULL;
        TRY_WRAP(json_parse(bytes, len_bytes, &root), "manifest.json");
        size_t count = json_length(root);
        if (json_type_of(root) != JSON_ARRAY || count == 0 || count > INDEX_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "manifest.json: not a list of 1 to %d images",
                                 INDEX_MAX);
        struct docker_image *images = NEW_ARRAY(struct docker_image, count);
        for (size_t i = 0; i < count; i++) {
                struct error *e = docker_image_read(json_at(root, i), &images[i]);
                if (e) {
                        docker_images_free(images, count);
                        return error_wrap(e, "manifest.json: image %zu", i);
                }
        }
        *out = images;
        *n = count;
        return NULL;
}

void docker_images_free(struct docker_image *images, size_t n)
{
        for (size_t i = 0; images && i < n; i++) {
                free(images[i].config);
                free_strings(images[i].layers);
                free_strings(images[i].repo_tags);
        }
        free(images);
}
