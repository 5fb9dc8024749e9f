#include "images/layers.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#ifndef __clang__ /* gcc's analyzer does not see that the table holds what is put into it */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
#include <uthash.h>

enum layer_state {
        LAYER_BUSY,     /* being unpacked or removed: done_fd tells its end */
        LAYER_UNPACKED, /* whole, but a power cut may take some of it */
        LAYER_DURABLE,
};

struct layer {
        char *diff_id; /* the key */
        const struct layer_form *form;
        enum layer_state state;
        uint64_t bytes, inodes;
        unsigned n_pins, n_images;
        int done_fd;  /* an eventfd while busy, else -1 */
        int lower_fd; /* once it was asked for */
        bool is_opaque;
        UT_hash_handle hh;
};

struct layers {
        int fd;
        int seams_fd; /* ROOT/seams: HEX is a layer's, where it has any */
        struct trash *trash;
        const struct layer_form *form; /* of new layers */
        struct layer *table;
        pthread_mutex_t lock;
};

static const char *hex_of(const struct layer *layer)
{
        return layer->diff_id + strlen("sha256:");
}

static struct layer *layer_find(struct layers *layers, const char *diff_id)
{
        struct layer *layer = NULL;
        HASH_FIND_STR(layers->table, diff_id, layer);
        return layer;
}

static struct layer *layer_new(struct layers *layers, const char *diff_id, const struct layer_form *form)
{
        struct layer *layer = NEW(struct layer);
        layer->diff_id = dup_string(diff_id);
        layer->form = form;
        layer->done_fd = layer->lower_fd = -1;
        HASH_ADD_KEYPTR(hh, layers->table, layer->diff_id, strlen(layer->diff_id), layer);
        return layer;
}

static void layer_free(struct layers *layers, struct layer *layer)
{
        HASH_DEL(layers->table, layer);
        closep(&layer->done_fd);
        closep(&layer->lower_fd);
        free(layer->diff_id);
        free(layer);
}

/* Whoever waits for the end of LAYER_BUSY looks again. */
static void layer_tell(struct layer *layer)
{
        if (layer->done_fd >= 0)
                (void) eventfd_write(layer->done_fd, 1);
        closep(&layer->done_fd); /* waiters have copies of their own */
}

struct error *layers_open(int root_fd, struct trash *trash, struct layers **out)
{
        _cleanup_(layers_freep) struct layers *layers = NEW(struct layers);
        layers->fd = layers->seams_fd = -1;
        layers->trash = trash;
        (void) pthread_mutex_init(&layers->lock, NULL);
        TRY(file_mkdirs(root_fd, "layers", 0700));
        TRY(file_open_beneath(root_fd, "layers", O_RDONLY | O_DIRECTORY, 0, &layers->fd));
        file_mark_top_directory(layers->fd);
        TRY(file_mkdirs(root_fd, "seams", 0700));
        TRY(file_open_beneath(root_fd, "seams", O_RDONLY | O_DIRECTORY, 0, &layers->seams_fd));
        layers->form = form_choose(layers->fd);
        *out = TAKE(layers);
        return NULL;
}

void layers_free(struct layers *layers)
{
        struct layer *layer = NULL, *next = NULL;
        if (!layers)
                return;
        HASH_ITER(hh, layers->table, layer, next)
        {
                layer_free(layers, layer);
        }
        closep(&layers->fd);
        closep(&layers->seams_fd);
        (void) pthread_mutex_destroy(&layers->lock);
        free(layers);
}

bool layers_add(struct layers *layers, const char *diff_id, const char *form_name, uint64_t bytes,
                uint64_t inodes)
{
        const struct layer_form *form = form_by_name(form_name);
        if (!form || strlen(diff_id) != strlen("sha256:") + 64 || !form->exists(layers->fd, diff_id + 7))
                return false;
        struct layer *layer = layer_new(layers, diff_id, form);
        layer->state = LAYER_DURABLE;
        layer->bytes = bytes;
        layer->inodes = inodes;
        return true;
}

/* Moves what is in dir_fd and no layer's to the trash. */
static struct error *sweep(struct layers *layers, int dir_fd)
{
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return error_errno(errno, "read the layers' directory");
        for (struct dirent *entry; (entry = readdir(dir));) {
                if (entry->d_name[0] == '.')
                        continue;
                _cleanup_(freep) char *diff_id = format_string("sha256:%s", entry->d_name);
                if (!layer_find(layers, diff_id)) /* one that is a mount or immutable is in nobody's way */
                        log_error(LOG_LEVEL_WARN, trash_put(layers->trash, dir_fd, entry->d_name),
                                  "a leftover stays", "layer", entry->d_name);
        }
        return NULL;
}

struct error *layers_sweep(struct layers *layers)
{
        TRY(sweep(layers, layers->fd));
        return sweep(layers, layers->seams_fd);
}

/* One look at the table: true when it is decided, else *wait_fd is a descriptor of the end to wait for. */
static bool claim_try(struct layers *layers, const char *diff_id, struct layer **out, bool *must_unpack,
                      int *wait_fd)
{
        struct layer *layer = layer_find(layers, diff_id);
        if (layer && layer->state == LAYER_BUSY) {
                *wait_fd = fcntl(layer->done_fd, F_DUPFD_CLOEXEC, 3);
                return false;
        }
        *must_unpack = !layer;
        if (!layer) {
                layer = layer_new(layers, diff_id, layers->form);
                layer->state = LAYER_BUSY;
                layer->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        }
        layer->n_pins++;
        *out = layer;
        return true;
}

struct error *layers_claim(struct layers *layers, const char *diff_id, const struct wait *wait,
                           struct layer **out, bool *must_unpack)
{
        for (;;) {
                _cleanup_(closep) int wait_on_fd = -1;
                (void) pthread_mutex_lock(&layers->lock);
                bool decided = claim_try(layers, diff_id, out, must_unpack, &wait_on_fd);
                (void) pthread_mutex_unlock(&layers->lock);
                if (decided)
                        return NULL;
                if (wait_on_fd < 0)
                        return error_errno(errno, "wait for a layer");
                TRY(wait_fd(wait, wait_on_fd, POLLIN, "wait for a layer that another pull unpacks"));
        }
}

static struct error *seams_make(struct layers *layers, const struct layer *layer, int *out_fd)
{
        if (unlinkat(layers->seams_fd, hex_of(layer), 0) < 0 && errno != ENOENT)
                return error_errno(errno, "remove old seams");
        *out_fd = openat(layers->seams_fd, hex_of(layer),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        return *out_fd < 0 ? error_errno(errno, "make a file for seams") : NULL;
}

/* Most layers have none. What cannot be removed goes at the next start; an empty one does no harm. */
static void seams_tidy(struct layers *layers, const struct layer *layer, bool is_layer_gone)
{
        struct stat st;
        if (is_layer_gone ||
            (fstatat(layers->seams_fd, hex_of(layer), &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 0))
                (void) unlinkat(layers->seams_fd, hex_of(layer), 0);
}

struct error *layer_begin(struct layers *layers, struct layer *layer, int *out_fd, int *seams_fd)
{
        TRY(layer->form->begin(layers->fd, hex_of(layer), layers->trash, out_fd));
        return seams_make(layers, layer, seams_fd);
}

struct error *layer_commit(struct layers *layers, struct layer *layer, uint64_t bytes, uint64_t inodes)
{
        TRY(fault_point("layer.commit.before"));
        seams_tidy(layers, layer, false);
        TRY(layer->form->commit(layers->fd, hex_of(layer)));
        (void) pthread_mutex_lock(&layers->lock);
        layer->bytes = bytes;
        layer->inodes = inodes;
        layer->state = LAYER_UNPACKED;
        layer_tell(layer);
        (void) pthread_mutex_unlock(&layers->lock);
        return NULL;
}

void layer_abandon(struct layers *layers, struct layer *layer)
{
        log_error(LOG_LEVEL_WARN, layer->form->abandon(layers->fd, hex_of(layer), layers->trash),
                  "a partial layer stays until the next start", "layer", layer->diff_id);
        seams_tidy(layers, layer, true);
        (void) pthread_mutex_lock(&layers->lock);
        layer_tell(layer);
        layer_free(layers, layer); /* nobody else pins a layer that is busy */
        (void) pthread_mutex_unlock(&layers->lock);
}

void layers_sync_early(struct layers *layers)
{
        (void) syncfs(layers->fd); /* what goes wrong here goes wrong in layers_sync too */
}

struct error *layers_sync(struct layers *layers, struct layer *const *list, size_t n)
{
        bool all_durable = true;
        (void) pthread_mutex_lock(&layers->lock);
        for (size_t i = 0; i < n; i++)
                all_durable &= list[i]->state == LAYER_DURABLE;
        (void) pthread_mutex_unlock(&layers->lock);
        if (all_durable)
                return NULL;
        if (syncfs(layers->fd) < 0)
                return error_errno(errno, "sync the layers");
        (void) pthread_mutex_lock(&layers->lock);
        for (size_t i = 0; i < n; i++) /* they are pinned and were unpacked before the sync began */
                list[i]->state = LAYER_DURABLE;
        (void) pthread_mutex_unlock(&layers->lock);
        return NULL;
}

struct error *layers_pin(struct layers *layers, const char *diff_id, struct layer **out)
{
        (void) pthread_mutex_lock(&layers->lock);
        struct layer *layer = layer_find(layers, diff_id);
        bool is_there = layer && layer->state != LAYER_BUSY;
        if (is_there)
                layer->n_pins++;
        (void) pthread_mutex_unlock(&layers->lock);
        if (!is_there)
                return error_new(ERROR_NOT_FOUND, "layer %s is not there", diff_id);
        *out = layer;
        return NULL;
}

void layers_unpin(struct layers *layers, struct layer *layer)
{
        (void) pthread_mutex_lock(&layers->lock);
        layer->n_pins--;
        (void) pthread_mutex_unlock(&layers->lock);
}

struct error *layer_lower(struct layers *layers, struct layer *layer, int *fd, bool *is_opaque)
{
        struct error *e = NULL;
        (void) pthread_mutex_lock(&layers->lock);
        if (layer->lower_fd < 0)
                e = layer->form->lower_open(layers->fd, hex_of(layer), &layer->lower_fd, &layer->is_opaque);
        *fd = layer->lower_fd;
        *is_opaque = layer->is_opaque;
        (void) pthread_mutex_unlock(&layers->lock);
        return e ? error_wrap(e, "layer %s", layer->diff_id) : NULL;
}

struct error *layer_lower_below(struct layers *layers, struct layer *layer, int layers_fd, int *fd,
                                bool *is_opaque)
{
        int unmapped_fd;
        TRY(layer_lower(layers, layer, &unmapped_fd, is_opaque));
        TRY_WRAP(layer->form->lower_open_again(layers_fd, hex_of(layer), fd), "layer %s", layer->diff_id);
        return NULL;
}

struct error *layer_seams(struct layers *layers, struct layer *layer, struct buf *out)
{
        _cleanup_(closep) int fd = openat(layers->seams_fd, hex_of(layer), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? NULL : error_errno(errno, "seams of layer %s", layer->diff_id);
        TRY_WRAP(buf_read_all(out, fd), "seams of layer %s", layer->diff_id);
        return buf_append(out, "", 1); /* whatever is in it ends */
}

const char *layer_diff_id(const struct layer *layer)
{
        return layer->diff_id;
}

const char *layer_form_name(const struct layer *layer)
{
        return layer->form->name;
}

void layer_usage(const struct layer *layer, uint64_t *bytes, uint64_t *inodes)
{
        *bytes = layer->bytes;
        *inodes = layer->inodes;
}

void layers_count_reset(struct layers *layers)
{
        (void) pthread_mutex_lock(&layers->lock);
        for (struct layer *layer = layers->table; layer; layer = layer->hh.next)
                layer->n_images = 0;
        (void) pthread_mutex_unlock(&layers->lock);
}

void layers_count_add(struct layers *layers, const char *diff_id)
{
        (void) pthread_mutex_lock(&layers->lock);
        struct layer *layer = layer_find(layers, diff_id);
        if (layer)
                layer->n_images++;
        (void) pthread_mutex_unlock(&layers->lock);
}

/* Takes all that nobody needs: they are busy until they are gone. The array and diff_ids, which ends with NULL, are the
 * caller's, but not the texts. */
static size_t take_unused(struct layers *layers, struct layer ***out, const char ***diff_ids)
{
        size_t n = 0;
        (void) pthread_mutex_lock(&layers->lock);
        struct layer **taken = NEW_ARRAY(struct layer *, HASH_COUNT(layers->table) + 1);
        const char **ids = NEW_ARRAY(const char *, HASH_COUNT(layers->table) + 1);
        for (struct layer *layer = layers->table; layer; layer = layer->hh.next) {
                if (layer->state == LAYER_BUSY || layer->n_pins != 0 || layer->n_images != 0)
                        continue;
                layer->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                layer->state = LAYER_BUSY;
                ids[n] = layer->diff_id;
                taken[n++] = layer;
        }
        (void) pthread_mutex_unlock(&layers->lock);
        *out = taken;
        *diff_ids = ids;
        return n;
}

static struct error *remove_one(struct layers *layers, const struct layer *layer)
{
        TRY(fault_point("layer.remove"));
        TRY(layer->form->remove(layers->fd, hex_of(layer), layers->trash));
        seams_tidy(layers, layer, true);
        return NULL;
}

/* What was taken is gone, or there as before: then the next collection tries again. */
static void give_back(struct layers *layers, struct layer *layer, bool is_gone)
{
        (void) pthread_mutex_lock(&layers->lock);
        layer_tell(layer);
        if (is_gone)
                layer_free(layers, layer);
        else
                layer->state = LAYER_UNPACKED;
        (void) pthread_mutex_unlock(&layers->lock);
}

struct error *layers_collect(struct layers *layers,
                             struct error *(*forget)(void *context, const char *const *diff_ids),
                             void *context)
{
        _cleanup_(freep) struct layer **taken = NULL;
        _cleanup_(freep) const char **diff_ids = NULL;
        size_t n = take_unused(layers, &taken, &diff_ids);
        struct error *e = n ? forget(context, diff_ids) : NULL;
        bool forgotten = !e;
        for (size_t i = 0; i < n; i++) { /* one that cannot be removed keeps no other */
                struct error *stuck = forgotten ? remove_one(layers, taken[i]) : NULL;
                give_back(layers, taken[i], forgotten && !stuck);
                if (!e)
                        e = TAKE(stuck);
                error_free(stuck);
        }
        return e;
}

void layers_list(struct layers *layers, struct image_layer **out, size_t *n)
{
        size_t count = 0;
        (void) pthread_mutex_lock(&layers->lock);
        struct image_layer *list = NEW_ARRAY(struct image_layer, HASH_COUNT(layers->table) + 1);
        for (struct layer *layer = layers->table; layer; layer = layer->hh.next) {
                if (layer->state == LAYER_BUSY)
                        continue;
                struct image_layer *to = &list[count++];
                (void) snprintf(to->diff_id, sizeof(to->diff_id), "%s", layer->diff_id);
                to->bytes = layer->bytes;
                to->inodes = layer->inodes;
                to->n_images = layer->n_images;
        }
        (void) pthread_mutex_unlock(&layers->lock);
        *out = list;
        *n = count;
}

void layers_usage(struct layers *layers, uint64_t *bytes, uint64_t *inodes)
{
        *bytes = *inodes = 0;
        (void) pthread_mutex_lock(&layers->lock);
        for (struct layer *layer = layers->table; layer; layer = layer->hh.next) {
                *bytes += layer->bytes;
                *inodes += layer->inodes;
        }
        (void) pthread_mutex_unlock(&layers->lock);
}
