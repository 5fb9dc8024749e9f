/* One import: an OCI layout or docker archive, read through skiff-pull's archive source. */
#include "images/install.h"
#include "images/platform.h"
#include "images/reference.h"
#include "images/resolve.h"
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
        struct error *passed; /* why the first entry that is no image for this machine is none */
};

static struct imported *imported_add(struct import *import)
{
        import->done = grow_array(import->done, import->n + 1, sizeof(*import->done));
        struct imported *image = &import->done[import->n++];
        *image = (struct imported){ .tags = strings_empty(), .digests = strings_empty() };
        buf_init(&image->config, MANIFEST_LIMIT_BYTES);
        return image;
}

/* The last one. */
static void imported_drop(struct import *import)
{
        struct imported *image = &import->done[--import->n];
        buf_done(&image->config);
        free_strings(image->diff_ids);
        free_strings(image->tags);
        free_strings(image->digests);
        free(image->id);
        install_done(import->images, image->layers, image->n_layers);
}

static void import_done(struct import *import)
{
        while (import->n)
                imported_drop(import);
        free(import->done);
        error_free(import->passed);
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

static struct error *read_entry(void *context, const struct descriptor *from, struct manifest **out)
{
        return read_manifest(context, from, out);
}

/* What lies beside images, and images for other machines, are passed over: told at the end where nothing else is there. */
static void pass_over(struct import *import, struct error *why)
{
        if (import->passed)
                error_free(why);
        else
                import->passed = why;
}

/* The image that an entry of index.json is or leads to. *out is NULL where it is none for this machine. */
static struct error *find_image(struct import *import, const struct descriptor *top, struct manifest **out)
{
        const struct manifest_reader reader = { read_entry, import };
        _cleanup_(manifest_freep) struct manifest *manifest = NULL, *inner = NULL;
        struct error *e = read_manifest(import, top, &manifest);
        if (!e && manifest->kind == MANIFEST_INDEX)
                e = manifest_resolve(manifest, &reader, &inner);
        if (!e) {
                *out = inner ? TAKE(inner) : TAKE(manifest);
                return NULL;
        }
        if (error_code_of(e) != ERROR_UNIMPLEMENTED && error_code_of(e) != ERROR_NOT_FOUND)
                return e;
        pass_over(import, e);
        return NULL;
}

/* Adds an image, as its config has it; *taken is false where that is none of an image for this machine. */
static struct error *take_config(struct import *import, const char *config, const struct digest *digest,
                                 bool *taken)
{
        struct imported *image = imported_add(import);
        struct error *e = install_config(import->puller, PULL_READ_FILE, config, digest, import->wait,
                                         &image->config, &image->diff_ids, &image->id);
        *taken = !e;
        if (!e)
                return NULL;
        imported_drop(import);
        if (error_code_of(e) != ERROR_FAILED_PRECONDITION && error_code_of(e) != ERROR_INVALID_ARGUMENT)
                return e;
        pass_over(import, e);
        return NULL;
}

static struct error *take_oci_config(struct import *import, const struct manifest *manifest, bool *taken)
{
        char config[BLOB_NAME_SIZE];
        bool first = !import->passed;
        blob_name(&manifest->config.digest, config);
        TRY(take_config(import, config, &manifest->config.digest, taken));
        if (!*taken && first && !manifest_config_is_known(manifest))
                import->passed =
                        error_wrap(TAKE(import->passed), "not a container image: its config is a \"%.100s\"",
                                   manifest->config.media_type);
        return NULL;
}

/* `docker save a b` lists an image that has two names twice. */
static bool is_first(const struct descriptor *const *list, size_t i)
{
        for (size_t j = 0; j < i; j++)
                if (digest_equal(&list[j]->digest, &list[i]->digest))
                        return false;
        return true;
}

/* All of index.json's images, found before the first is unpacked: signatures and the like may lie beside them. */
struct layout {
        const struct descriptor **tops;
        struct manifest **images; /* NULL: no image */
        size_t *done;             /* where the import has it */
        bool *taken;
        size_t n;
};

static void layout_done(struct layout *layout)
{
        for (size_t i = 0; i < layout->n; i++)
                manifest_free(layout->images[i]);
        free(layout->images);
        free(layout->tops);
        free(layout->done);
        free(layout->taken);
}

/* A signature may have the config of an image; its layers tell. */
static struct error *layout_take(struct import *import, struct layout *layout, bool odd)
{
        for (size_t i = 0; i < layout->n; i++) {
                if (!layout->images[i] || (manifest_odd_layer(layout->images[i]) != NULL) != odd)
                        continue;
                layout->done[i] = import->n;
                TRY(take_oci_config(import, layout->images[i], &layout->taken[i]));
        }
        return NULL;
}

static struct error *layout_find(struct import *import, const struct manifest *index, struct layout *layout)
{
        size_t n_images = 0;
        manifest_candidates(index, &layout->tops, &layout->n);
        layout->images = NEW_ARRAY(struct manifest *, layout->n);
        layout->done = NEW_ARRAY(size_t, layout->n);
        layout->taken = NEW_ARRAY(bool, layout->n);
        for (size_t i = 0; i < layout->n; i++)
                TRY(find_image(import, layout->tops[i], &layout->images[i]));
        TRY(layout_take(import, layout, false));
        if (!import->n) /* then what is odd may be one: types are invented */
                TRY(layout_take(import, layout, true));
        for (size_t i = 0; i < layout->n; i++)
                n_images += layout->taken[i] && is_first(layout->tops, i);
        if (!import->n)
                return import->passed ? TAKE(import->passed) : manifest_no_image(index);
        return check_name(import, n_images);
}

static struct error *oci_layout(struct import *import, const struct manifest *index)
{
        _cleanup_(layout_done) struct layout layout = { .n = 0 };
        TRY(layout_find(import, index, &layout));
        for (size_t i = 0; i < layout.n; i++) {
                if (!layout.taken[i])
                        continue;
                struct imported *image = &import->done[layout.done[i]];
                TRY(oci_names(import, image, layout.tops[i]));
                TRY(oci_layers(import, image, layout.images[i]));
        }
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
        bool has_digest = config_digest(from->config, &digest), taken = false;
        size_t n = strings_length(from->layers);
        TRY(take_config(import, from->config, has_digest ? &digest : NULL, &taken));
        if (!taken)
                return NULL;
        struct imported *image = &import->done[import->n - 1];
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
        if (!e && !import->n)
                e = TAKE(import->passed);
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
                                                  .seam = image->layers[image->n_layers],
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

/* *found: index.json is there and lists something. Some tools write an empty one beside docker's manifest.json. */
static struct error *read_layout(struct import *import, bool *found)
{
        struct buf bytes;
        _cleanup_(manifest_freep) struct manifest *index = NULL;
        *found = false;
        struct error *e = read_file(import, "index.json", &bytes);
        if (e && error_code_of(e) == ERROR_NOT_FOUND) {
                error_ignore(e); /* another form, then */
                return NULL;
        }
        if (e)
                return e;
        e = manifest_parse(bytes.bytes, bytes.len_bytes, NULL, &index);
        buf_done(&bytes);
        TRY_WRAP(e, "index.json");
        if (index->kind != MANIFEST_INDEX)
                return error_new(ERROR_INVALID_ARGUMENT, "index.json: not an index");
        if (index->n == 0)
                return NULL;
        *found = true;
        return oci_layout(import, index);
}

static struct error *read_docker(struct import *import)
{
        struct buf bytes;
        struct error *e = read_file(import, "manifest.json", &bytes);
        if (e)
                return error_code_of(e) == ERROR_NOT_FOUND
                               ? error_as(error_wrap(
                                                  e,
                                                  "neither an OCI layout with an image nor a docker archive"),
                                          ERROR_INVALID_ARGUMENT)
                               : e;
        e = docker_archive(import, &bytes);
        buf_done(&bytes);
        return e;
}

static struct error *read_all(struct import *import, int archive_fd)
{
        bool found = false;
        TRY(puller_start_archive(&import->images->puller, archive_fd, import->wait, &import->puller));
        TRY(read_layout(import, &found));
        if (!found)
                TRY(read_docker(import));
        if (import->n)
                return NULL;
        char here[PLATFORM_TEXT_SIZE];
        platform_here(here);
        return error_new(ERROR_INVALID_ARGUMENT, "no image for this machine (%s) in it", here);
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
