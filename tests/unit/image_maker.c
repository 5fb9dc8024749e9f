#include "tests/unit/image_maker.h"
#include "tests/unit/unit.h"

static void put_file(struct buf *archive, const char *name, const struct buf *content)
{
        tar_put(archive, &(struct tar_entry){ .name = name,
                                              .mode = 0644,
                                              .data = content->bytes,
                                              .len_bytes = content->len_bytes });
}

/* Puts a blob and gives its digest, owned by the caller. */
static char *put_blob(struct buf *archive, const struct buf *content, int spoil)
{
        char *digest = dup_string(digest_text_of(content->bytes, content->len_bytes));
        _cleanup_(freep) char *name = format_string("blobs/sha256/%s", digest + 7);
        struct buf copy = *content;
        copy.bytes = dup_bytes(content->bytes, content->len_bytes);
        if (spoil == 1)
                copy.bytes[copy.len_bytes / 2] ^= 1;
        if (spoil == 2)
                copy.len_bytes /= 2;
        if (spoil != 3)
                put_file(archive, name, &copy);
        free(copy.bytes);
        return digest;
}

#define USUAL_MEMBERS "\"Env\":[\"PATH=/bin\"],\"Cmd\":[\"sh\"],\"User\":\"1000\""

static void make_config(struct buf *config, const char *members, const struct made_layer *layers, size_t n)
{
        buf_init(config, 1 << 20);
        assert_ok(buf_append_format(config,
                                    "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{%s},\"rootfs\":"
                                    "{\"type\":\"layers\","
                                    "\"diff_ids\":[",
                                    members));
        for (size_t i = 0; i < n; i++)
                assert_ok(buf_append_format(
                        config, "%s\"%s\"", i ? "," : "",
                        layers[i].diff_id ? layers[i].diff_id
                                          : digest_text_of(layers[i].tar->bytes, layers[i].tar->len_bytes)));
        assert_ok(buf_append_text(config, "]}}"));
}

void make_oci_archive(struct buf *out, const char *name, const struct made_layer *layers, size_t n)
{
        make_oci_archive_of(out, name, USUAL_MEMBERS, layers, n);
}

void make_oci_archive_of(struct buf *out, const char *name, const char *members,
                         const struct made_layer *layers, size_t n)
{
        static const char *const types[] = { "", "+gzip", "+zstd" };
        struct buf config, manifest, index, blob;
        make_config(&config, members, layers, n);
        buf_init(&manifest, 1 << 20);
        buf_init(&index, 1 << 20);
        _cleanup_(freep) char *config_digest = put_blob(out, &config, 0);
        assert_ok(buf_append_format(
                &manifest,
                "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/"
                "vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
                config_digest, config.len_bytes));
        for (size_t i = 0; i < n; i++) {
                buf_init(&blob, 256 << 20);
                if (layers[i].compression == MADE_GZIP)
                        gzip_bytes(layers[i].tar, &blob);
                else if (layers[i].compression == MADE_ZSTD)
                        zstd_bytes(layers[i].tar, &blob);
                else
                        assert_ok(buf_append(&blob, layers[i].tar->bytes, layers[i].tar->len_bytes));
                _cleanup_(freep) char *digest = put_blob(out, &blob, layers[i].spoil);
                assert_ok(buf_append_format(&manifest,
                                            "%s{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar%s\","
                                            "\"digest\":\"%s\",\"size\":%zu}",
                                            i ? "," : "", types[layers[i].compression], digest,
                                            blob.len_bytes));
                buf_done(&blob);
        }
        assert_ok(buf_append_text(&manifest, "]}"));
        _cleanup_(freep) char *manifest_digest = put_blob(out, &manifest, 0);
        _cleanup_(freep) char *notes =
                name ? format_string(",\"annotations\":{\"org.opencontainers.image.ref.name\":\"%s\"}", name)
                     : dup_string("");
        assert_ok(buf_append_format(&index,
                                    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/"
                                    "vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu%s}]}",
                                    manifest_digest, manifest.len_bytes, notes));
        put_file(out, "index.json", &index);
        tar_end(out);
        buf_done(&config);
        buf_done(&manifest);
        buf_done(&index);
}

void make_docker_archive(struct buf *out, const char *tag, const struct made_layer *layers, size_t n)
{
        struct buf config, manifest;
        make_config(&config, USUAL_MEMBERS, layers, n);
        buf_init(&manifest, 1 << 20);
        _cleanup_(freep) char *config_name =
                format_string("%s.json", digest_text_of(config.bytes, config.len_bytes) + 7);
        assert_ok(buf_append_format(&manifest, "[{\"Config\":\"%s\",\"RepoTags\":[\"%s\"],\"Layers\":[",
                                    config_name, tag));
        for (size_t i = 0; i < n; i++) {
                _cleanup_(freep) char *name = format_string("layer%zu/layer.tar", i);
                put_file(out, name, layers[i].tar);
                assert_ok(buf_append_format(&manifest, "%s\"%s\"", i ? "," : "", name));
        }
        assert_ok(buf_append_text(&manifest, "]}]"));
        put_file(out, config_name, &config);
        put_file(out, "manifest.json", &manifest);
        tar_end(out);
        buf_done(&config);
        buf_done(&manifest);
}
