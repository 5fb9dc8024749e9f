#include "images/unpack/tar.h"
#include "images/unpack/acl.h"
#include "images/unpack/tar_headers.h"
#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { XATTRS_MAX = 256, TAR_BLOCK_BYTES = 512 };

struct tar {
        struct inflate *in;
        struct tar_headers *headers;
        bool is_ended; /* what comes out of in */
        struct archive *archive;
        struct layer_sink *sink;
        struct error *read_error; /* of the stream, kept while libarchive returns */
        uint64_t n_entries, max_entries;
        uint64_t stream_bytes, left_bytes; /* read so far; of the entry's content, not yet seen */
        char path[SINK_PATH_MAX + 1], target[SINK_PATH_MAX + 1];
        struct sink_xattr xattrs[XATTRS_MAX];
        char access_acl[ACL_SIZE_MAX], default_acl[ACL_SIZE_MAX];
};

/* The next bytes as libarchive shall see them; none at the end. */
static struct error *read_some(struct tar *tar, const void **bytes, size_t *len_bytes)
{
        for (;;) {
                const void *from = NULL;
                size_t from_bytes = 0;
                *len_bytes = tar_headers_next(tar->headers, bytes);
                if (*len_bytes || tar->is_ended)
                        return NULL;
                TRY(inflate_next(tar->in, &from, &from_bytes));
                tar->is_ended = from_bytes == 0;
                if (tar->is_ended)
                        tar_headers_end(tar->headers);
                else
                        tar_headers_feed(tar->headers, from, from_bytes);
        }
}

static la_ssize_t on_read(struct archive *archive, void *context, const void **bytes)
{
        struct tar *tar = context;
        static const char padding[TAR_BLOCK_BYTES];
        size_t len_bytes = 0, over_bytes = tar->stream_bytes % TAR_BLOCK_BYTES;
        tar->read_error = read_some(tar, bytes, &len_bytes);
        /* Some builders end with the last file's last byte. What is missing of the file itself is not made up. */
        if (!tar->read_error && len_bytes == 0 && over_bytes && tar->left_bytes == 0) {
                *bytes = padding;
                len_bytes = TAR_BLOCK_BYTES - over_bytes;
        }
        tar->stream_bytes += len_bytes;
        if (!tar->read_error)
                return (la_ssize_t) len_bytes;
        archive_set_error(archive, EIO, "the stream cannot be read");
        return -1;
}

static struct error *archive_failure(struct tar *tar)
{
        if (tar->read_error)
                return TAKE(tar->read_error);
        const char *text = archive_error_string(tar->archive);
        if (archive_errno(tar->archive) == ENOMEM)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "an entry needs too much memory");
        return error_new(ERROR_DATA_LOSS, "the tar is broken: %s", text ? text : "unknown reason");
}

/* Copies name to out as it is below the layer's root: without a leading slash, "." and empty components, and with ".."
 * taken as chroot has it. Errors say why it is no name. */
static struct error *path_clean(const char *name, char out[SINK_PATH_MAX + 1])
{
        size_t len_bytes = 0;
        for (const char *s = name; *s;) {
                size_t n = strcspn(s, "/");
                if (n > 255 || len_bytes + n + 1 > SINK_PATH_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT, "the name is too long");
                if (n == 2 && memcmp(s, "..", 2) == 0) {
                        while (len_bytes > 0 && out[--len_bytes] != '/')
                                continue;
                } else if (n > 0 && !(n == 1 && *s == '.')) {
                        if (len_bytes)
                                out[len_bytes++] = '/';
                        memcpy(out + len_bytes, s, n);
                        len_bytes += n;
                }
                s += n;
                s += *s == '/';
        }
        out[len_bytes] = '\0';
        return NULL;
}

/* Splits "a/b/.wh.c" in place to "a/b/c". *is_whiteout says which it was; AUFS's own files (".wh..wh.*") are told by
 * *is_ignored. Errors: a marker that names nothing, or is a directory's name. */
static struct error *whiteout_parse(char *path, bool *is_whiteout, bool *is_opaque, bool *is_ignored)
{
        static const char prefix[] = ".wh.";
        const size_t prefix_bytes = sizeof(prefix) - 1;
        char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
        *is_whiteout = *is_opaque = *is_ignored = false;
        if (strncmp(path, SINK_PLNK "/", sizeof(SINK_PLNK)) == 0)
                return NULL; /* kept until the end, for hard links to it */
        for (char *s = path; s < base; s = strchr(s, '/') + 1)
                if (strncmp(s, prefix, prefix_bytes) == 0)
                        return error_new(ERROR_INVALID_ARGUMENT, "below a whiteout");
        if (strncmp(base, prefix, prefix_bytes) != 0)
                return NULL;
        const char *hidden = base + prefix_bytes;
        if (strcmp(hidden, ".wh..opq") == 0) {
                *is_opaque = true;
                *(slash ? slash : path) = '\0';
        } else if (strncmp(hidden, prefix, prefix_bytes) == 0) {
                *is_ignored = true;
        } else if (*hidden == '\0' || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0) {
                return error_new(ERROR_INVALID_ARGUMENT, "a whiteout of nothing");
        } else {
                *is_whiteout = true;
                memmove(base, hidden, strlen(hidden) + 1);
        }
        return NULL;
}

static bool xattr_is_kept(const char *name)
{
        return strncmp(name, "user.", 5) == 0 || strcmp(name, "security.capability") == 0 ||
               strcmp(name, "system.posix_acl_access") == 0 || strcmp(name, "system.posix_acl_default") == 0;
}

static bool has_xattr(const struct tar *tar, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(tar->xattrs[i].name, name) == 0)
                        return true;
        return false;
}

static void add_xattr(struct tar *tar, size_t *n, const char *name, const void *value, size_t len_bytes)
{
        if (*n == XATTRS_MAX)
                sink_note(tar->sink, tar->path, "the attribute %s: more than %d", name, XATTRS_MAX);
        else if (len_bytes && !has_xattr(tar, *n, name))
                tar->xattrs[(*n)++] = (struct sink_xattr){ name, value, len_bytes };
}

/* Others than those kept are labels of the machine that made the image (SELinux, IMA), or would speak to overlayfs
 * (trusted.*): left out. libarchive hands out the newest first, and of two of one name the later one counts. */
static void xattrs_read(struct tar *tar, struct archive_entry *from, struct sink_entry *to)
{
        const char *name = NULL;
        const void *value = NULL;
        size_t len_bytes = 0, n = 0;
        (void) archive_entry_xattr_reset(from);
        while (archive_entry_xattr_next(from, &name, &value, &len_bytes) == ARCHIVE_OK) {
                if (strncmp(name, "trusted.", 8) == 0)
                        sink_note(tar->sink, tar->path, "the attribute %s may not be in an image", name);
                if (xattr_is_kept(name) && value)
                        add_xattr(tar, &n, name, value, len_bytes);
        }
        len_bytes = acl_encode(from, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, tar->access_acl);
        add_xattr(tar, &n, "system.posix_acl_access", tar->access_acl, len_bytes);
        len_bytes = acl_encode(from, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, tar->default_acl);
        add_xattr(tar, &n, "system.posix_acl_default", tar->default_acl, len_bytes);
        to->xattrs = tar->xattrs;
        to->n_xattrs = n;
}

/* -1 is nobody's number: chown(2) takes it for "leave it". Others below zero are what signed numbers make of the last
 * ones, -2 is NFS's nobody. */
static bool owner_read(la_int64_t number, uint32_t *out)
{
        if (number < INT32_MIN || number > UINT32_MAX)
                return false;
        *out = (uint32_t) number == UINT32_MAX ? 0 : (uint32_t) number;
        return true;
}

static struct error *entry_read(struct tar *tar, struct archive_entry *from, struct sink_entry *to)
{
        la_int64_t size = archive_entry_size(from);
        uint32_t uid = 0, gid = 0;
        if (!owner_read(archive_entry_uid(from), &uid) || !owner_read(archive_entry_gid(from), &gid))
                return error_new(ERROR_INVALID_ARGUMENT, "its owner is out of range");
        if (size < 0)
                return error_new(ERROR_INVALID_ARGUMENT, "its size is negative");
        *to = (struct sink_entry){
                .path = tar->path,
                .mode = archive_entry_mode(from),
                .uid = uid,
                .gid = gid,
                .mtime = { archive_entry_mtime(from), archive_entry_mtime_nsec(from) },
                .rdev = archive_entry_rdev(from),
                .symlink = archive_entry_symlink(from),
                .size_bytes = (uint64_t) size,
        };
        switch (to->mode & S_IFMT) {
        case S_IFREG:
        case S_IFDIR:
        case S_IFIFO:
        case S_IFBLK:
                break;
        case S_IFCHR:
                if (to->rdev == makedev(0, 0))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "a character device 0:0 may not be in an image");
                break;
        case S_IFLNK:
                if (!to->symlink || !*to->symlink || strlen(to->symlink) > SINK_PATH_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT, "a symbolic link without a target");
                break;
        default:
                return error_new(ERROR_INVALID_ARGUMENT, "of an unknown type");
        }
        xattrs_read(tar, from, to);
        return NULL;
}

static struct error *data_copy(struct tar *tar)
{
        for (;;) {
                const void *bytes = NULL;
                size_t len_bytes = 0;
                la_int64_t offset = 0;
                int status = archive_read_data_block(tar->archive, &bytes, &len_bytes, &offset);
                if (status == ARCHIVE_EOF)
                        return NULL;
                if (status < ARCHIVE_WARN || status == ARCHIVE_RETRY)
                        return archive_failure(tar);
                tar->left_bytes -= len_bytes < tar->left_bytes ? len_bytes : tar->left_bytes;
                if (len_bytes)
                        TRY(tar->sink->data(tar->sink, bytes, len_bytes, (uint64_t) offset));
        }
}

static struct error *one_entry(struct tar *tar, struct archive_entry *from, const char *name)
{
        bool is_whiteout, is_opaque, is_ignored;
        struct layer_sink *sink = tar->sink;
        TRY(path_clean(name, tar->path));
        TRY(whiteout_parse(tar->path, &is_whiteout, &is_opaque, &is_ignored));
        if (is_ignored)
                return NULL;
        if (is_opaque)
                return sink->opaque(sink, tar->path);
        if (is_whiteout)
                return sink->whiteout(sink, tar->path);
        if (!*tar->path) /* the root is the container's, whatever the builder's looked like */
                return NULL;
        const char *target = archive_entry_hardlink(from);
        if (target) {
                TRY_WRAP(path_clean(target, tar->target), "hard link to \"%s\"", target);
                if (!*tar->target)
                        return error_new(ERROR_INVALID_ARGUMENT, "a hard link to the root");
                return sink->hardlink(sink, tar->path, tar->target);
        }
        struct sink_entry entry;
        TRY(entry_read(tar, from, &entry));
        TRY(sink->entry(sink, &entry)); // cppcheck-suppress returnDanglingLifetime
        if (!S_ISREG(entry.mode))
                return NULL;
        tar->left_bytes = entry.size_bytes;
        struct error *e = data_copy(tar);
        tar->left_bytes = 0;
        TRY(e);
        return sink->entry_end(sink, &entry); // cppcheck-suppress returnDanglingLifetime
}

static struct error *all_entries(struct tar *tar)
{
        for (;;) {
                struct archive_entry *entry = NULL;
                int status = archive_read_next_header(tar->archive, &entry);
                if (status == ARCHIVE_EOF)
                        return NULL;
                if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
                        return archive_failure(tar);
                if (++tar->n_entries > tar->max_entries)
                        return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %llu entries",
                                         (unsigned long long) tar->max_entries);
                const char *name = archive_entry_pathname(entry);
                if (!name) {
                        sink_note(tar->sink, "", "entry %llu: its name cannot be read",
                                  (unsigned long long) tar->n_entries);
                        continue;
                }
                _cleanup_(freep) char *kept = dup_string(name); /* libarchive reuses its own */
                struct error *e = one_entry(tar, entry, kept);
                if (e && error_code_of(e) == ERROR_INVALID_ARGUMENT) {
                        sink_note(tar->sink, kept, "%s", error_message(e));
                        error_ignore(e);
                        continue;
                }
                TRY_WRAP(e, "entry \"%s\"", kept);
        }
}

static void tar_done(struct tar *tar)
{
        (void) archive_read_free(tar->archive);
        tar_headers_free(tar->headers);
        error_free(tar->read_error);
}

struct error *tar_unpack(struct inflate *in, struct layer_sink *sink, uint64_t max_entries,
                         struct sink_usage *usage)
{
        _cleanup_(tar_done) struct tar tar = { .in = in, .sink = sink, .max_entries = max_entries };
        tar.headers = tar_headers_new();
        tar.archive = archive_read_new();
        if (!tar.archive)
                return error_errno(ENOMEM, "read a tar");
        if (archive_read_support_format_tar(tar.archive) != ARCHIVE_OK ||
            archive_read_support_format_empty(tar.archive) != ARCHIVE_OK ||
            archive_read_open(tar.archive, &tar, NULL, on_read, NULL) != ARCHIVE_OK)
                return archive_failure(&tar);
        TRY(all_entries(&tar));
        return sink->finish(sink, usage);
}
