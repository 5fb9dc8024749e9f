#include "base/instance.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

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

static struct error *error_held(int fd)
{
        char holder[sizeof("4194304")] = "?"; /* the highest pid, proc(5); "?" until the holder has written */
        ssize_t len_bytes = pread(fd, holder, sizeof(holder) - 1, 0);
        if (len_bytes < 0)
                return error_errno(errno, "read lock");
        return error_new(ERROR_FAILED_PRECONDITION, "in use by process %s", holder);
}

static struct error *lock_take(const char *dir, int *out_fd)
{
        _cleanup_(closep) int fd = -1;
        TRY(lock_open(dir, &fd));
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? error_held(fd) : error_errno(errno, "lock");
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
