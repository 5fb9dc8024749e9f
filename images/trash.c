#include "images/trash.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define REST_MS 50

struct trash {
        int fd;
        void (*chore)(void *context);
        void *context;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t woken;
        bool wake, stop, has_thread;
};

static bool is_stopping(struct trash *trash)
{
        (void) pthread_mutex_lock(&trash->lock);
        bool stop = trash->stop;
        (void) pthread_mutex_unlock(&trash->lock);
        return stop;
}

static void empty(struct trash *trash)
{
        _cleanup_(closep) int fd = openat(trash->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return;
        (void) TAKE_FD(fd);
        for (struct dirent *entry; (entry = readdir(dir)) && !is_stopping(trash);) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                log_error(LOG_LEVEL_WARN, file_remove_tree(trash->fd, entry->d_name),
                          "the trash cannot be emptied", "name", entry->d_name);
        }
}

/* Waits until woken, and then a moment more: what is thrown away is seldom one thing, and those who threw it are still
 * busy with what comes next. False when it is time to end. */
static bool wait_woken(struct trash *trash)
{
        struct timespec until;
        (void) pthread_mutex_lock(&trash->lock);
        while (!trash->wake && !trash->stop)
                (void) pthread_cond_wait(&trash->woken, &trash->lock);
        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += REST_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        while (!trash->stop &&
               pthread_cond_clockwait(&trash->woken, &trash->lock, CLOCK_MONOTONIC, &until) == 0)
                continue;
        bool go_on = !trash->stop;
        trash->wake = false;
        (void) pthread_mutex_unlock(&trash->lock);
        return go_on;
}

static void *work(void *argument)
{
        struct trash *trash = argument;
        while (wait_woken(trash)) {
                empty(trash);
                if (trash->chore && !is_stopping(trash))
                        trash->chore(trash->context);
        }
        return NULL;
}

struct error *trash_open(int root_fd, void (*chore)(void *context), void *context, struct trash **out)
{
        _cleanup_(trash_freep) struct trash *trash = NEW(struct trash);
        *trash = (struct trash){ .fd = -1, .chore = chore, .context = context, .wake = true };
        (void) pthread_mutex_init(&trash->lock, NULL);
        (void) pthread_cond_init(&trash->woken, NULL);
        TRY(file_mkdirs(root_fd, "trash", 0700));
        TRY(file_open_beneath(root_fd, "trash", O_RDONLY | O_DIRECTORY, 0, &trash->fd));
        int failed = pthread_create(&trash->thread, NULL, work, trash);
        if (failed)
                return error_errno(failed, "start the trash's thread");
        trash->has_thread = true;
        *out = TAKE(trash);
        return NULL;
}

void trash_free(struct trash *trash)
{
        if (!trash)
                return;
        (void) pthread_mutex_lock(&trash->lock);
        trash->stop = true;
        (void) pthread_cond_signal(&trash->woken);
        (void) pthread_mutex_unlock(&trash->lock);
        if (trash->has_thread)
                (void) pthread_join(trash->thread, NULL);
        (void) pthread_mutex_destroy(&trash->lock);
        (void) pthread_cond_destroy(&trash->woken);
        closep(&trash->fd);
        free(trash);
}

void trash_wake(struct trash *trash)
{
        (void) pthread_mutex_lock(&trash->lock);
        trash->wake = true;
        (void) pthread_cond_signal(&trash->woken);
        (void) pthread_mutex_unlock(&trash->lock);
}

struct error *trash_put(struct trash *trash, int dir_fd, const char *name)
{
        char unique[ID_LEN + 1];
        id_make(unique);
        int errnum = renameat(dir_fd, name, trash->fd, unique) < 0 ? errno : 0;
        if (errnum == ENOSPC || errnum == EDQUOT) /* a directory with many names needs a block for one more */
                return file_remove_tree(dir_fd, name);
        if (errnum == ENOENT)
                return NULL;
        if (errnum)
                return error_errno(errnum, "move %s to the trash", name);
        trash_wake(trash);
        return NULL;
}
