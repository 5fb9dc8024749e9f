/* One import: an OCI layout or docker archive, read through skiff-pull's archive source. */
#include "images/install.h"
#include "images/manifest.h"
#include "images/reference.h"
#include "images/strings.h"
#include <string.h>

enum { BLOB_NAME_SIZE = sizeof("blobs/sha256/") + 64 };

/* What one image of the archive became. */
struct imported {
        struct buf config;
        char **diff_ids, *id;
        char **tags, **digests;
        struct layer **layers;
        size_t n_layers;
};

struct import {
        struct images *images;
        struct puller *puller;
        const struct wait *wait;
        const char *name;
        struct imported *done;
        size_t n;
};

static struct imported *imported_add(struct import *import)
{
        import->done = grow_array(import->done, import->n + 1, sizeof(*import->done));
        struct imported *image = &import->done[import->n++];
        *image = (struct imported){ .tags = strings_empty(), .digests = strings_empty() };
        buf_init(&image->config, MANIFEST_LIMIT_BYTES);
        return image;
}

static void import_done(struct import *import)
{
        for (size_t i = 0; i < import->n; i++) {
                struct imported *image = &import->done[i];
                buf_done(&image->config);
                free_strings(image->diff_ids);
                free_strings(image->tags);
                free_strings(image->digests);
                free(image->id);
                install_done(import->images, image->layers, image->n_layers);
        }
        free(import->done);
        puller_free(import->puller);
}

static void blob_name(const struct digest *digest, char out[BLOB_NAME_SIZE])
{
        char text[DIGEST_TEXT_SIZE];
        digest_format(digest, text);
        (void) snprintf(out, BLOB_NAME_SIZE, "blobs/sha256/%s", text + strlen("sha256:"));
}

static struct error *read_file(struct import *import, const char *name, struct buf *out)
{
        buf_init(out, MANIFEST_LIMIT_BYTES);
        struct error *e = puller_read(import->puller, PULL_READ_FILE, name, MANIFEST_LIMIT_BYTES,
                                      import->wait, out, NULL);
        if (e)
                buf_done(out);
        return e;
}

/* Adds the name an image goes by, and the digest under the same repository where there is one. */
static struct error *add_name(struct imported *image, const char *text, const struct digest *digest)
{
        _cleanup_(reference_freep) struct reference *reference = NULL;
        TRY(reference_parse(text, &reference));
        _cleanup_(freep) char *name = reference_name(reference),
                              *repository = reference_repository(reference);
        if (reference->tag && !strings_contain(image->tags, name))
                strings_add(&image->tags, name);
        if (digest) {
                char digest_text[DIGEST_TEXT_SIZE];
                digest_format(digest, digest_text);
                _cleanup_(freep) char *full = format_string("%s@%s", repository, digest_text);
                strings_add(&image->digests, full);
        }
        return NULL;
}

static struct error *install(struct import *import, struct imported *image, struct install_layer *list,
                             size_t n)
{
        if (strings_length(image->diff_ids) != n)
                return error_new(ERROR_INVALID_ARGUMENT, "%zu layers, but the config has %zu", n,
                                 strings_length(image->diff_ids));
        for (size_t i = 0; i < n; i++)
                list[i].diff_id = image->diff_ids[i];
        TRY(install_layers(import->images, import->puller, PULL_STREAM_FILE, list, n, NULL, import->wait,
                           &image->layers));
        image->n_layers = n;
        return NULL;
}

/* --- OCI layouts --- */

static struct error *read_manifest(struct import *import, const struct descriptor *from,
                                   struct manifest **out)
{
        char name[BLOB_NAME_SIZE];
        struct buf bytes;
        struct digest got;
        blob_name(&from->digest, name);
        TRY_WRAP(read_file(import, name, &bytes), "manifest");
        digest_of(bytes.bytes, bytes.len_bytes, &got);
        struct error *e = NULL;
        if (!digest_equal(&got, &from->digest))
                e = error_new(ERROR_DATA_LOSS, "its digest is another");
        else
                e = manifest_parse(bytes.bytes, bytes.len_bytes, from->media_type, out);
        buf_done(&bytes);
        if (e)
                return error_wrap(e, "%s", name);
        return NULL;
}

static struct error *oci_layers(struct import *import, struct imported *image,
                                const struct manifest *manifest)
{
        char(*names)[BLOB_NAME_SIZE] = new_zeroed(manifest->n, BLOB_NAME_SIZE);
        struct install_layer *list = NEW_ARRAY(struct install_layer, manifest->n);
        for (size_t i = 0; i < manifest->n; i++) {
                const struct descriptor *blob = &manifest->entries[i];
                blob_name(&blob->digest, names[i]);
                list[i] = (struct install_layer){ .name = names[i],
                                                  .has_blob = true,
                                                  .blob = blob->digest,
                                                  .blob_bytes = (uint64_t) blob->size_bytes };
        }
        struct error *e = install(import, image, list, manifest->n);
        free(list);
        free(names);
        return e;
}

/* A name that the caller gave stands in place of those that the archive has: then it may have one image only. */
static struct error *check_name(const struct import *import, size_t n)
{
        if (!import->name || n <= 1)
                return NULL;
        return error_new(
                ERROR_INVALID_ARGUMENT,
                "the archive has %zu images, so one name is not enough: import it without a name and "
                "they keep their own",
                n);
}

/* The names that an index gives an image: a whole one, or a tag that says little without a repository. */
static struct error *oci_names(struct import *import, struct imported *image, const struct descriptor *top)
{
        if (import->name)
                return add_name(image, import->name, &top->digest);
        if (top->fullname)
                return add_name(image, top->fullname, &top->digest);
        if (top->name && strpbrk(top->name, "/:"))
                return add_name(image, top->name, &top->digest);
        return NULL;
}

static struct error *oci_image(struct import *import, const struct descriptor *top)
{
        char config[BLOB_NAME_SIZE];
        _cleanup_(manifest_freep) struct manifest *manifest = NULL, *inner = NULL;
        TRY(read_manifest(import, top, &manifest));
        const struct manifest *use = manifest;
        if (use && use->kind == MANIFEST_INDEX) {
                const struct descriptor *chosen = NULL;
                TRY(manifest_choose(manifest, &chosen));
                TRY(read_manifest(import, chosen, &inner));
                use = inner;
        }
        if (!use || use->kind != MANIFEST_IMAGE) /* never NULL, but analysers believe that an error can be */
                return error_new(ERROR_INVALID_ARGUMENT, "an index inside an index");
        struct imported *image = imported_add(import);
        blob_name(&use->config.digest, config);
        TRY(install_config(import->puller, PULL_READ_FILE, config, &use->config.digest, import->wait,
                           &image->config, &image->diff_ids, &image->id));
        TRY(oci_names(import, image, top));
        return oci_layers(import, image, use);
}

/* `docker save a b` lists an image that has two names twice. */
static bool is_first(const struct manifest *index, size_t i)
{
        for (size_t j = 0; j < i; j++)
                if (digest_equal(&index->entries[j].digest, &index->entries[i].digest))
                        return false;
        return true;
}

static struct error *oci_layout(struct import *import, const struct buf *index_json)
{
        _cleanup_(manifest_freep) struct manifest *index = NULL;
        TRY_WRAP(manifest_parse(index_json->bytes, index_json->len_bytes, NULL, &index), "index.json");
        if (index->kind != MANIFEST_INDEX)
                return error_new(ERROR_INVALID_ARGUMENT, "index.json: not an index");
        size_t n = 0;
        for (size_t i = 0; i < index->n; i++)
                n += manifest_platform_fits(&index->entries[i]) && is_first(index, i);
        TRY(check_name(import, n));
        for (size_t i = 0; i < index->n; i++)
                if (manifest_platform_fits(&index->entries[i]))
                        TRY(oci_image(import, &index->entries[i]));
        return NULL;
}

/* --- docker archives --- */

/* Newer ones name the config by its digest: "HEX.json" or "blobs/sha256/HEX". */
static bool config_digest(const char *name, struct digest *out)
{
        char text[DIGEST_TEXT_SIZE];
        const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
        size_t n = strspn(base, "0123456789abcdef");
        if (n != 64 || (base[n] && strcmp(base + n, ".json") != 0))
                return false;
        (void) snprintf(text, sizeof(text), "sha256:%.64s", base);
        struct error *e = digest_parse(text, out);
        error_ignore(e); /* 64 hex digits always are one */
        return !e;
}

static struct error *docker_image(struct import *import, const struct docker_image *from)
{
        struct digest digest;
        bool has_digest = config_digest(from->config, &digest);
        size_t n = strings_length(from->layers);
        struct imported *image = imported_add(import);
        TRY(install_config(import->puller, PULL_READ_FILE, from->config, has_digest ? &digest : NULL,
                           import->wait, &image->config, &image->diff_ids, &image->id));
        for (char **tag = from->repo_tags; *tag && !import->name; tag++)
                TRY(add_name(image, *tag, NULL));
        if (import->name)
                TRY(add_name(image, import->name, NULL));
        struct install_layer *list = NEW_ARRAY(struct install_layer, n);
        for (size_t i = 0; i < n; i++)
                list[i].name = from->layers[i];
        struct error *e = install(import, image, list, n);
        free(list);
        return e;
}

static struct error *docker_archive(struct import *import, const struct buf *manifest_json)
{
        struct docker_image *images = NULL;
        size_t n = 0;
        struct error *e = docker_manifest_parse(manifest_json->bytes, manifest_json->len_bytes, &images, &n);
        if (!e)
                e = check_name(import, n);
        for (size_t i = 0; i < n && !e; i++)
                e = docker_image(import, &images[i]);
        docker_images_free(images, n);
        return e;
}

/* --- both --- */

static struct error *commit(struct import *import, char ***out_ids)
{
        struct catalog_image *list = NEW_ARRAY(struct catalog_image, import->n);
        char **ids = strings_empty();
        for (size_t i = 0; i < import->n; i++) {
                const struct imported *image = &import->done[i];
                list[i] = (struct catalog_image){ .id = image->id,
                                                  .config_json = image->config.bytes,
                                                  .config_bytes = image->config.len_bytes,
                                                  .layers = image->layers,
                                                  .n_layers = image->n_layers,
                                                  .tags = image->tags,
                                                  .digests = image->digests };
                strings_add(&ids, image->id);
        }
        struct error *e = catalog_commit(import->images->catalog, list, import->n);
        free(list);
        if (e)
                free_strings(ids);
        else
                *out_ids = ids;
        return e;
}

static struct error *read_all(struct import *import, int archive_fd)
{
        struct buf bytes;
        TRY(puller_start_archive(&import->images->puller, archive_fd, import->wait, &import->puller));
        struct error *e = read_file(import, "index.json", &bytes);
        if (!e) {
                e = oci_layout(import, &bytes);
                buf_done(&bytes);
        } else if (error_code_of(e) == ERROR_NOT_FOUND) {
                error_free(e);
                e = read_file(import, "manifest.json", &bytes);
                if (e)
                        return error_code_of(e) == ERROR_NOT_FOUND
                                       ? error_as(error_wrap(e, "neither an OCI layout nor a docker archive"),
                                                  ERROR_INVALID_ARGUMENT)
                                       : e;
                e = docker_archive(import, &bytes);
                buf_done(&bytes);
        }
        if (!e && import->n == 0)
                e = error_new(ERROR_INVALID_ARGUMENT, "no image for this machine in it");
        return e;
}

struct error *images_import(struct images *images, int archive_fd, const char *name, const struct wait *wait,
                            char ***out_ids)
{
        struct error *e;
        {
                _cleanup_(
                        import_done) struct import import = { .images = images, .wait = wait, .name = name };
                e = read_all(&import, archive_fd);
                /* A file that the archive names and does not hold is the archive's fault, not a missing image. */
                if (e && error_code_of(e) == ERROR_NOT_FOUND)
                        e = error_as(e, ERROR_INVALID_ARGUMENT);
                if (!e)
                        e = commit(&import, out_ids);
        }
        if (!e)
                return NULL;
        /* What was whole but has no image goes, after all pins did. */
        error_ignore(
                catalog_collect(images->catalog)); /* e is what went wrong; a later collection tries again */
        return e;
}
