#include "pods/spec/image_users.h"
#include "images/images.h"
#include <pthread.h>
#include <string.h>

enum { KEPT_IMAGES = 32, KEPT_BYTES_MAX = 32 << 10 };

struct kept {
        char *image_id; /* NULL: free */
        struct user_files files;
};

struct image_users {
        pthread_mutex_t lock;
        struct kept kept[KEPT_IMAGES];
        size_t oldest; /* is replaced next */
};

struct image_users *image_users_new(void)
{
        struct image_users *users = NEW(struct image_users);
        (void) pthread_mutex_init(&users->lock, NULL);
        return users;
}

static void kept_done(struct kept *kept)
{
        freep(&kept->image_id);
        user_files_done(&kept->files);
}

void image_users_free(struct image_users *users)
{
        if (!users)
                return;
        for (size_t i = 0; i < KEPT_IMAGES; i++)
                kept_done(&users->kept[i]);
        (void) pthread_mutex_destroy(&users->lock);
        free(users);
}

static struct kept *find(struct image_users *users, const char *image_id)
{
        for (size_t i = 0; i < KEPT_IMAGES; i++)
                if (users->kept[i].image_id && strcmp(users->kept[i].image_id, image_id) == 0)
                        return &users->kept[i];
        return NULL;
}

/* files are owned here. */
static void keep(struct image_users *users, const char *image_id, struct user_files files)
{
        bool fits = files.passwd_bytes + files.group_bytes <= KEPT_BYTES_MAX;
        (void) pthread_mutex_lock(&users->lock);
        if (fits && !find(users, image_id)) { /* else another was faster */
                struct kept *kept = &users->kept[users->oldest++ % KEPT_IMAGES];
                kept_done(kept);
                *kept = (struct kept){ dup_string(image_id), files };
                files = (struct user_files){ 0 };
        }
        (void) pthread_mutex_unlock(&users->lock);
        user_files_done(&files);
}

struct error *image_users_find(struct image_users *users, struct images *images, const char *image_id,
                               const char *container_id, const char *text, struct user *out)
{
        struct error *e = NULL;
        _cleanup_(closep) int view_fd = -1;
        struct user_files files = { 0 };
        (void) pthread_mutex_lock(&users->lock);
        const struct kept *kept = find(users, image_id);
        if (kept)
                e = user_find(&kept->files, text, out);
        (void) pthread_mutex_unlock(&users->lock);
        if (kept)
                return e;
        TRY(rootfs_view_below(images, container_id, &view_fd));
        TRY(user_files_read(view_fd, &files));
        e = user_find(&files, text, out);
        keep(users, image_id, files);
        return e;
}
