#include "base/file.h"
#include <linux/fs.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static struct error *open_resolved(int dir_fd, const char *path, int flags, mode_t mode, uint64_t resolve,
                                   int *out_fd)
{
        struct open_how how = { .flags = (unsigned) (flags | O_CLOEXEC), .resolve = resolve };
        if (flags & (O_CREAT | O_TMPFILE))
                how.mode = mode;
        long fd;
        do
                fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        while (fd < 0 &&
               (errno == EINTR || errno == EAGAIN)); /* EAGAIN: a rename raced the walk, openat2(2) */
        if (fd < 0)
                return error_errno(errno, "open %s", path);
        *out_fd = (int) fd;
        return NULL;
}

struct error *file_open_in_root(int dir_fd, const char *path, int flags, mode_t mode, int *out_fd)
{
        return open_resolved(dir_fd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, out_fd);
}

struct error *file_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, int *out_fd)
{
        uint64_t resolve = RESOLVE_NO_SYMLINKS | (dir_fd == AT_FDCWD ? 0U : RESOLVE_BENEATH);
        return open_resolved(dir_fd, path, flags, mode, resolve, out_fd);
}

struct error *file_read(int dir_fd, const char *path, size_t limit_bytes, char **out, size_t *len_bytes)
{
        /* O_NONBLOCK: a fifo in a file's place must not hold us up. */
        _cleanup_(closep) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return error_errno(errno, "open %s", path);
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(errno, "stat %s", path);
        if (!S_ISREG(st.st_mode))
                return error_new(ERROR_INTERNAL, "%s is not a regular file", path);
        _cleanup_(buf_done) struct buf bytes;
        buf_init(&bytes, limit_bytes);
        TRY_WRAP(buf_read_all(&bytes, fd), "read %s", path);
        size_t n_bytes = bytes.len_bytes;
        char *text = buf_take_text(&bytes);
        if (!text)
                return error_errno(ENOMEM, "read %s", path);
        *out = text;
        if (len_bytes)
                *len_bytes = n_bytes;
        return NULL;
}

struct error *file_write_all(int fd, const void *bytes, size_t len_bytes)
{
        const char *from = bytes;
        while (len_bytes) {
                ssize_t n_bytes = write(fd, from, len_bytes);
                if (n_bytes < 0 && errno == EINTR)
                        continue;
                if (n_bytes < 0)
                        return error_errno(errno, "write");
                from += n_bytes;
                len_bytes -= (size_t) n_bytes;
        }
        return NULL;
}

void file_mark_top_directory(int fd)
{
        int flags = 0;
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || (flags & FS_TOPDIR_FL))
                return;
        flags |= FS_TOPDIR_FL;
        (void) ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static struct error *write_temporary(int dir_fd, const char *name, const void *bytes, size_t len_bytes,
                                     mode_t mode, bool durable)
{
        const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        _cleanup_(closep) int fd = openat(dir_fd, name, flags, mode);
        if (fd < 0 && errno == EEXIST) { /* what an earlier process left half written */
                (void) unlinkat(dir_fd, name, 0);
                fd = openat(dir_fd, name, flags, mode);
        }
        if (fd < 0)
                return error_errno(errno, "create %s", name);
        if (fchmod(fd, mode) < 0)
                return error_errno(errno, "chmod %s", name);
        TRY_WRAP(file_write_all(fd, bytes, len_bytes), "%s", name);
        if (durable && fsync(fd) < 0)
                return error_errno(errno, "sync %s", name);
        return NULL;
}

static struct error *sync_parent(int dir_fd, const char *path)
{
        _cleanup_(freep) char *parent = dup_string(path);
        char *slash = strrchr(parent, '/');
        if (slash)
                slash[1] = '\0';
        _cleanup_(closep) int fd = openat(dir_fd, slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return error_errno(errno, "sync the directory of %s", path);
        return NULL;
}

struct error *file_replace(int dir_fd, const char *path, const void *bytes, size_t len_bytes, mode_t mode,
                           bool durable)
{
        _cleanup_(freep) char *temporary = format_string("%s.new", path);
        struct error *e = write_temporary(dir_fd, temporary, bytes, len_bytes, mode, durable);
        if (!e && renameat(dir_fd, temporary, dir_fd, path) < 0)
                e = error_errno(errno, "rename %s", temporary);
        if (e) {
                (void) unlinkat(dir_fd, temporary, 0);
                return e;
        }
        return durable ? sync_parent(dir_fd, path) : NULL;
}

struct error *file_mkdirs(int dir_fd, const char *path, mode_t mode)
{
        _cleanup_(freep) char *partial = dup_string(path);
        for (char *end = partial; *end;) {
                end += strspn(end, "/");
                end += strcspn(end, "/");
                char rest = *end;
                *end = '\0';
                if (*partial && mkdirat(dir_fd, partial, mode) < 0 && errno != EEXIST)
                        return error_errno(errno, "make directory %s", partial);
                *end = rest;
        }
        _cleanup_(closep) int fd = openat(dir_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? error_errno(errno, "make directory %s", path) : NULL;
}
