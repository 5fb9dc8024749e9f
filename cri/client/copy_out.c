#include "cri/client/copy_out.h"
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES 65536
#define PERMISSIONS 0777

static struct error *error_archive(struct archive *archive, const char *what)
{
        const char *text = archive_error_string(archive);
        return error_new(ERROR_INVALID_ARGUMENT, "%s: %s", what, text ? text : "no tar");
}

static struct error *error_outside(const char *path)
{
        return error_new(ERROR_PERMISSION_DENIED,
                         "the container's tar has \"%s\", which does not lie in what was asked for", path);
}

/* --- names --- */

/* The next component of *at, cut out of it; "." and empty ones are passed over. NULL: there is none. */
static char *next_component(char **at)
{
        for (char *component; (component = strsep(at, "/"));)
                if (*component && strcmp(component, ".") != 0)
                        return component;
        return NULL;
}

/* The path of a member here: below copy->name, without "." and "..". "": dir_fd itself. */
static struct error *path_here(const struct copy_out *copy, const char *member, char **out)
{
        _cleanup_(freep) char *rest = dup_string(member);
        _cleanup_(freep) char *path = dup_string(strcmp(copy->name, ".") == 0 ? "" : copy->name);
        char *at = rest;
        if (strcmp(copy->member, ".") != 0) {
                const char *first = next_component(&at);
                if (!first || strcmp(first, copy->member) != 0)
                        return error_outside(member);
        }
        for (const char *component; at && (component = next_component(&at));) {
                if (strcmp(component, "..") == 0)
                        return error_outside(member);
                char *longer = format_string("%s%s%s", path, *path ? "/" : "", component);
                free(path);
                path = longer;
        }
        *out = TAKE(path);
        return NULL;
}

static struct error *open_directory(int dir_fd, const char *name, int *out_fd)
{
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
                return error_new(ERROR_PERMISSION_DENIED,
                                 "%s is no directory here, and links are not followed", name);
        if (fd < 0)
                return error_errno(errno, "open %s", name);
        *out_fd = fd;
        return NULL;
}

/* Opens the directory that path lies in; those that are missing are made. *name is the last component, borrowed from path. */
static struct error *open_parent(int dir_fd, const char *path, int *out_fd, const char **name)
{
        _cleanup_(freep) char *parents = dup_string(path);
        _cleanup_(closep) int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
        char *slash = strrchr(parents, '/'), *at = parents;
        if (fd < 0)
                return error_errno(errno, "descriptor");
        *name = slash ? path + (slash - parents) + 1 : path;
        if (!slash)
                at = NULL;
        else
                *slash = '\0';
        for (const char *component; at && (component = next_component(&at));) {
                int next_fd = -1;
                if (mkdirat(fd, component, 0755) < 0 && errno != EEXIST)
                        return error_errno(errno, "make %s", component);
                TRY(open_directory(fd, component, &next_fd));
                closep(&fd);
                fd = next_fd;
        }
        *out_fd = TAKE_FD(fd);
        return NULL;
}

/* --- one function a kind --- */

static struct error *make_room(int parent_fd, const char *name)
{
        if (unlinkat(parent_fd, name, 0) < 0 && errno != ENOENT)
                return error_errno(errno, "replace");
        return NULL;
}

static struct error *write_at(int fd, const char *bytes, size_t len_bytes, off_t offset)
{
        while (len_bytes) {
                ssize_t n_bytes = pwrite(fd, bytes, len_bytes, offset);
                if (n_bytes < 0)
                        return error_errno(errno, "write");
                bytes += n_bytes;
                offset += n_bytes;
                len_bytes -= (size_t) n_bytes;
        }
        return NULL;
}

static struct error *write_data(struct archive *archive, int fd, off_t size_bytes)
{
        for (;;) {
                const void *bytes;
                size_t len_bytes;
                la_int64_t offset;
                int status = archive_read_data_block(archive, &bytes, &len_bytes, &offset);
                if (status == ARCHIVE_EOF)
                        break;
                if (status < ARCHIVE_WARN)
                        return error_archive(archive, "read");
                TRY(write_at(fd, bytes, len_bytes, offset));
        }
        /* A hole at the end has no block. */
        return ftruncate(fd, size_bytes) < 0 ? error_errno(errno, "size") : NULL;
}

static struct error *make_file(struct archive *archive, struct archive_entry *entry, int parent_fd,
                               const char *name)
{
        const struct timespec times[] = { { .tv_nsec = UTIME_OMIT },
                                          { .tv_sec = archive_entry_mtime(entry),
                                            .tv_nsec = archive_entry_mtime_nsec(entry) } };
        TRY(make_room(parent_fd, name));
        _cleanup_(closep) int fd =
                openat(parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(errno, "create");
        TRY(write_data(archive, fd, archive_entry_size(entry)));
        if (fchmod(fd, archive_entry_perm(entry) & PERMISSIONS) < 0)
                return error_errno(errno, "mode");
        (void) futimens(fd, times); /* of use to people alone */
        return NULL;
}

/* Whoever copies can always go on writing below. */
static struct error *make_directory(struct archive_entry *entry, int parent_fd, const char *name)
{
        mode_t mode = (archive_entry_perm(entry) & PERMISSIONS) | S_IRWXU;
        _cleanup_(closep) int fd = -1;
        if (mkdirat(parent_fd, name, S_IRWXU) < 0)
                return errno == EEXIST ? open_directory(parent_fd, name, &fd) : error_errno(errno, "make");
        TRY(open_directory(parent_fd, name, &fd));
        return fchmod(fd, mode) < 0 ? error_errno(errno, "mode") : NULL;
}

static struct error *make_symlink(struct archive_entry *entry, int parent_fd, const char *name)
{
        const char *target = archive_entry_symlink(entry);
        TRY(make_room(parent_fd, name));
        if (!target || symlinkat(target, parent_fd, name) < 0)
                return error_errno(target ? errno : EINVAL, "symlink");
        return NULL;
}

static struct error *make_hard_link(const struct copy_out *copy, const char *to, int parent_fd,
                                    const char *name)
{
        _cleanup_(freep) char *path = NULL;
        _cleanup_(closep) int to_fd = -1;
        const char *to_name = "";
        TRY(path_here(copy, to, &path));
        if (!*path)
                return error_outside(to);
        TRY(open_parent(copy->dir_fd, path, &to_fd, &to_name));
        TRY(make_room(parent_fd, name));
        /* linkat(2) does not follow a link at the end. */
        return linkat(to_fd, to_name, parent_fd, name, 0) < 0 ? error_errno(errno, "link to %s", to) : NULL;
}

static struct error *make(const struct copy_out *copy, struct archive *archive, struct archive_entry *entry,
                          const char *path)
{
        _cleanup_(closep) int parent_fd = -1;
        const char *name, *link = archive_entry_hardlink(entry);
        if (!*path)
                return archive_entry_filetype(entry) == AE_IFDIR
                               ? NULL
                               : error_outside(archive_entry_pathname(entry));
        TRY(open_parent(copy->dir_fd, path, &parent_fd, &name));
        if (link)
                return make_hard_link(copy, link, parent_fd, name);
        switch (archive_entry_filetype(entry)) {
        case AE_IFREG:
                return make_file(archive, entry, parent_fd, name);
        case AE_IFDIR:
                return make_directory(entry, parent_fd, name);
        case AE_IFLNK:
                return make_symlink(entry, parent_fd, name);
        default:
                (void) fprintf(stderr, "skiff cp: %s is a device, a pipe or a socket: passed over\n", path);
                return NULL;
        }
}

/* --- the stream --- */

static void archive_freep(struct archive **archive)
{
        if (*archive)
                (void) archive_read_free(*archive);
}

struct error *copy_out_extract(const struct copy_out *copy, int fd)
{
        _cleanup_(archive_freep) struct archive *archive = archive_read_new();
        if (!archive || archive_read_support_format_tar(archive) != ARCHIVE_OK ||
            archive_read_support_format_empty(archive) != ARCHIVE_OK)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "tar: out of memory");
        if (archive_read_open_fd(archive, fd, READ_BYTES) != ARCHIVE_OK)
                return error_archive(archive, "the container's tar");
        for (;;) {
                struct archive_entry *entry;
                _cleanup_(freep) char *path = NULL;
                int status = archive_read_next_header(archive, &entry);
                if (status == ARCHIVE_EOF)
                        return NULL;
                if (status < ARCHIVE_WARN)
                        return error_archive(archive, "the container's tar");
                const char *member = archive_entry_pathname(entry);
                if (!member)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "the container's tar has a name that is none");
                TRY(path_here(copy, member, &path));
                TRY_WRAP(make(copy, archive, entry, path), "%s", *path ? path : ".");
        }
}
