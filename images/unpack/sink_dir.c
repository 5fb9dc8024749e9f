#include "images/unpack/sink_dir.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { BLOCK_BYTES = 4096, SPECIAL_BITS = S_ISUID | S_ISGID };

/* What a directory gets at the end. */
struct late {
        char *path;
        mode_t mode;
        struct timespec mtime;
        void *default_acl;
        size_t acl_bytes;
};

struct sink_dir {
        struct layer_sink face; /* first */
        int root_fd;
        sink_dir_opaque *opaque;
        void *context;
        /* The directory of the last entry: the next one is mostly in it too. */
        int parent_fd;
        char parent[SINK_PATH_MAX + 1];
        int file_fd; /* the file that data goes to, or -1 */
        uint64_t written_bytes;
        struct late *late;
        size_t n_late;
        struct sink_usage usage;
};

static struct error *fail(int errnum, const char *what)
{
        if (errnum == ENOSPC || errnum == EDQUOT)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "no space left (%s)", what);
        if (errnum == ELOOP)
                return error_new(ERROR_INVALID_ARGUMENT, "leads through a symbolic link");
        if (errnum == ENOTDIR)
                return error_new(ERROR_INVALID_ARGUMENT, "leads through what is no directory");
        return error_errno(errnum, "%s", what);
}

static int open_below(int dir_fd, const char *path, int flags)
{
        struct open_how how = {
                .flags = (uint64_t) (unsigned) (flags | O_CLOEXEC),
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        return (int) syscall(SYS_openat2, dir_fd, *path ? path : ".", &how, sizeof(how));
}

static bool is_whiteout(const struct stat *st)
{
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static struct error *mark_opaque(struct sink_dir *sink, int dir_fd)
{
        return sink->opaque(sink->context, dir_fd);
}

static struct error *mark_opaque_at(struct sink_dir *sink, int parent_fd, const char *name)
{
        _cleanup_(closep) int fd = open_below(parent_fd, name, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fail(errno, "open a directory");
        return mark_opaque(sink, fd);
}

/* mkdir that takes an existing directory, and the place of a whiteout: then what lower layers have in it must stay
 * hidden, so it is opaque. *made is false for one that was there. */
static struct error *make_directory(struct sink_dir *sink, int parent_fd, const char *name, mode_t mode,
                                    bool *made)
{
        struct stat st;
        bool replaced = false;
        *made = true;
        while (mkdirat(parent_fd, name, mode) < 0) {
                if (errno != EEXIST || replaced)
                        return fail(errno, "make a directory");
                if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return fail(errno, "look at what is there");
                if (S_ISDIR(st.st_mode)) {
                        *made = false;
                        return NULL;
                }
                if (!is_whiteout(&st))
                        return fail(S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR, "make a directory");
                if (unlinkat(parent_fd, name, 0) < 0)
                        return fail(errno, "replace a whiteout");
                replaced = true;
        }
        sink->usage.inodes++;
        sink->usage.bytes += BLOCK_BYTES;
        return replaced ? mark_opaque_at(sink, parent_fd, name) : NULL;
}

/* Opens path, making what is missing of it. */
static struct error *open_parents(struct sink_dir *sink, const char *path, int *out_fd)
{
        char name[256];
        _cleanup_(closep) int fd = open_below(sink->root_fd, "", O_PATH | O_DIRECTORY);
        for (const char *s = path; *s && fd >= 0;) {
                size_t n = strcspn(s, "/");
                bool made;
                memcpy(name, s, n); /* tar.c bounds components */
                name[n] = '\0';
                TRY(make_directory(sink, fd, name, 0755, &made));
                int next = open_below(fd, name, O_PATH | O_DIRECTORY);
                closep(&fd);
                fd = next;
                s += n;
                s += *s == '/';
        }
        if (fd < 0)
                return fail(errno, "open the directory");
        *out_fd = TAKE_FD(fd);
        return NULL;
}

/* The directory that path's last component is in, made where it is missing; borrowed until the next call. */
static struct error *parent_of(struct sink_dir *sink, const char *path, int *out_fd, const char **name)
{
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t) (slash - path) : 0;
        *name = slash ? slash + 1 : path;
        if (sink->parent_fd >= 0 && strncmp(sink->parent, path, n) == 0 && sink->parent[n] == '\0') {
                *out_fd = sink->parent_fd;
                return NULL;
        }
        closep(&sink->parent_fd);
        memcpy(sink->parent, path, n);
        sink->parent[n] = '\0';
        int fd = open_below(sink->root_fd, sink->parent, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
                return fail(errno, "open the directory");
        if (fd < 0)
                TRY(open_parents(sink, sink->parent, &fd));
        *out_fd = sink->parent_fd = fd;
        return NULL;
}

/* Removes what stands where an entry that is no directory is to be. */
static struct error *make_room(struct sink_dir *sink, int parent_fd, const char *name)
{
        if (unlinkat(parent_fd, name, 0) == 0)
                return NULL;
        if (errno != EISDIR)
                return fail(errno, "replace what is there");
        if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0)
                return error_new(ERROR_INVALID_ARGUMENT, "replaces a directory that is not empty");
        closep(&sink->parent_fd); /* it may have been the one removed */
        return NULL;
}

static bool is_default_acl(const struct sink_xattr *xattr)
{
        return strcmp(xattr->name, "system.posix_acl_default") == 0;
}

static struct error *set_xattrs(int fd, const struct sink_entry *entry)
{
        for (size_t i = 0; i < entry->n_xattrs; i++) {
                const struct sink_xattr *xattr = &entry->xattrs[i];
                if (!is_default_acl(xattr) &&
                    fsetxattr(fd, xattr->name, xattr->value, xattr->len_bytes, 0) < 0)
                        return error_wrap(fail(errno, "set an attribute"), "%s", xattr->name);
        }
        return NULL;
}

static void keep_late(struct sink_dir *sink, const struct sink_entry *entry)
{
        if (sink->n_late == 0 || (sink->n_late & (sink->n_late - 1)) == 0)
                sink->late = grow_array(sink->late, sink->n_late ? sink->n_late * 2 : 1, sizeof(*sink->late));
        struct late *late = &sink->late[sink->n_late++];
        *late = (struct late){ .path = dup_string(entry->path),
                               .mode = entry->mode & 07777,
                               .mtime = entry->mtime };
        for (size_t i = 0; i < entry->n_xattrs; i++) {
                const struct sink_xattr *xattr = &entry->xattrs[i];
                if (!is_default_acl(xattr))
                        continue;
                free(late->default_acl);
                late->default_acl = dup_bytes(xattr->value, xattr->len_bytes);
                late->acl_bytes = xattr->len_bytes;
        }
}

static struct error *put_directory(struct sink_dir *sink, const struct sink_entry *entry)
{
        int parent_fd = sink->root_fd;
        const char *name = ".";
        bool made = false;
        mode_t mode = entry->mode & 07777 & ~(mode_t) SPECIAL_BITS;
        if (*entry->path) {
                TRY(parent_of(sink, entry->path, &parent_fd, &name));
                TRY(make_directory(sink, parent_fd, name, mode, &made));
        }
        if (made && entry->uid == 0 && entry->gid == 0 && entry->n_xattrs == 0) {
                keep_late(sink, entry);
                return NULL;
        }
        _cleanup_(closep) int fd = open_below(parent_fd, name, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fail(errno, "open the directory");
        if (fchown(fd, entry->uid, entry->gid) < 0)
                return fail(errno, "set the owner");
        if (!made && fchmod(fd, mode) < 0)
                return fail(errno, "set the mode");
        TRY(set_xattrs(fd, entry));
        keep_late(sink, entry);
        return NULL;
}

static struct error *put_file(struct sink_dir *sink, const struct sink_entry *entry)
{
        int parent_fd;
        const char *name;
        TRY(parent_of(sink, entry->path, &parent_fd, &name));
        const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        _cleanup_(closep) int fd = openat(parent_fd, name, flags, entry->mode & 07777);
        if (fd < 0 && errno == EEXIST) {
                TRY(make_room(sink, parent_fd, name));
                TRY(parent_of(sink, entry->path, &parent_fd, &name));
                fd = openat(parent_fd, name, flags, entry->mode & 07777);
        }
        if (fd < 0)
                return fail(errno, "make the file");
        sink->usage.inodes++;
        if ((entry->uid || entry->gid) && fchown(fd, entry->uid, entry->gid) < 0)
                return fail(errno, "set the owner");
        if ((entry->mode & SPECIAL_BITS) && fchmod(fd, entry->mode & 07777) < 0) /* chown clears them */
                return fail(errno, "set the mode");
        sink->written_bytes = 0;
        sink->file_fd = TAKE_FD(fd);
        return NULL;
}

static struct error *put_node(struct sink_dir *sink, const struct sink_entry *entry, int parent_fd,
                              const char *name)
{
        int made = S_ISLNK(entry->mode) ? symlinkat(entry->symlink, parent_fd, name)
                                        : mknodat(parent_fd, name, entry->mode, entry->rdev);
        if (made < 0)
                return fail(errno, S_ISLNK(entry->mode) ? "make the symbolic link" : "make the node");
        sink->usage.inodes++;
        if (S_ISLNK(entry->mode) && strlen(entry->symlink) >= 60) /* shorter ones are in the inode */
                sink->usage.bytes += BLOCK_BYTES;
        if ((entry->uid || entry->gid) &&
            fchownat(parent_fd, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return fail(errno, "set the owner");
        const struct timespec times[] = { entry->mtime, entry->mtime };
        if (utimensat(parent_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return fail(errno, "set the time");
        return NULL;
}

static struct error *put_other(struct sink_dir *sink, const struct sink_entry *entry)
{
        int parent_fd;
        const char *name;
        struct stat st;
        TRY(parent_of(sink, entry->path, &parent_fd, &name));
        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                TRY(make_room(sink, parent_fd, name));
                TRY(parent_of(sink, entry->path, &parent_fd, &name));
        }
        return put_node(sink, entry, parent_fd, name);
}

static struct error *on_entry(struct layer_sink *face, const struct sink_entry *entry)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        if (S_ISDIR(entry->mode))
                return put_directory(sink, entry);
        return S_ISREG(entry->mode) ? put_file(sink, entry) : put_other(sink, entry);
}

static struct error *on_data(struct layer_sink *face, const void *bytes, size_t len_bytes,
                             uint64_t offset_bytes)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        const char *from = bytes;
        while (len_bytes) {
                ssize_t n = pwrite(sink->file_fd, from, len_bytes, (off_t) offset_bytes);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail(errno, "write");
                from += n;
                len_bytes -= (size_t) n;
                offset_bytes += (uint64_t) n;
                sink->written_bytes += (uint64_t) n;
        }
        return NULL;
}

static struct error *on_entry_end(struct layer_sink *face, const struct sink_entry *entry)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        _cleanup_(closep) int fd = TAKE_FD(sink->file_fd);
        /* Fewer bytes than it has: a sparse file, whose last hole no write made. */
        if (sink->written_bytes < entry->size_bytes && ftruncate(fd, (off_t) entry->size_bytes) < 0)
                return fail(errno, "set the size");
        sink->usage.bytes += (sink->written_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
        TRY(set_xattrs(fd, entry)); /* after the data: a write drops file capabilities */
        const struct timespec times[] = { entry->mtime, entry->mtime };
        if (futimens(fd, times) < 0)
                return fail(errno, "set the time");
        return NULL;
}

static struct error *on_hardlink(struct layer_sink *face, const char *path, const char *target)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        const char *slash = strrchr(target, '/'), *name = NULL, *target_name = slash ? slash + 1 : target;
        _cleanup_(freep) char *target_parent = dup_bytes(target, slash ? (size_t) (slash - target) : 0);
        _cleanup_(closep) int target_fd = open_below(sink->root_fd, target_parent, O_PATH | O_DIRECTORY);
        if (target_fd < 0)
                return error_wrap(fail(errno, "open its directory"), "hard link to \"%s\"", target);
        struct stat st;
        if (fstatat(target_fd, target_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode) ||
            is_whiteout(&st))
                return error_new(ERROR_INVALID_ARGUMENT, "hard link to \"%s\", which is no file of the layer",
                                 target);
        int parent_fd = -1;
        TRY(parent_of(sink, path, &parent_fd, &name));
        if (linkat(target_fd, target_name, parent_fd, name, 0) == 0)
                return NULL;
        if (errno != EEXIST)
                return fail(errno, "make the hard link");
        TRY(make_room(sink, parent_fd, name));
        TRY(parent_of(sink, path, &parent_fd, &name));
        if (linkat(target_fd, target_name, parent_fd, name, 0) < 0)
                return fail(errno, "make the hard link");
        return NULL;
}

/* A whiteout speaks of lower layers only: what this layer itself has at the name stays (a directory then hides what is
 * below it by being opaque). Source: image-spec layer.md. */
static struct error *on_whiteout(struct layer_sink *face, const char *path)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        int parent_fd = -1;
        const char *name = NULL;
        struct stat st;
        TRY(parent_of(sink, path, &parent_fd, &name));
        if (mknodat(parent_fd, name, S_IFCHR, makedev(0, 0)) == 0) {
                sink->usage.inodes++;
                return NULL;
        }
        if (errno != EEXIST)
                return fail(errno, "make the whiteout");
        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return fail(errno, "look at what is there");
        return S_ISDIR(st.st_mode) ? mark_opaque_at(sink, parent_fd, name) : NULL;
}

static struct error *on_opaque(struct layer_sink *face, const char *path)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        int parent_fd = sink->root_fd;
        const char *name = ".";
        bool made;
        if (*path) {
                TRY(parent_of(sink, path, &parent_fd, &name));
                TRY(make_directory(sink, parent_fd, name, 0755, &made));
        }
        return mark_opaque_at(sink, parent_fd, name);
}

static struct error *apply_late(struct sink_dir *sink, const struct late *late)
{
        _cleanup_(closep) int fd = open_below(sink->root_fd, late->path, O_RDONLY | O_DIRECTORY);
        if (fd < 0) /* another entry took its place since */
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? NULL : fail(errno, "open");
        if ((late->mode & SPECIAL_BITS) && fchmod(fd, late->mode) < 0)
                return fail(errno, "set the mode");
        if (late->default_acl &&
            fsetxattr(fd, "system.posix_acl_default", late->default_acl, late->acl_bytes, 0) < 0)
                return fail(errno, "set the default ACL");
        const struct timespec times[] = { late->mtime, late->mtime };
        if (futimens(fd, times) < 0)
                return fail(errno, "set the time");
        return NULL;
}

static struct error *on_finish(struct layer_sink *face, struct sink_usage *usage)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        for (size_t i = 0; i < sink->n_late;
             i++) /* in their order: the last of two entries of one name wins */
                TRY_WRAP(apply_late(sink, &sink->late[i]), "entry \"%s\"", sink->late[i].path);
        *usage = sink->usage;
        return NULL;
}

struct layer_sink *sink_dir_new(int root_fd, sink_dir_opaque *opaque, void *context)
{
        struct sink_dir *sink = NEW(struct sink_dir);
        sink->face = (struct layer_sink){
                .entry = on_entry,
                .data = on_data,
                .entry_end = on_entry_end,
                .hardlink = on_hardlink,
                .whiteout = on_whiteout,
                .opaque = on_opaque,
                .finish = on_finish,
        };
        sink->root_fd = root_fd;
        sink->opaque = opaque;
        sink->context = context;
        sink->parent_fd = sink->file_fd = -1;
        sink->usage = (struct sink_usage){ .bytes = BLOCK_BYTES, .inodes = 1 }; /* the root */
        return &sink->face;
}

void sink_dir_free(struct layer_sink *face)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        if (!sink)
                return;
        closep(&sink->parent_fd);
        closep(&sink->file_fd);
        for (size_t i = 0; i < sink->n_late; i++) {
                free(sink->late[i].path);
                free(sink->late[i].default_acl);
        }
        free(sink->late);
        free(sink);
}
