/* One commit: a container's writable layer as a new layer of a new image. Its tar goes the way of every other layer: into an
 * archive (a file without a name), out of which skiff-pull hands it to skiff-unpack. */
#include "base/clock.h"
#include "base/file.h"
#include "images/config.h"
#include "images/config_edit.h"
#include "images/install.h"
#include "images/layer_tar.h"
#include "images/reference.h"
#include "images/store.h"
#include "images/strings.h"
#include <fcntl.h>
#include <string.h>

#define ENTRY "layer.tar"

enum { JSON_LIMIT_BYTES = 8 << 20 };

struct committing {
        struct images *images;
        const struct image_commit *commit;
        const struct wait *wait;
        struct image *image; /* the container's */
        char *name;          /* the new one's, whole */
        int archive_fd;
        char diff_id[DIGEST_TEXT_SIZE];
        struct buf config;
        char **diff_ids;
        struct puller *puller;
        struct layer **layers;
};

static void committing_done(struct committing *c)
{
        if (c->layers)
                install_done(c->images, c->layers, strings_length(c->diff_ids));
        puller_free(c->puller);
        free_strings(c->diff_ids);
        image_free(c->image);
        closep(&c->archive_fd);
        buf_done(&c->config);
        free(c->name);
}

static struct error *find_image(struct committing *c)
{
        _cleanup_(reference_freep) struct reference *reference = NULL;
        TRY_WRAP(reference_parse(c->commit->name, &reference), "the new image's name");
        if (reference->digest)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "the new image's name: \"%s\" has a digest, which comes"
                                 " of itself",
                                 c->commit->name);
        c->name = reference_name(reference);
        struct error *e = images_find(c->images, c->commit->image_id, &c->image);
        if (e && error_code_of(e) == ERROR_NOT_FOUND)
                return error_as(error_wrap(e, "the container's image has been removed"),
                                ERROR_FAILED_PRECONDITION);
        return e;
}

static struct error *upper_open(struct committing *c, int *out_fd)
{
        _cleanup_(closep) int dir_fd = -1;
        TRY(file_open_beneath(rootfs_home(c->images->rootfs, c->commit->container_id),
                              c->commit->container_id, O_RDONLY | O_DIRECTORY, 0, &dir_fd));
        return file_open_beneath(dir_fd, "upper", O_RDONLY | O_DIRECTORY, 0, out_fd);
}

/* A tar with the layer's tar in it. The header goes before it when its length is known. */
static struct error *archive_make(struct committing *c)
{
        static const char zeros[3 * TAR_BLOCK_BYTES];
        const struct layer_ids ids = { c->commit->ids_first, c->commit->n_ids };
        char header[TAR_BLOCK_BYTES];
        _cleanup_(closep) int upper_fd = -1;
        struct digest digest;
        uint64_t bytes = 0;
        c->archive_fd = openat(c->images->root_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (c->archive_fd < 0)
                return error_errno(errno, "make a file for the layer");
        TRY_WRAP(upper_open(c, &upper_fd), "the writable layer");
        TRY(file_write_all(c->archive_fd, zeros, sizeof(header)));
        TRY_WRAP(layer_tar_write(upper_fd, NULL, ids, c->archive_fd, c->wait, &digest, &bytes),
                 "the writable layer");
        digest_format(&digest, c->diff_id);
        layer_tar_file_header(header, ENTRY, bytes);
        if (pwrite(c->archive_fd, header, sizeof(header), 0) != (ssize_t) sizeof(header))
                return error_errno(errno, "write");
        return file_write_all(c->archive_fd, zeros, 2 * TAR_BLOCK_BYTES); /* a layer's tar is whole blocks */
}

static struct error *config_make(struct committing *c)
{
        struct image_config config;
        char created[CLOCK_TEXT_SIZE];
        clock_format(clock_wall_ns(), created);
        TRY(config_edit(c->image->config_json, c->commit, c->diff_id, created, &c->config));
        TRY_WRAP(config_parse(c->config.bytes, c->config.len_bytes, &config, &c->diff_ids), "the new config");
        image_config_done(&config);
        return NULL;
}

/* All but the last are here, held by the container. */
static struct error *layers_install(struct committing *c)
{
        size_t n = strings_length(c->diff_ids);
        _cleanup_(freep) struct install_layer *list = NEW_ARRAY(struct install_layer, n);
        for (size_t i = 0; i < n; i++)
                list[i] = (struct install_layer){ .diff_id = c->diff_ids[i], .name = ENTRY };
        TRY(puller_start_archive(&c->images->puller, c->archive_fd, c->wait, &c->puller));
        return install_layers(c->images, c->puller, PULL_STREAM_FILE, list, n, NULL, c->wait, &c->layers);
}

static struct error *make_visible(struct committing *c, char **out_id)
{
        char *const names[] = { c->name, NULL }, *const none[] = { NULL };
        char id[DIGEST_TEXT_SIZE];
        size_t n = strings_length(c->diff_ids);
        struct digest digest;
        digest_of(c->config.bytes, c->config.len_bytes, &digest);
        digest_format(&digest, id);
        const struct catalog_image image = { .id = id,
                                             .config_json = c->config.bytes,
                                             .config_bytes = c->config.len_bytes,
                                             .layers = c->layers,
                                             .n_layers = n,
                                             .seam = c->layers[n],
                                             .tags = names,
                                             .digests = none };
        TRY(catalog_commit(c->images->catalog, &image, 1));
        *out_id = dup_string(id);
        return NULL;
}

static struct error *run(struct committing *c, char **out_id)
{
        TRY(find_image(c));
        TRY(archive_make(c));
        TRY(config_make(c));
        TRY(layers_install(c));
        return make_visible(c, out_id);
}

struct error *images_commit(struct images *images, const struct image_commit *commit, const struct wait *wait,
                            char **out_id)
{
        struct error *e;
        {
                _cleanup_(committing_done) struct committing c = {
                        .images = images, .commit = commit, .wait = wait, .archive_fd = -1
                };
                buf_init(&c.config, JSON_LIMIT_BYTES);
                e = run(&c, out_id);
        }
        if (!e)
                return NULL;
        /* A layer that is whole but has no image goes, after all pins did. */
        error_ignore(
                catalog_collect(images->catalog)); /* e is what went wrong; a later collection tries again */
        return e;
}
