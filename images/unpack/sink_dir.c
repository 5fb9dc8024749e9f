#include "images/unpack/sink_dir.h"
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
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
        struct places *places;
        int root_fd;
        int file_fd; /* the file that data goes to, or -1 */
        uint64_t written_bytes;
        struct late *late;
        size_t n_late;
        struct sink_usage usage;
};

static bool is_default_acl(const struct sink_xattr *xattr)
{
        return strcmp(xattr->name, "system.posix_acl_default") == 0;
}

/* What this filesystem, or any, cannot keep costs the attribute. */
static struct error *xattr_failed(struct sink_dir *sink, const char *path, const char *name, int errnum)
{
        switch (errnum) {
        case EINVAL:
        case EOPNOTSUPP:
        case EPERM:
        case E2BIG:
        case ERANGE:
                sink_note(&sink->face, path, "the attribute %s: %s", name, strerror(errnum));
                return NULL;
        default:
                return error_wrap(place_failure(errnum, "set an attribute"), "%s", name);
        }
}

static struct error *set_xattrs(struct sink_dir *sink, int fd, const struct sink_entry *entry)
{
        for (size_t i = 0; i < entry->n_xattrs; i++) {
                const struct sink_xattr *xattr = &entry->xattrs[i];
                if (!is_default_acl(xattr) &&
                    fsetxattr(fd, xattr->name, xattr->value, xattr->len_bytes, 0) < 0)
                        TRY(xattr_failed(sink, entry->path, xattr->name, errno));
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
        int parent_fd = -1;
        const char *name = NULL;
        bool made = false;
        mode_t mode = entry->mode & 07777 & ~(mode_t) SPECIAL_BITS;
        TRY(places_parent(sink->places, entry->path, &parent_fd, &name));
        /* The descriptor outlives what places_parent gave. */
        _cleanup_(closep) int in_fd = fcntl(parent_fd, F_DUPFD_CLOEXEC, 3);
        if (in_fd < 0)
                return place_failure(errno, "open the directory");
        TRY(places_directory(sink->places, in_fd, name, mode, &made));
        if (made && entry->uid == 0 && entry->gid == 0 && entry->n_xattrs == 0) {
                keep_late(sink, entry);
                return NULL;
        }
        _cleanup_(closep) int fd = openat(in_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return place_failure(errno, "open the directory");
        places_described(sink->places, fd);
        if (fchown(fd, entry->uid, entry->gid) < 0)
                return place_failure(errno, "set the owner");
        if (!made && fchmod(fd, mode) < 0)
                return place_failure(errno, "set the mode");
        TRY(set_xattrs(sink, fd, entry));
        keep_late(sink, entry);
        return NULL;
}

static struct error *put_file(struct sink_dir *sink, const struct sink_entry *entry)
{
        int parent_fd;
        const char *name;
        TRY(places_parent(sink->places, entry->path, &parent_fd, &name));
        const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        _cleanup_(closep) int fd = openat(parent_fd, name, flags, entry->mode & 07777);
        if (fd < 0 && errno == EEXIST) {
                TRY(places_make_room(sink->places, parent_fd, name));
                TRY(places_parent(sink->places, entry->path, &parent_fd, &name));
                fd = openat(parent_fd, name, flags, entry->mode & 07777);
        }
        if (fd < 0)
                return place_failure(errno, "make the file");
        sink->usage.inodes++;
        if ((entry->uid || entry->gid) && fchown(fd, entry->uid, entry->gid) < 0)
                return place_failure(errno, "set the owner");
        if ((entry->mode & SPECIAL_BITS) && fchmod(fd, entry->mode & 07777) < 0) /* chown clears them */
                return place_failure(errno, "set the mode");
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
                return place_failure(errno,
                                     S_ISLNK(entry->mode) ? "make the symbolic link" : "make the node");
        sink->usage.inodes++;
        if (S_ISLNK(entry->mode) && strlen(entry->symlink) >= 60) /* shorter ones are in the inode */
                sink->usage.bytes += BLOCK_BYTES;
        if ((entry->uid || entry->gid) &&
            fchownat(parent_fd, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return place_failure(errno, "set the owner");
        const struct timespec times[] = { entry->mtime, entry->mtime };
        if (utimensat(parent_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return place_failure(errno, "set the time");
        return NULL;
}

static struct error *put_other(struct sink_dir *sink, const struct sink_entry *entry)
{
        int parent_fd;
        const char *name;
        struct stat st;
        TRY(places_parent(sink->places, entry->path, &parent_fd, &name));
        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                TRY(places_make_room(sink->places, parent_fd, name));
                TRY(places_parent(sink->places, entry->path, &parent_fd, &name));
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
                        return place_failure(errno, "write");
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
                return place_failure(errno, "set the size");
        sink->usage.bytes += (sink->written_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
        TRY(set_xattrs(sink, fd, entry)); /* after the data: a write drops file capabilities */
        const struct timespec times[] = { entry->mtime, entry->mtime };
        if (futimens(fd, times) < 0)
                return place_failure(errno, "set the time");
        return NULL;
}

/* A file that is to be there under another name too and is not there at all is no oddity but a part of the image that is
 * missing: the one thing here that is the layer's end, as with the peers. */
static struct error *target_open(struct sink_dir *sink, const char *target, int *out_fd)
{
        struct stat st;
        const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
        _cleanup_(freep) char *parent = dup_bytes(target, slash ? (size_t) (slash - target) : 0);
        _cleanup_(closep) int fd = places_open(sink->places, parent, O_PATH | O_DIRECTORY);
        if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || place_is_whiteout(&st))
                return error_new(ERROR_DATA_LOSS, "hard link to \"%s\", which is no file of the layer",
                                 target);
        if (S_ISDIR(st.st_mode))
                return error_new(ERROR_INVALID_ARGUMENT, "hard link to \"%s\", a directory", target);
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static bool is_same_file(int a_fd, const char *a, int b_fd, const char *b)
{
        struct stat x, y;
        return fstatat(a_fd, a, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
               fstatat(b_fd, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_ino == y.st_ino;
}

static struct error *on_hardlink(struct layer_sink *face, const char *path, const char *target)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        const char *slash = strrchr(target, '/'), *name = NULL, *target_name = slash ? slash + 1 : target;
        _cleanup_(closep) int target_fd = -1;
        int parent_fd = -1;
        TRY(target_open(sink, target, &target_fd));
        TRY(places_parent(sink->places, path, &parent_fd, &name));
        if (linkat(target_fd, target_name, parent_fd, name, 0) == 0)
                return NULL;
        if (errno != EEXIST)
                return place_failure(errno, "make the hard link");
        if (is_same_file(target_fd, target_name, parent_fd, name)) /* it is there, perhaps by another way */
                return NULL;
        TRY(places_make_room(sink->places, parent_fd, name));
        TRY(places_parent(sink->places, path, &parent_fd, &name));
        if (linkat(target_fd, target_name, parent_fd, name, 0) < 0)
                return errno == ENOENT ? error_new(ERROR_INVALID_ARGUMENT,
                                                   "takes the place of what it is a hard link to")
                                       : place_failure(errno, "make the hard link");
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
        TRY(places_parent(sink->places, path, &parent_fd, &name));
        if (mknodat(parent_fd, name, S_IFCHR, makedev(0, 0)) == 0) {
                sink->usage.inodes++;
                return places_has_whiteout(sink->places);
        }
        if (errno != EEXIST)
                return place_failure(errno, "make the whiteout");
        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return place_failure(errno, "look at what is there");
        return S_ISDIR(st.st_mode) ? places_mark_opaque(sink->places, parent_fd, name) : NULL;
}

/* The mark alone is no description of the directory. */
static struct error *on_opaque(struct layer_sink *face, const char *path)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        _cleanup_(freep) char *inside = format_string("%s%sx", path, *path ? "/" : "");
        int dir_fd = -1;
        const char *name = NULL;
        TRY(places_parent(sink->places, inside, &dir_fd, &name));
        return places_mark_opaque(sink->places, dir_fd, "");
}

static struct error *apply_late(struct sink_dir *sink, const struct late *late)
{
        _cleanup_(closep) int fd = places_open(sink->places, late->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd < 0) /* another entry took its place since */
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? NULL
                                                                             : place_failure(errno, "open");
        if ((late->mode & SPECIAL_BITS) && fchmod(fd, late->mode) < 0)
                return place_failure(errno, "set the mode");
        if (late->default_acl &&
            fsetxattr(fd, "system.posix_acl_default", late->default_acl, late->acl_bytes, 0) < 0)
                TRY(xattr_failed(sink, late->path, "system.posix_acl_default", errno));
        const struct timespec times[] = { late->mtime, late->mtime };
        if (futimens(fd, times) < 0)
                return place_failure(errno, "set the time");
        return NULL;
}

/* AUFS keeps files with several names here, and its layers' hard links lead here. */
static struct error *remove_plnk(struct sink_dir *sink)
{
        struct stat st;
        if (fstatat(sink->root_fd, SINK_PLNK, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return NULL;
        return places_make_room(sink->places, sink->root_fd, SINK_PLNK);
}

static struct error *on_finish(struct layer_sink *face, struct sink_usage *usage)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        TRY(remove_plnk(sink));
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
        sink->places = places_new(root_fd, opaque, context, &sink->usage);
        sink->file_fd = -1;
        sink->usage = (struct sink_usage){ .bytes = BLOCK_BYTES, .inodes = 1 }; /* the root */
        return &sink->face;
}

struct error *sink_dir_seams(const struct layer_sink *face, int fd)
{
        return places_write_seams(((const struct sink_dir *) face)->places, fd);
}

void sink_dir_free(struct layer_sink *face)
{
        struct sink_dir *sink = (struct sink_dir *) face;
        if (!sink)
                return;
        places_free(sink->places);
        closep(&sink->file_fd);
        for (size_t i = 0; i < sink->n_late; i++) {
                free(sink->late[i].path);
                free(sink->late[i].default_acl);
        }
        free(sink->late);
        free(sink);
}
