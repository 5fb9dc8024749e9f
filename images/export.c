/* One export: an image of the store as an OCI layout. */
#include "base/buf.h"
#include "base/file.h"
#include "images/config.h"
#include "images/install.h"
#include "images/layer_tar.h"
#include "images/manifest.h"
#include "images/reference.h"
#include "images/store.h"
#include "images/strings.h"
#include "images/unpack_protocol.h"
#include <string.h>

#define OCI "application/vnd.oci.image."

enum { JSON_LIMIT_BYTES = 8 << 20 };

struct export
{
        int fd;
        const struct wait *wait;
        char *asked; /* the one of its names that was asked for, or NULL */
        struct image *image;
        struct layer **layers; /* pinned */
        size_t n;
        struct digest *digests; /* of the layers' tars as written here */
        uint64_t *sizes;
        struct buf config, json;
};

/* --- the layout's own tar: an entry's header is written after its content, when its name is known --- */

static struct error *entry_begin(const struct export *export, off_t *header_at)
{
        static const char zeros[TAR_BLOCK_BYTES];
        *header_at = lseek(export->fd, 0, SEEK_CUR);
        if (*header_at < 0)
                return error_errno(errno, "seek");
        return file_write_all(export->fd, zeros, sizeof(zeros));
}

static struct error *entry_end(const struct export *export, off_t header_at, const char *name,
                               uint64_t size_bytes)
{
        static const char zeros[TAR_BLOCK_BYTES];
        char header[TAR_BLOCK_BYTES];
        size_t over = (size_t) (size_bytes % TAR_BLOCK_BYTES);
        layer_tar_file_header(header, name, size_bytes);
        if (pwrite(export->fd, header, sizeof(header), header_at) != (ssize_t) sizeof(header))
                return error_errno(errno, "write");
        return over ? file_write_all(export->fd, zeros, TAR_BLOCK_BYTES - over) : NULL;
}

static struct error *put_entry(const struct export *export, const char *name, const struct buf *content)
{
        off_t header_at = 0;
        TRY(entry_begin(export, &header_at));
        TRY(file_write_all(export->fd, content->bytes, content->len_bytes));
        return entry_end(export, header_at, name, content->len_bytes);
}

static void blob_name(const struct digest *digest, char out[sizeof("blobs/sha256/") + 64])
{
        char text[DIGEST_TEXT_SIZE];
        digest_format(digest, text);
        (void) snprintf(out, sizeof("blobs/sha256/") + 64, "blobs/sha256/%s", text + strlen("sha256:"));
}

static struct error *put_blob(const struct export *export, const struct buf *content, struct digest *digest)
{
        char name[sizeof("blobs/sha256/") + 64];
        digest_of(content->bytes, content->len_bytes, digest);
        blob_name(digest, name);
        return put_entry(export, name, content);
}

/* --- its parts --- */

static struct error *put_layer(struct images *images, const struct export *export, size_t i)
{
        char name[sizeof("blobs/sha256/") + 64];
        off_t header_at = 0;
        int dir_fd = -1;
        bool is_opaque = false;
        TRY(layer_lower(images->layers, export->layers[i], &dir_fd, &is_opaque));
        _cleanup_(buf_done) struct buf seams;
        buf_init(&seams, SEAMS_MAX_BYTES + 1);
        TRY(layer_seams(images->layers, export->layers[i], &seams));
        TRY(entry_begin(export, &header_at));
        TRY(layer_tar_write(dir_fd, &seams, (struct layer_ids){ 0, 0 }, export->fd, export->wait,
                            &export->digests[i], &export->sizes[i]));
        blob_name(&export->digests[i], name);
        return entry_end(export, header_at, name, export->sizes[i]);
}

/* A layer that comes twice is one blob. */
static struct error *put_layers(struct images *images, struct export *export)
{
        for (size_t i = 0; i < export->n; i++) {
                size_t same = 0;
                while (export->layers[same] != export->layers[i])
                        same++;
                if (same == i)
                        TRY_WRAP(put_layer(images, export, i), "layer %s", layer_diff_id(export->layers[i]));
                export->digests[i] = export->digests[same];
                export->sizes[i] = export->sizes[same];
        }
        return NULL;
}

/* The config with other diffIDs: their texts are replaced where they stand, so all else of it stays as it came. */
static struct error *replace_diff_ids(struct export *export)
{
        for (const char *s = export->image->config_json; *s;) {
                size_t i = export->n;
                for (size_t j = 0; j < export->n && i == export->n && *s == 's'; j++)
                        if (strncmp(s, export->image->diff_ids[j], DIGEST_TEXT_SIZE - 1) == 0)
                                i = j;
                if (i == export->n) {
                        size_t n = 1 + strcspn(s + 1, "s");
                        TRY(buf_append(&export->config, s, n));
                        s += n;
                        continue;
                }
                char text[DIGEST_TEXT_SIZE];
                digest_format(&export->digests[i], text);
                TRY(buf_append_text(&export->config, text));
                s += DIGEST_TEXT_SIZE - 1;
        }
        return NULL;
}

static struct error *check_config(const struct export *export)
{
        struct image_config config;
        _cleanup_(free_stringsp) char **diff_ids = NULL;
        TRY(config_parse(export->config.bytes, export->config.len_bytes, &config, &diff_ids));
        image_config_done(&config);
        bool same = strings_length(diff_ids) == export->n;
        for (size_t i = 0; i < export->n && same; i++) {
                char text[DIGEST_TEXT_SIZE];
                digest_format(&export->digests[i], text);
                same = strcmp(diff_ids[i], text) == 0;
        }
        return same ? NULL
                    : error_new(ERROR_UNIMPLEMENTED, "the config writes its diffIDs in a way that cannot be"
                                                     " replaced");
}

static struct error *make_manifest(struct export *export, const struct digest *config)
{
        char text[DIGEST_TEXT_SIZE];
        digest_format(config, text);
        TRY(buf_append_format(&export->json,
                              "{\"schemaVersion\":2,\"mediaType\":\"" OCI
                              "manifest.v1+json\",\"config\":{\"mediaType\":\"" OCI
                              "config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
                              text, export->config.len_bytes));
        for (size_t i = 0; i < export->n; i++) {
                digest_format(&export->digests[i], text);
                TRY(buf_append_format(&export->json,
                                      "%s{\"mediaType\":\"" OCI
                                      "layer.v1.tar\",\"digest\":\"%s\",\"size\":%llu}",
                                      i ? "," : "", text, (unsigned long long) export->sizes[i]));
        }
        return buf_append_text(&export->json, "]}");
}

static struct error *add_index_entry(struct export *export, const char *digest, size_t size_bytes,
                                     const char *name)
{
        TRY(buf_append_format(&export->json,
                              "{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu",
                              digest, size_bytes));
        if (!name)
                return buf_append_text(&export->json, "}");
        const char *tag = strrchr(name, ':');
        TRY(buf_append_text(&export->json, ",\"annotations\":{\"io.containerd.image.name\":"));
        TRY(json_put_text(&export->json, name));
        TRY(buf_append_text(&export->json, ",\"org.opencontainers.image.ref.name\":"));
        TRY(json_put_text(&export->json, tag ? tag + 1 : name));
        return buf_append_text(&export->json, "}}");
}

/* The names that go with it: the one that was asked for, or all of an image that was asked for by its id or digest. */
static struct error *make_index(struct export *export, const struct digest *manifest, size_t size_bytes)
{
        char text[DIGEST_TEXT_SIZE];
        size_t n = 0;
        digest_format(manifest, text);
        TRY(buf_append_text(&export->json,
                            "{\"schemaVersion\":2,\"mediaType\":\"" OCI "index.v1+json\",\"manifests\":["));
        for (char **tag = export->image->repo_tags; *tag; tag++) {
                if (export->asked && strcmp(*tag, export->asked) != 0)
                        continue;
                if (n++)
                        TRY(buf_append_text(&export->json, ","));
                TRY(add_index_entry(export, text, size_bytes, *tag));
        }
        if (n == 0)
                TRY(add_index_entry(export, text, size_bytes, NULL));
        return buf_append_text(&export->json, "]}");
}

/* The whole name behind what was asked for, where it is one of the image's; else NULL. */
static char *asked_name(const struct image *image, const char *text)
{
        _cleanup_(reference_freep) struct reference *reference = NULL;
        struct error *e = reference_parse(text, &reference);
        if (e) { /* a short id */
                error_free(e);
                return NULL;
        }
        _cleanup_(freep) char *name = reference_name(reference);
        for (char **tag = image->repo_tags; *tag; tag++)
                if (strcmp(*tag, name) == 0)
                        return TAKE(name);
        return NULL;
}

static struct error *put_documents(struct export *export, char **out_id)
{
        static const char end[2 * TAR_BLOCK_BYTES], layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
        struct digest config, manifest;
        char id[DIGEST_TEXT_SIZE];
        TRY(replace_diff_ids(export));
        TRY(check_config(export));
        TRY(put_blob(export, &export->config, &config));
        TRY(make_manifest(export, &config));
        TRY(put_blob(export, &export->json, &manifest));
        size_t size_bytes = export->json.len_bytes;
        buf_consume(&export->json, size_bytes);
        TRY(make_index(export, &manifest, size_bytes));
        TRY(put_entry(export, "index.json", &export->json));
        buf_consume(&export->json, export->json.len_bytes);
        TRY(buf_append_text(&export->json, layout));
        TRY(put_entry(export, "oci-layout", &export->json));
        TRY(file_write_all(export->fd, end, sizeof(end)));
        digest_format(&config, id);
        *out_id = dup_string(id);
        return NULL;
}

static void export_done(struct images *images, struct export *export)
{
        install_done(images, export->layers, export->n);
        image_free(export->image);
        free(export->asked);
        free(export->digests);
        free(export->sizes);
        buf_done(&export->config);
        buf_done(&export->json);
}

static struct error *run(struct images *images, struct export *export, const char *reference, char **out_id)
{
        TRY(images_find(images, reference, &export->image));
        export->asked = asked_name(export->image, reference);
        TRY(catalog_pin_layers(images->catalog, export->image->id, &export->layers, &export->n));
        export->n = strings_length(export->image->diff_ids); /* behind them is the seam, if any */
        export->digests = NEW_ARRAY(struct digest, export->n + 1);
        export->sizes = NEW_ARRAY(uint64_t, export->n + 1);
        TRY(put_layers(images, export));
        return put_documents(export, out_id);
}

struct error *images_export(struct images *images, const char *reference, int fd, const struct wait *wait,
                            char **out_id)
{
        struct export export = { .fd = fd, .wait = wait };
        buf_init(&export.config, JSON_LIMIT_BYTES);
        buf_init(&export.json, JSON_LIMIT_BYTES);
        struct error *e = run(images, &export, reference, out_id);
        export_done(images, &export);
        return e ? error_wrap(e, "export %s", reference) : NULL;
}
