#include "base/file.h"
#include "base/log.h"
#include "images/flight.h"
#include "images/install.h"
#include "images/store.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* What the background thread does beside emptying the trash. */
static void chore(void *context)
{
        struct images *images = context;
        if (!atomic_load(&images->is_open))
                return;
        log_error(LOG_LEVEL_WARN, catalog_checkpoint(images->catalog), "images.db was not checkpointed", NULL,
                  NULL);
        rootfs_table_sample(images->rootfs);
}

static struct error *open_parts(struct images *images, const struct images_config *config)
{
        _cleanup_(freep) char *db_path = format_string("%s/images.db", config->root);
        TRY(file_mkdirs(AT_FDCWD, config->root, 0700));
        images->root_fd = open(config->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (images->root_fd < 0)
                return error_errno(errno, "open %s", config->root);
        TRY(trash_open(images->root_fd, chore, images, &images->trash));
        TRY(layers_open(images->root_fd, images->trash, &images->layers));
        TRY(catalog_open(db_path, images->layers, config->pinned, &images->catalog));
        TRY(layers_sweep(images->layers));
        TRY(rootfs_table_open(images, &images->rootfs));
        log_error(LOG_LEVEL_WARN, catalog_collect(images->catalog), "unused layers stay", NULL, NULL);
        atomic_store(&images->is_open, true);
        trash_wake(images->trash);
        return NULL;
}

struct error *images_open(const struct images_config *config, struct images **out)
{
        _cleanup_(images_freep) struct images *images = NEW(struct images);
        images->root_fd = -1;
        (void) pthread_mutex_init(&images->settings_lock, NULL);
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        atomic_store(&images->spare_workers, install_spare_workers(processors));
        images->pulls = flights_new();
        images->pull_path = format_string("%s/skiff-pull", config->program_dir);
        images->unpack_path = format_string("%s/skiff-unpack", config->program_dir);
        images->registry_dirs = dup_string(config->registry_dirs ? config->registry_dirs : "");
        images->puller = (struct puller_config){ .path = images->pull_path,
                                                 .uid = config->pull_uid,
                                                 .holder_fd = config->holder_fd > 0 ? config->holder_fd : -1,
                                                 .stall_s = config->stall_s,
                                                 .shelf = puller_shelf_new() };
        TRY_WRAP(open_parts(images, config), "image store %s", config->root);
        *out = TAKE(images);
        return NULL;
}

struct error *images_configure(struct images *images, const struct images_config *config)
{
        TRY(catalog_repin(images->catalog, config->pinned));
        char *dirs = dup_string(config->registry_dirs ? config->registry_dirs : "");
        (void) pthread_mutex_lock(&images->settings_lock);
        char *old = images->registry_dirs;
        images->registry_dirs = dirs;
        (void) pthread_mutex_unlock(&images->settings_lock);
        free(old);
        atomic_store(&images->puller.stall_s, config->stall_s);
        return NULL;
}

void images_free(struct images *images)
{
        if (!images)
                return;
        trash_free(images->trash); /* its thread uses the rest */
        rootfs_table_free(images, images->rootfs);
        catalog_free(images->catalog);
        layers_free(images->layers);
        flights_free(images->pulls);
        puller_shelf_free(images->puller.shelf);
        closep(&images->root_fd);
        free(images->pull_path);
        free(images->unpack_path);
        free(images->registry_dirs);
        (void) pthread_mutex_destroy(&images->settings_lock);
        free(images);
}

struct error *images_find(struct images *images, const char *reference, struct image **out)
{
        return catalog_find(images->catalog, reference, out);
}

struct error *images_list(struct images *images, struct image ***out, size_t *n)
{
        catalog_list(images->catalog, out, n);
        return NULL;
}

struct error *images_select(struct images *images, const char *text, struct image ***out, size_t *n)
{
        return catalog_select(images->catalog, text, out, n);
}

void images_tidy(struct images *images)
{
        puller_shelf_tidy(images->puller.shelf);
}

struct error *images_remove(struct images *images, const char *reference)
{
        TRY_WRAP(catalog_remove(images->catalog, reference), "remove image %s", reference);
        TRY_WRAP(catalog_collect(images->catalog), "remove image %s", reference);
        trash_wake(images->trash);
        return NULL;
}

void images_layers(struct images *images, struct image_layer **out, size_t *n)
{
        layers_list(images->layers, out, n);
}

/* The mountpoint of the mount that dir_fd is on: mountinfo's line with its mnt_id. */
static struct error *find_mountpoint(int dir_fd, char *out, size_t size_bytes)
{
        struct statx stx;
        _cleanup_(fclosep) FILE *file = fopen("/proc/self/mountinfo", "re");
        _cleanup_(freep) char *line = NULL;
        size_t room = 0;
        if (!file || statx(dir_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
                return error_errno(errno, "find the store's mountpoint");
        while (getline(&line, &room, file) > 0) {
                unsigned long id = 0;
                int at = 0, end = 0;
                if (sscanf(line, "%lu %*u %*s %*s %n%*s%n", &id, &at, &end) < 1 || id != stx.stx_mnt_id ||
                    end <= at)
                        continue;
                (void) snprintf(out, size_bytes, "%.*s", end - at, line + at);
                return NULL;
        }
        return error_new(ERROR_INTERNAL, "the store's mountpoint is not in mountinfo");
}

struct error *images_usage(struct images *images, struct images_usage *out)
{
        *out = (struct images_usage){ .image_bytes = 0 };
        TRY(find_mountpoint(images->root_fd, out->mountpoint, sizeof(out->mountpoint)));
        layers_usage(images->layers, &out->image_bytes, &out->image_inodes);
        rootfs_table_usage(images->rootfs, &out->container_bytes, &out->container_inodes);
        trash_wake(images->trash); /* samples anew for the next call */
        return NULL;
}
