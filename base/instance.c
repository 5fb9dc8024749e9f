#include "base/instance.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#define DEAD_HOLDER_MAX_NS INT64_C(5000000000)
#define DEAD_HOLDER_LOOK_MS 5

struct instance {
        int lock_fd;
};

static struct error *lock_open(const char *dir, int *out_fd)
{
        _cleanup_(closep) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return error_errno(errno, "open");
        /* Without O_CLOEXEC every skiff-pod would inherit the lock and hold it for as long as its pod lives:
         * no skiffd could start again. */
        int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(errno, "open lock");
        *out_fd = fd;
        return NULL;
}

#define HOLDER_MAX (sizeof("4194304")) /* the highest pid, proc(5) */

/* "?" until the holder has written. */
static struct error *holder_read(int fd, char holder[HOLDER_MAX])
{
        ssize_t len_bytes = pread(fd, holder, HOLDER_MAX - 1, 0);
        if (len_bytes < 0)
                return error_errno(errno, "read lock");
        holder[len_bytes] = '\0';
        if (!len_bytes)
                memcpy(holder, "?", sizeof("?"));
        return NULL;
}

static bool is_alive(const char *holder)
{
        long pid = strtol(holder, NULL, 10);
        return pid <= 0 || kill((pid_t) pid, 0) == 0 || errno != ESRCH;
}

/* Waits for a lock that a dead process holds: a helper that it was starting has a copy of the descriptor until its exec, a
 * moment later. Nothing tells of that moment: a blocking flock(2) has no deadline. */
static struct error *lock_wait(int fd)
{
        char holder[HOLDER_MAX];
        int64_t until_ns = clock_monotonic_ns() + DEAD_HOLDER_MAX_NS;
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return error_errno(errno, "lock");
                TRY(holder_read(fd, holder));
                if (is_alive(holder) || clock_monotonic_ns() > until_ns)
                        return error_new(ERROR_FAILED_PRECONDITION, "in use by process %s", holder);
                (void) poll(NULL, 0, DEAD_HOLDER_LOOK_MS);
        }
        return NULL;
}

static struct error *lock_take(const char *dir, int *out_fd)
{
        _cleanup_(closep) int fd = -1;
        TRY(lock_open(dir, &fd));
        TRY(lock_wait(fd));
        if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d", getpid()) < 0)
                return error_errno(errno, "write lock");
        *out_fd = TAKE_FD(fd);
        return NULL;
}

struct error *instance_claim(const char *dir, struct instance **out)
{
        _cleanup_(instance_freep) struct instance *instance = NEW(struct instance);
        instance->lock_fd = -1; /* NEW zeroes, and 0 is stdin */
        TRY_WRAP(lock_take(dir, &instance->lock_fd), "claim %s", dir);
        *out = TAKE(instance);
        return NULL;
}

void instance_free(struct instance *instance)
{
        if (!instance)
                return;
        closep(&instance->lock_fd);
        free(instance);
}
