#include "images/manifest.h"
#include "base/json.h"
#include "images/strings.h"
#include <string.h>
#include <sys/utsname.h>

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

static struct error *descriptor_read(const struct json *json, struct descriptor *out)
{
        const char *digest = NULL, *media_type = NULL;
        if (json_type_of(json) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "not an object");
        TRY(json_need_text(json, "mediaType", &media_type));
        TRY(json_need_text(json, "digest", &digest));
        TRY(digest_parse(digest, &out->digest));
        TRY(json_need_integer(json, "size", &out->size_bytes));
        if (out->size_bytes < 0 || out->size_bytes > blob_max_bytes)
                return error_new(ERROR_INVALID_ARGUMENT, "\"size\" is out of range");
        out->media_type = dup_string(media_type);
        const struct json *platform = json_get(json, "platform"), *notes = json_get(json, "annotations");
        out->os = dup_string(json_text(json_get(platform, "os"), NULL));
        out->architecture = dup_string(json_text(json_get(platform, "architecture"), NULL));
        out->variant = dup_string(json_text(json_get(platform, "variant"), NULL));
        out->name = dup_string(json_text(json_get(notes, "org.opencontainers.image.ref.name"), NULL));
        out->fullname = dup_string(json_text(json_get(notes, "io.containerd.image.name"), NULL));
        return NULL;
}

static struct error *entries_read(const struct json *root, const char *key, size_t max, struct manifest *to)
{
        const struct json *list = json_get(root, key);
        size_t n = json_length(list);
        if (json_type_of(list) != JSON_ARRAY)
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

static struct error *image_read(const struct json *root, struct manifest *to)
{
        to->kind = MANIFEST_IMAGE;
        TRY_WRAP(descriptor_read(json_get(root, "config"), &to->config), "\"config\"");
        const char *artifact = json_text(json_get(root, "artifactType"), "");
        if (!is_one_of(to->config.media_type, config_types, LENGTH(config_types)))
                return error_new(ERROR_UNIMPLEMENTED, "not a container image: its config is a %s%s%s",
                                 to->config.media_type, *artifact ? " of an artifact " : "", artifact);
        TRY(entries_read(root, "layers", LAYERS_MAX, to));
        for (size_t i = 0; i < to->n; i++)
                if (!is_one_of(to->entries[i].media_type, layer_types, LENGTH(layer_types)))
                        return error_new(ERROR_UNIMPLEMENTED, "layer %zu: unknown media type %s", i,
                                         to->entries[i].media_type);
        return NULL;
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
        bool has_list = json_get(root, "manifests"), has_layers = json_get(root, "layers");
        if (has_list && has_layers)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "both \"manifests\" and \"layers\": index or image?");
        bool says_index = is_one_of(type, index_types, LENGTH(index_types));
        bool says_image = is_one_of(type, image_types, LENGTH(image_types));
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

/* Go's name for this machine's architecture, as image platforms say it. */
static const char *machine_architecture(void)
{
        static const char *const names[][2] = {
                { "x86_64", "amd64" },    { "aarch64", "arm64" },       { "armv7l", "arm" },
                { "ppc64le", "ppc64le" }, { "s390x", "s390x" },         { "riscv64", "riscv64" },
                { "i686", "386" },        { "loongarch64", "loong64" },
        };
        static __thread struct utsname uts;
        if (uname(&uts) < 0)
                return "unknown";
        for (size_t i = 0; i < LENGTH(names); i++)
                if (strcmp(uts.machine, names[i][0]) == 0)
                        return names[i][1];
        return uts.machine;
}

/* 0: does not fit; the lower the better. The variant that asks least of the processor is chosen. */
static int platform_rank(const struct descriptor *d)
{
        if (!d->os && !d->architecture)
                return 9;
        if (!d->os || !d->architecture || strcmp(d->os, "linux") != 0 ||
            strcmp(d->architecture, machine_architecture()) != 0)
                return 0;
        const char *variant = d->variant ? d->variant : "";
        bool is_plain = !*variant || (strcmp(d->architecture, "amd64") == 0 && strcmp(variant, "v1") == 0) ||
                        (strcmp(d->architecture, "arm64") == 0 && strcmp(variant, "v8") == 0);
        if (is_plain)
                return 1;
        /* 32-bit arm has no plain one: v7 is what a 64-bit kernel's machines run best. */
        return strcmp(d->architecture, "arm") == 0 ? (strcmp(variant, "v7") == 0 ? 2 : 3) : 4;
}

bool manifest_platform_fits(const struct descriptor *descriptor)
{
        return platform_rank(descriptor) != 0;
}

struct error *manifest_choose(const struct manifest *index, const struct descriptor **out)
{
        const struct descriptor *best = NULL;
        for (size_t i = 0; i < index->n; i++) {
                int rank = platform_rank(&index->entries[i]);
                if (rank && (!best || rank < platform_rank(best)))
                        best = &index->entries[i];
        }
        if (!best)
                return error_new(ERROR_NOT_FOUND, "no image for linux/%s in the index",
                                 machine_architecture());
        *out = best;
        return NULL;
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
