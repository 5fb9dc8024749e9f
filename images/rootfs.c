/* ROOT/rootfs/D/ID, D the first digit of ID, is a container's writable part: upper and work for overlayfs, and `layers`,
 * the diffIDs below it, base first. `layers` is written last: a directory without it is one that was never finished.
 * Nothing here is made durable: after a power cut no container lives.
 *
 * Sixteen directories instead of one, since containers that start and end at once make and remove some ten files each in
 * them, and because an ext4 without a journal searches through all that was removed lately in that part of the disk for
 * every file that it makes (0.25 ms each after a hundred containers). */
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/tree.h"
#include "images/quota.h"
#include "images/store.h"
#include "images/strings.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { LAYERS_FILE_LIMIT = 64 << 10 };

/* The sum of all, for ImageFsInfo, is at most so old. Who asks for one container's figure walks it sooner. */
#define SAMPLE_MAX_AGE_NS INT64_C(300000000000)

static void rootfs_free(struct images *images, struct rootfs *rootfs)
{
        for (size_t i = 0; i < rootfs->n; i++)
                layers_unpin(images->layers, rootfs->layers[i]);
        held_free(images, rootfs);
        free(rootfs->layers);
        free(rootfs->context);
        free(rootfs->id);
        free(rootfs);
}

static void rootfs_add(struct rootfs_table *table, struct rootfs *rootfs)
{
        HASH_ADD_KEYPTR(hh, table->table, rootfs->id, strlen(rootfs->id), rootfs);
}

/* --- at the start --- */

static void pin_listed(struct images *images, char *text, struct rootfs *rootfs)
{
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                rootfs->layers = grow_array(rootfs->layers, rootfs->n + 1, sizeof(struct layer *));
                struct error *e = layers_pin(images->layers, line, &rootfs->layers[rootfs->n]);
                if (e)
                        rootfs->is_broken = true;
                else
                        rootfs->n++;
                error_ignore(e); /* said when it is to be mounted */
        }
}

/* The number of its bound, where it has one. Read at the start alone. */
static uint32_t project_of(struct rootfs_table *table, const char *id)
{
        _cleanup_(closep) int fd =
                openat(rootfs_home(table, id), id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? 0 : quota_project(fd);
}

static void project_free(struct rootfs_table *table, const char *id, uint32_t project)
{
        if (project) /* one that stays taken is a number less, of half a thousand million */
                log_error(LOG_LEVEL_WARN, quota_free(rootfs_home(table, id), project), "free a quota",
                          "container", id);
}

static struct error *load_one(struct images *images, struct rootfs_table *table, const char *id)
{
        _cleanup_(freep) char *path = format_string("%s/layers", id), *text = NULL;
        size_t len_bytes = 0;
        struct error *e = file_read(rootfs_home(table, id), path, LAYERS_FILE_LIMIT, &text, &len_bytes);
        if (e) {
                error_ignore(e); /* never finished, or nothing of ours */
                project_free(table, id, project_of(table, id));
                return trash_put(images->trash, rootfs_home(table, id), id);
        }
        struct rootfs *rootfs = NEW(struct rootfs);
        rootfs->id = dup_string(id);
        rootfs->project = project_of(table, id);
        pin_listed(images, text, rootfs);
        held_load(images, table, rootfs);
        rootfs_add(table, rootfs);
        return NULL;
}

static struct error *load_home(struct images *images, struct rootfs_table *table, int home_fd)
{
        int fd = openat(home_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return error_errno(errno, "read the rootfs directory");
        for (struct dirent *entry; (entry = readdir(dir));)
                if (id_is_valid(entry->d_name)) /* a leftover that cannot be removed is in nobody's way */
                        log_error(LOG_LEVEL_WARN, load_one(images, table, entry->d_name), "a leftover stays",
                                  "rootfs", entry->d_name);
        return NULL;
}

static struct error *homes_open(struct images *images, struct rootfs_table *table)
{
        _cleanup_(closep) int all_fd = -1;
        TRY(file_mkdirs(images->root_fd, "rootfs", 0700));
        TRY(file_open_beneath(images->root_fd, "rootfs", O_RDONLY | O_DIRECTORY, 0, &all_fd));
        file_mark_top_directory(all_fd);
        for (size_t i = 0; i < LENGTH(table->home_fds); i++) {
                const char name[] = { ROOTFS_DIGITS[i], '\0' };
                TRY(file_mkdirs(all_fd, name, 0700));
                TRY(file_open_beneath(all_fd, name, O_RDONLY | O_DIRECTORY, 0, &table->home_fds[i]));
        }
        for (size_t i = 0; i < LENGTH(table->home_fds); i++)
                TRY(load_home(images, table, table->home_fds[i]));
        return NULL;
}

/* Nearly every container has something mounted at these, and few images have them all. They lie below the lowest layer,
 * where whatever an image says of them counts more: else each container's start makes them in its upper directory, one
 * file and one copied-up directory after another on the disk. */
static struct error *make_mount_points(int root_fd, int *out_fd)
{
        static const char *const directories[] = { "mount-points/proc", "mount-points/sys",
                                                   "mount-points/dev", "mount-points/etc" };
        static const char *const files[] = { "etc/hosts", "etc/hostname", "etc/resolv.conf" };
        _cleanup_(closep) int dir_fd = -1;
        for (size_t i = 0; i < LENGTH(directories); i++)
                TRY(file_mkdirs(root_fd, directories[i], 0755));
        TRY(file_open_beneath(root_fd, "mount-points", O_RDONLY | O_DIRECTORY, 0, &dir_fd));
        for (size_t i = 0; i < LENGTH(files); i++) {
                _cleanup_(closep) int fd = -1;
                TRY(file_open_beneath(dir_fd, files[i], O_WRONLY | O_CREAT | O_NOFOLLOW, 0644, &fd));
        }
        *out_fd = TAKE_FD(dir_fd);
        return NULL;
}

struct error *rootfs_table_open(struct images *images, struct rootfs_table **out)
{
        struct rootfs_table *table = NEW(struct rootfs_table);
        memset(table->home_fds, -1, sizeof(table->home_fds));
        table->mount_points_fd = -1;
        (void) pthread_mutex_init(&table->lock, NULL);
        (void) pthread_cond_init(&table->walk_ended, NULL);
        struct error *e = make_mount_points(images->root_fd, &table->mount_points_fd);
        if (!e)
                e = homes_open(images, table);
        if (e)
                rootfs_table_free(images, table);
        else
                *out = table;
        return e;
}

void rootfs_table_free(struct images *images, struct rootfs_table *table)
{
        struct rootfs *rootfs, *next;
        if (!table)
                return;
        HASH_ITER(hh, table->table, rootfs, next)
        {
                HASH_DEL(table->table, rootfs);
                rootfs_free(images, rootfs);
        }
        for (size_t i = 0; i < LENGTH(table->home_fds); i++)
                closep(&table->home_fds[i]);
        closep(&table->mount_points_fd);
        (void) pthread_mutex_destroy(&table->lock);
        (void) pthread_cond_destroy(&table->walk_ended);
        free(table);
}

/* --- making --- */

/* The container's root shows the upper directory's owner and mode, never those that a layer gives its root: a layer made
 * in a temporary directory has one that nobody else may enter. */
static struct error *make_upper(int dir_fd)
{
        if (mkdirat(dir_fd, "upper", 0755) < 0 || mkdirat(dir_fd, "work", 0700) < 0)
                return error_errno(errno, "make the writable layer");
        if (fchmodat(dir_fd, "upper", 0755, 0) < 0) /* whatever the umask was */
                return error_errno(errno, "set the root's mode");
        return NULL;
}

static struct error *write_layers(const struct rootfs *rootfs, int dir_fd)
{
        struct buf text;
        buf_init(&text, LAYERS_FILE_LIMIT);
        struct error *e = buf_append_text(&text, "");
        for (size_t i = 0; i < rootfs->n && !e; i++)
                e = buf_append_format(&text, "%s\n", layer_diff_id(rootfs->layers[i]));
        if (!e)
                e = file_replace(dir_fd, "layers", text.bytes, text.len_bytes, 0600, false);
        buf_done(&text);
        return e;
}

static struct error *make_files(struct images *images, const struct rootfs *rootfs)
{
        _cleanup_(closep) int dir_fd = -1;
        int home_fd = rootfs_home(images->rootfs, rootfs->id);
        int rc = mkdirat(home_fd, rootfs->id, 0700);
        if (rc < 0 && errno == EEXIST) { /* what an earlier attempt left */
                TRY(trash_put(images->trash, home_fd, rootfs->id));
                rc = mkdirat(home_fd, rootfs->id, 0700);
        }
        if (rc < 0)
                return error_errno(errno, "make the directory");
        TRY(file_open_beneath(home_fd, rootfs->id, O_RDONLY | O_DIRECTORY, 0, &dir_fd));
        TRY(make_upper(dir_fd));
        TRY(fault_point("rootfs.make"));
        return write_layers(rootfs, dir_fd);
}

static bool has(struct rootfs_table *table, const char *id)
{
        (void) pthread_mutex_lock(&table->lock);
        bool found = rootfs_find(table, id);
        (void) pthread_mutex_unlock(&table->lock);
        return found;
}

struct error *rootfs_make(struct images *images, const char *container_id, const char *image_id)
{
        if (!id_is_valid(container_id))
                return error_new(ERROR_INVALID_ARGUMENT, "rootfs: \"%s\" is no id", container_id);
        if (has(images->rootfs, container_id))
                return NULL;
        struct rootfs *rootfs = NEW(struct rootfs);
        rootfs->id = dup_string(container_id);
        struct error *e = catalog_pin_layers(images->catalog, image_id, &rootfs->layers, &rootfs->n);
        if (!e) {
                layers_drop_repeated(images, rootfs->layers, &rootfs->n);
                e = make_files(images, rootfs);
        }
        if (e) {
                error_ignore(trash_put(images->trash, rootfs_home(images->rootfs, container_id),
                                       container_id)); /* else at the next start */
                rootfs_free(images, rootfs);
                return error_wrap(e, "rootfs of %s", container_id);
        }
        (void) pthread_mutex_lock(&images->rootfs->lock);
        rootfs_add(images->rootfs, rootfs);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        return NULL;
}

struct error *rootfs_bound_check(struct images *images)
{
        return quota_check(images->root_fd);
}

/* It is its container's own, as rootfs_mount has it. */
struct error *rootfs_bound(struct images *images, const char *container_id, uint64_t max_bytes)
{
        static const char *const writable[] = { "upper", "work", NULL };
        _cleanup_(closep) int dir_fd = -1;
        (void) pthread_mutex_lock(&images->rootfs->lock);
        struct rootfs *rootfs = rootfs_find(images->rootfs, container_id);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        if (!rootfs)
                return error_new(ERROR_INTERNAL, "rootfs of %s: there is none", container_id);
        if (rootfs->project)
                return NULL;
        TRY(file_open_beneath(rootfs_home(images->rootfs, container_id), container_id, O_RDONLY | O_DIRECTORY,
                              0, &dir_fd));
        TRY_WRAP(quota_bound(dir_fd, writable, max_bytes, &rootfs->project),
                 "bound the writable layer to %llu bytes", (unsigned long long) max_bytes);
        return NULL;
}

/* --- mounting --- */

/* A volatile mount leaves a mark that forbids the next: it guards against a crash of the machine, after which no container
 * of ours goes on. */
struct error *rootfs_forget_volatile(int work_fd)
{
        _cleanup_(closep) int inner_fd = -1;
        if (faccessat(work_fd, "work/incompat", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return NULL;
        TRY(file_open_beneath(work_fd, "work", O_RDONLY | O_DIRECTORY, 0, &inner_fd));
        return file_remove_tree(inner_fd, "incompat");
}

static struct error *mount_upper(struct images *images, const struct rootfs *rootfs, const int *lowers,
                                 size_t n, int *out_fd)
{
        _cleanup_(closep) int dir_fd = -1, upper_fd = -1, work_fd = -1;
        TRY(file_open_beneath(rootfs_home(images->rootfs, rootfs->id), rootfs->id, O_RDONLY | O_DIRECTORY, 0,
                              &dir_fd));
        TRY(file_open_beneath(dir_fd, "upper", O_RDONLY | O_DIRECTORY, 0, &upper_fd));
        TRY(file_open_beneath(dir_fd, "work", O_RDONLY | O_DIRECTORY, 0, &work_fd));
        TRY(rootfs_forget_volatile(work_fd));
        /* Not mapped, but owned by the mapped ids: in a mapped one the host's root could not make what overlayfs needs. */
        if (rootfs->map && fchown(upper_fd, rootfs->map->owner, rootfs->map->owner) < 0)
                return error_errno(errno, "give the writable layer to the root of the user namespace");
        return layers_overlay(rootfs->map, lowers, n, upper_fd, work_fd, true, rootfs->context, out_fd);
}

static struct error *mount_layers(struct images *images, const struct rootfs *rootfs, int *out_fd)
{
        const struct rootfs_map *map = rootfs->map;
        _cleanup_(freep) int *lowers = NEW_ARRAY(int, rootfs->n + 1);
        size_t n = 0;
        if (rootfs->is_broken || rootfs->n == 0)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 rootfs->n ? "a layer of its image is gone" : "its image has no layers");
        struct error *e = layers_lowers(images, map, rootfs->layers, rootfs->n, lowers, &n);
        lowers[n] = map ? map->mount_points_fd : images->rootfs->mount_points_fd;
        if (!e)
                e = mount_upper(images, rootfs, lowers, n + 1, out_fd);
        lowers_done(map, lowers, n);
        return e;
}

/* The rootfs of a container is its own: nobody removes it while it is mounted, so it is used without the lock. */
struct error *rootfs_mount(struct images *images, const char *container_id, int *out_fd)
{
        (void) pthread_mutex_lock(&images->rootfs->lock);
        struct rootfs *rootfs = rootfs_find(images->rootfs, container_id);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        if (!rootfs)
                return error_new(ERROR_INTERNAL, "rootfs of %s: there is none", container_id);
        TRY_WRAP(mount_layers(images, rootfs, out_fd), "rootfs of %s", container_id);
        return NULL;
}

struct error *rootfs_view(struct images *images, const char *image_id, int *out_fd)
{
        struct rootfs pinned = { .id = NULL };
        TRY(catalog_pin_layers(images->catalog, image_id, &pinned.layers, &pinned.n));
        layers_drop_repeated(images, pinned.layers, &pinned.n);
        struct error *e = layers_view(images, NULL, pinned.layers, pinned.n, out_fd);
        for (size_t i = 0; i < pinned.n; i++) /* the mount itself holds the directories */
                layers_unpin(images->layers, pinned.layers[i]);
        free(pinned.layers);
        return e ? error_wrap(e, "view of image %s", image_id) : NULL;
}

/* As rootfs_mount: a rootfs is used and removed by one at a time. */
struct error *rootfs_view_below(struct images *images, const char *container_id, int *out_fd)
{
        (void) pthread_mutex_lock(&images->rootfs->lock);
        struct rootfs *rootfs = rootfs_find(images->rootfs, container_id);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        if (!rootfs || rootfs->is_broken)
                return error_new(ERROR_INTERNAL, "rootfs of %s: %s", container_id,
                                 rootfs ? "a layer of its image is gone" : "there is none");
        TRY_WRAP(layers_view(images, NULL, rootfs->layers, rootfs->n, out_fd), "view of the rootfs of %s",
                 container_id);
        return NULL;
}

/* --- the rest --- */

struct error *rootfs_remove(struct images *images, const char *container_id)
{
        if (!id_is_valid(container_id))
                return NULL;
        TRY_WRAP(trash_put(images->trash, rootfs_home(images->rootfs, container_id), container_id),
                 "rootfs of %s", container_id);
        (void) pthread_mutex_lock(&images->rootfs->lock);
        struct rootfs *rootfs = rootfs_find(images->rootfs, container_id);
        if (rootfs)
                HASH_DEL(images->rootfs->table, rootfs);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        if (!rootfs)
                return NULL;
        project_free(images->rootfs, container_id, rootfs->project);
        rootfs_free(images, rootfs);
        /* On a full disk layers may have to wait for the next collection; the container is gone all the same. */
        log_error(LOG_LEVEL_WARN, catalog_collect(images->catalog), "unused layers stay for now", "container",
                  container_id);
        return NULL;
}

static struct error *walk_upper(struct rootfs_table *table, const char *id, uint64_t *bytes, uint64_t *inodes)
{
        _cleanup_(closep) int dir_fd = -1;
        TRY(file_open_beneath(rootfs_home(table, id), id, O_RDONLY | O_DIRECTORY, 0, &dir_fd));
        TRY(tree_usage(dir_fd, "upper", bytes, inodes));
        return faccessat(dir_fd, "volumes", F_OK, AT_SYMLINK_NOFOLLOW) < 0
                       ? NULL
                       : tree_usage(dir_fd, "volumes", bytes, inodes);
}

/* Those who come while a walk is under way wait for its end and have its result. */
static struct error *walk_shared(struct rootfs_table *table, const char *id, uint64_t *bytes,
                                 uint64_t *inodes)
{
        struct rootfs *rootfs = rootfs_find(table, id);
        bool has_waited = false;
        while (rootfs && rootfs->is_walked) {
                (void) pthread_cond_wait(&table->walk_ended, &table->lock);
                rootfs = rootfs_find(table, id);
                has_waited = true;
        }
        if (!rootfs)
                return error_new(ERROR_INTERNAL, "rootfs of %s: there is none", id);
        if (has_waited && rootfs->sampled_ns) {
                *bytes = rootfs->bytes;
                *inodes = rootfs->inodes;
                return NULL;
        }
        rootfs->is_walked = true;
        (void) pthread_mutex_unlock(&table->lock);
        struct error *e = walk_upper(table, id, bytes, inodes);
        (void) pthread_mutex_lock(&table->lock);
        rootfs = rootfs_find(table, id);
        if (rootfs)
                rootfs->is_walked = false;
        if (rootfs && !e) {
                rootfs->bytes = *bytes;
                rootfs->inodes = *inodes;
                rootfs->sampled_ns = clock_monotonic_ns();
        }
        (void) pthread_cond_broadcast(&table->walk_ended);
        return e;
}

struct error *rootfs_usage(struct images *images, const char *container_id, uint64_t *bytes, uint64_t *inodes)
{
        *bytes = *inodes = 0;
        (void) pthread_mutex_lock(&images->rootfs->lock);
        struct error *e = walk_shared(images->rootfs, container_id, bytes, inodes);
        (void) pthread_mutex_unlock(&images->rootfs->lock);
        return e;
}

static char **list_ids(struct rootfs_table *table)
{
        (void) pthread_mutex_lock(&table->lock);
        char **ids = NEW_ARRAY(char *, HASH_COUNT(table->table) + 1);
        size_t n = 0;
        for (struct rootfs *rootfs = table->table; rootfs; rootfs = rootfs->hh.next)
                ids[n++] = dup_string(rootfs->id);
        (void) pthread_mutex_unlock(&table->lock);
        return ids;
}

struct error *rootfs_list(struct images *images, char ***out_ids)
{
        *out_ids = list_ids(images->rootfs);
        return NULL;
}

void rootfs_table_usage(struct rootfs_table *table, uint64_t *bytes, uint64_t *inodes)
{
        *bytes = *inodes = 0;
        (void) pthread_mutex_lock(&table->lock);
        for (struct rootfs *rootfs = table->table; rootfs; rootfs = rootfs->hh.next) {
                *bytes += rootfs->bytes;
                *inodes += rootfs->inodes;
        }
        (void) pthread_mutex_unlock(&table->lock);
}

static bool is_sample_old(struct rootfs_table *table, const char *id)
{
        (void) pthread_mutex_lock(&table->lock);
        const struct rootfs *rootfs = rootfs_find(table, id);
        bool old = rootfs && !rootfs->is_walked &&
                   (!rootfs->sampled_ns || clock_monotonic_ns() - rootfs->sampled_ns > SAMPLE_MAX_AGE_NS);
        (void) pthread_mutex_unlock(&table->lock);
        return old;
}

void rootfs_table_sample(struct rootfs_table *table)
{
        _cleanup_(free_stringsp) char **ids = list_ids(table);
        for (char **id = ids; *id; id++) {
                uint64_t bytes = 0, inodes = 0;
                if (!is_sample_old(table, *id))
                        continue;
                (void) pthread_mutex_lock(&table->lock);
                struct error *e = walk_shared(table, *id, &bytes, &inodes);
                (void) pthread_mutex_unlock(&table->lock);
                error_ignore(e); /* removed meanwhile, or changing under the walk: the next sample tells */
        }
}
