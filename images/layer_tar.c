#include "images/layer_tar.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/utf8.h"
#include "images/layer_ids.h"
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <uthash.h>

enum {
        DEPTH_MAX = 400, /* each level is a call; the thread's stack is small */
        CHUNK_BYTES = 256 << 10,
        PATH_BYTES_MAX = 4096,
        PAX_LIMIT_BYTES = 1 << 20,
        NAMES_LIMIT = 1 << 24
};

struct header { /* ustar */
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
        char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK_BYTES, "a tar's block");

/* The first name of a file that has several. */
struct link_name {
        ino_t inode; /* the key: a layer is one filesystem */
        char *path;
        UT_hash_handle hh;
};

struct writer {
        const char *seams; /* the layer's, borrowed (places_write_seams) */
        size_t seams_bytes;
        struct layer_ids ids;
        int root_fd, fd;
        const struct wait *wait;
        struct digest_stream *digest;
        uint64_t bytes;
        struct link_name *links;
        struct buf pax;
        unsigned depth;
        size_t have_bytes;
        char path[PATH_BYTES_MAX + 8]; /* of the entry, with a slash behind a directory's */
        char xattr_names[8192], xattr_value[65536];
        char chunk[CHUNK_BYTES]; /* what is not written yet */
};

static struct error *flush(struct writer *writer)
{
        TRY(wait_check(writer->wait, "export"));
        digest_stream_add(writer->digest, writer->chunk, writer->have_bytes);
        TRY(file_write_all(writer->fd, writer->chunk, writer->have_bytes));
        writer->bytes += writer->have_bytes;
        writer->have_bytes = 0;
        return NULL;
}

static struct error *emit(struct writer *writer, const void *bytes, size_t len_bytes)
{
        const char *from = bytes;
        while (len_bytes) {
                size_t room = sizeof(writer->chunk) - writer->have_bytes;
                size_t n = len_bytes < room ? len_bytes : room;
                memcpy(writer->chunk + writer->have_bytes, from, n);
                writer->have_bytes += n;
                from += n;
                len_bytes -= n;
                if (writer->have_bytes == sizeof(writer->chunk))
                        TRY(flush(writer));
        }
        return NULL;
}

static struct error *emit_padding(struct writer *writer, uint64_t after_bytes)
{
        static const char zeros[TAR_BLOCK_BYTES];
        size_t over = (size_t) (after_bytes % TAR_BLOCK_BYTES);
        return over ? emit(writer, zeros, TAR_BLOCK_BYTES - over) : NULL;
}

/* --- headers --- */

/* Octal digits and a NUL; what has no room is 0 there (and in a pax record). False then. */
static bool put_octal(char *field, size_t size, uint64_t value)
{
        bool fits = value < UINT64_C(1) << (3 * (size - 1));
        if (!fits)
                value = 0;
        field[size - 1] = '\0';
        for (size_t i = size - 1; i > 0; i--, value >>= 3)
                field[i - 1] = (char) ('0' + (value & 7));
        return fits;
}

static void finish_header(struct header *header)
{
        unsigned sum = 0;
        memcpy(header->magic, "ustar", 6);
        memcpy(header->version, "00", 2);
        memset(header->checksum, ' ', sizeof(header->checksum));
        for (size_t i = 0; i < sizeof(*header); i++)
                sum += ((const unsigned char *) header)[i];
        (void) put_octal(header->checksum, 7, sum);
}

void layer_tar_file_header(char block[TAR_BLOCK_BYTES], const char *name, uint64_t size_bytes)
{
        struct header header = { .type = '0' };
        memcpy(header.name, name, strnlen(name, sizeof(header.name)));
        (void) put_octal(header.mode, sizeof(header.mode), 0644);
        (void) put_octal(header.uid, sizeof(header.uid), 0);
        (void) put_octal(header.gid, sizeof(header.gid), 0);
        (void) put_octal(header.mtime, sizeof(header.mtime), 0);
        if (!put_octal(header.size, sizeof(header.size), size_bytes)) { /* GNU's way: a number in base 256 */
                header.size[0] = (char) 0x80;
                for (size_t i = sizeof(header.size) - 1; i > 0; i--, size_bytes >>= 8)
                        header.size[i] = (char) (size_bytes & 0xff);
        }
        finish_header(&header);
        memcpy(block, &header, sizeof(header));
}

/* One record, "LENGTH KEY=VALUE\n", whose length counts itself. */
static struct error *pax_add(struct writer *writer, const char *key, const void *value, size_t len_bytes)
{
        size_t rest = strlen(key) + len_bytes + 3, total = 0, before;
        do {
                char text[24];
                before = total;
                total = rest + (size_t) snprintf(text, sizeof(text), "%zu", before);
        } while (total != before);
        TRY(buf_append_format(&writer->pax, "%zu %s=", total, key));
        TRY(buf_append(&writer->pax, value, len_bytes));
        return buf_append_text(&writer->pax, "\n");
}

static struct error *pax_add_number(struct writer *writer, const char *key, uint64_t value)
{
        char text[24];
        (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) value);
        return pax_add(writer, key, text, strlen(text));
}

/* A text field of 100 bytes, or a record for a longer one. */
static struct error *put_text(struct writer *writer, const char *text, char field[100], const char *key)
{
        size_t len_bytes = strlen(text);
        memcpy(field, text, len_bytes < 100 ? len_bytes : 100);
        if (len_bytes <= 100)
                return NULL;
        if (!utf8_is_text(text, len_bytes))
                TRY(pax_add(writer, "hdrcharset", "BINARY", strlen("BINARY")));
        return pax_add(writer, key, text, len_bytes);
}

static struct error *put_time(struct writer *writer, const struct timespec *time, struct header *header)
{
        char text[48];
        bool fits = put_octal(header->mtime, sizeof(header->mtime),
                              time->tv_sec < 0 ? 0 : (uint64_t) time->tv_sec);
        if (fits && time->tv_sec >= 0 && time->tv_nsec == 0)
                return NULL;
        /* Before 1970 the fraction counts backwards from the next second. */
        if (time->tv_sec < 0 && time->tv_nsec)
                (void) snprintf(text, sizeof(text), "-%lld.%09ld", -(long long) time->tv_sec - 1,
                                1000000000 - time->tv_nsec);
        else
                (void) snprintf(text, sizeof(text), "%lld.%09ld", (long long) time->tv_sec, time->tv_nsec);
        return pax_add(writer, "mtime", text, strlen(text));
}

static struct error *emit_pax(struct writer *writer)
{
        struct header header = { .name = "pax", .type = 'x' };
        if (!writer->pax.len_bytes)
                return NULL;
        (void) put_octal(header.mode, sizeof(header.mode), 0644);
        (void) put_octal(header.uid, sizeof(header.uid), 0);
        (void) put_octal(header.gid, sizeof(header.gid), 0);
        (void) put_octal(header.mtime, sizeof(header.mtime), 0);
        (void) put_octal(header.size, sizeof(header.size), writer->pax.len_bytes);
        finish_header(&header);
        TRY(emit(writer, &header, sizeof(header)));
        TRY(emit(writer, writer->pax.bytes, writer->pax.len_bytes));
        TRY(emit_padding(writer, writer->pax.len_bytes));
        buf_consume(&writer->pax, writer->pax.len_bytes);
        return NULL;
}

static char type_of(const struct stat *st)
{
        switch (st->st_mode & S_IFMT) {
        case S_IFDIR:
                return '5';
        case S_IFLNK:
                return '2';
        case S_IFCHR:
                return '3';
        case S_IFBLK:
                return '4';
        case S_IFIFO:
                return '6';
        default:
                return '0';
        }
}

/* The records of writer->pax (attributes) and the header. */
static struct error *emit_header(struct writer *writer, const struct stat *st, char type, const char *link)
{
        struct header header = { .type = type };
        uint64_t size_bytes = type == '0' ? (uint64_t) st->st_size : 0;
        bool is_device = type == '3' || type == '4';
        TRY(put_text(writer, writer->path, header.name, "path"));
        TRY(put_text(writer, link, header.link, "linkpath"));
        (void) put_octal(header.mode, sizeof(header.mode), st->st_mode & 07777);
        uint32_t uid = layer_id_of(writer->ids, st->st_uid), gid = layer_id_of(writer->ids, st->st_gid);
        if (!put_octal(header.uid, sizeof(header.uid), uid))
                TRY(pax_add_number(writer, "uid", uid));
        if (!put_octal(header.gid, sizeof(header.gid), gid))
                TRY(pax_add_number(writer, "gid", gid));
        if (!put_octal(header.size, sizeof(header.size), size_bytes))
                TRY(pax_add_number(writer, "size", size_bytes));
        TRY(put_time(writer, &st->st_mtim, &header));
        (void) put_octal(header.major, sizeof(header.major), is_device ? major(st->st_rdev) : 0);
        (void) put_octal(header.minor, sizeof(header.minor), is_device ? minor(st->st_rdev) : 0);
        finish_header(&header);
        TRY(emit_pax(writer));
        return emit(writer, &header, sizeof(header));
}

/* --- entries --- */

static bool is_exported(const char *name)
{
        return strncmp(name, "user.", 5) == 0 || strcmp(name, "security.capability") == 0 ||
               strcmp(name, "system.posix_acl_access") == 0 || strcmp(name, "system.posix_acl_default") == 0;
}

/* In the order of the filesystem's list, which is that of their making: the same for a layer unpacked alike. */
static struct error *add_xattrs(struct writer *writer, int fd)
{
        char *names = writer->xattr_names, *value = writer->xattr_value;
        ssize_t n = flistxattr(fd, names, sizeof(writer->xattr_names));
        for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
                ssize_t len_bytes =
                        is_exported(name) ? fgetxattr(fd, name, value, sizeof(writer->xattr_value)) : -1;
                if (strcmp(name, "trusted.overlay.redirect") == 0 ||
                    strcmp(name, "trusted.overlay.metacopy") == 0)
                        return error_new(ERROR_UNIMPLEMENTED,
                                         "%s is the image's under another name, or without its content",
                                         writer->path);
                if (len_bytes < 0)
                        continue;
                len_bytes = (ssize_t) layer_attribute_of(writer->ids, name, value, (size_t) len_bytes);
                _cleanup_(freep) char *key = format_string("SCHILY.xattr.%s", name);
                TRY(pax_add(writer, key, value, (size_t) len_bytes));
        }
        return NULL;
}

static struct error *emit_content(struct writer *writer, int fd, uint64_t size_bytes)
{
        for (uint64_t at = 0; at < size_bytes;) {
                if (writer->have_bytes == sizeof(writer->chunk))
                        TRY(flush(writer));
                size_t room = sizeof(writer->chunk) - writer->have_bytes;
                if (room > size_bytes - at)
                        room = (size_t) (size_bytes - at);
                ssize_t n = read(fd, writer->chunk + writer->have_bytes, room);
                if (n <= 0)
                        return n < 0 ? error_errno(errno, "read %s", writer->path)
                                     : error_new(ERROR_ABORTED, "%s became shorter", writer->path);
                writer->have_bytes += (size_t) n;
                at += (uint64_t) n;
        }
        return emit_padding(writer, size_bytes);
}

/* The name under which the file has come already, or NULL; then this is the one for the next. */
static const char *first_name(struct writer *writer, const struct stat *st)
{
        struct link_name *known = NULL;
        if (st->st_nlink < 2)
                return NULL;
        HASH_FIND(hh, writer->links, &st->st_ino, sizeof(st->st_ino), known);
        if (known)
                return known->path;
        known = NEW(struct link_name);
        known->inode = st->st_ino;
        known->path = dup_string(writer->path);
        HASH_ADD(hh, writer->links, inode, sizeof(known->inode), known);
        return NULL;
}

static struct error *emit_file(struct writer *writer, int dir_fd, const char *name, const struct stat *st)
{
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat now;
        if (fd < 0 || fstat(fd, &now) < 0)
                return error_errno(errno, "open %s", writer->path);
        if (now.st_ino != st->st_ino || !S_ISREG(now.st_mode))
                return error_new(ERROR_ABORTED, "%s was replaced", writer->path);
        TRY(add_xattrs(writer, fd));
        TRY(emit_header(writer, &now, '0', ""));
        return emit_content(writer, fd, (uint64_t) now.st_size);
}

/* A file of no bytes whose name says something of its neighbours. */
static struct error *emit_mark(struct writer *writer)
{
        const struct stat st = { .st_mode = S_IFREG };
        return emit_header(writer, &st, '0', "");
}

static struct error *emit_other(struct writer *writer, int dir_fd, const char *name, const struct stat *st)
{
        char target[PATH_BYTES_MAX + 1] = "";
        const char *first = first_name(writer, st);
        if (first)
                return emit_header(writer, st, '1', first);
        if (S_ISREG(st->st_mode))
                return emit_file(writer, dir_fd, name, st);
        if (S_ISLNK(st->st_mode)) {
                ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
                if (n < 0)
                        return error_errno(errno, "read the link %s", writer->path);
                target[n] = '\0';
        }
        return emit_header(writer, st, type_of(st), target);
}

static struct error *emit_tree(struct writer *writer, size_t path_bytes);

static struct error *emit_entry(struct writer *writer, int dir_fd, const char *name, size_t path_bytes,
                                bool *is_directory)
{
        struct stat st;
        size_t room = sizeof(writer->path) - path_bytes;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(errno, "look at %s%s", writer->path, name);
        *is_directory = S_ISDIR(st.st_mode);
        bool is_whiteout = S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
        int n = snprintf(writer->path + path_bytes, room, "%s%s%s", is_whiteout ? ".wh." : "", name,
                         *is_directory ? "/" : "");
        if (n < 0 || (size_t) n >= room)
                return error_new(ERROR_INTERNAL, "%s: the name is too long", writer->path);
        if (is_whiteout)
                return emit_mark(writer);
        return *is_directory || S_ISSOCK(st.st_mode) ? NULL : emit_other(writer, dir_fd, name, &st);
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static struct error *read_names(int dir_fd, char ***out)
{
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return error_errno(errno, "read a directory");
        size_t n = 0, room = 16;
        char **names = NEW_ARRAY(char *, room);
        for (struct dirent *entry; (entry = readdir(dir)) && n < NAMES_LIMIT;) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (n + 1 == room)
                        names = grow_array(names, room *= 2, sizeof(*names));
                names[n++] = dup_string(entry->d_name);
                names[n] = NULL;
        }
        qsort(names, n, sizeof(*names), compare_names);
        *out = names;
        return NULL;
}

/* The directory that writer->path names. Not held open while what is below it is written: a tree may be deep. */
static struct error *open_directory(struct writer *writer, size_t path_bytes, int *out_fd)
{
        struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
        _cleanup_(freep) char *path = dup_bytes(writer->path, path_bytes);
        *out_fd = (int) syscall(SYS_openat2, writer->root_fd, *path ? path : ".", &how, sizeof(how));
        return *out_fd < 0 ? error_errno(errno, "open %s", path) : NULL;
}

/* The layer's root is the container's, and no layer's to describe; others it may have left to the layers below. */
static bool is_described(const struct writer *writer, size_t path_bytes)
{
        if (path_bytes == 0)
                return false;
        _cleanup_(freep) char *path = dup_bytes(writer->path, path_bytes - 1); /* without its slash */
        for (const char *s = writer->seams, *end = s + writer->seams_bytes; s < end; s += strlen(s) + 1)
                if (*s == 'd' && strcmp(s + 1, path) == 0)
                        return false;
        return true;
}

static struct error *emit_directory(struct writer *writer, int fd, size_t path_bytes)
{
        struct stat st;
        char value[2];
        if (fstat(fd, &st) < 0)
                return error_errno(errno, "look at %s", writer->path);
        if (is_described(writer, path_bytes)) {
                TRY(add_xattrs(writer, fd));
                TRY(emit_header(writer, &st, '5', ""));
        }
        writer->path[path_bytes] = '\0';
        if (fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)) != 1 || value[0] != 'y')
                return NULL;
        (void) snprintf(writer->path + path_bytes, sizeof(writer->path) - path_bytes, ".wh..wh..opq");
        TRY(emit_mark(writer));
        writer->path[path_bytes] = '\0';
        return NULL;
}

static struct error *emit_children(struct writer *writer, char *const *names, size_t path_bytes, int *fd)
{
        for (; *names; names++) {
                bool is_directory = false;
                if (*fd < 0)
                        TRY(open_directory(writer, path_bytes, fd));
                TRY(emit_entry(writer, *fd, *names, path_bytes, &is_directory));
                if (is_directory) {
                        closep(fd);
                        TRY(emit_tree(writer, strlen(writer->path)));
                }
                writer->path[path_bytes] = '\0';
        }
        return NULL;
}

static struct error *emit_tree(struct writer *writer, size_t path_bytes)
{
        _cleanup_(closep) int fd = -1;
        _cleanup_(free_stringsp) char **names = NULL;
        if (writer->depth == DEPTH_MAX)
                return error_new(ERROR_UNIMPLEMENTED, "directories more than %d deep", DEPTH_MAX);
        TRY(open_directory(writer, path_bytes, &fd));
        TRY(emit_directory(writer, fd, path_bytes));
        TRY(read_names(fd, &names));
        writer->depth++;
        TRY(emit_children(writer, names, path_bytes, &fd));
        writer->depth--;
        return NULL;
}

static void writer_done(struct writer *writer)
{
        struct link_name *link = writer->links;
        HASH_CLEAR(hh, writer->links); /* the list outlives the table */
        while (link) {
                struct link_name *next = link->hh.next;
                free(link->path);
                free(link);
                link = next;
        }
        digest_stream_free(writer->digest);
        buf_done(&writer->pax);
        free(writer);
}

static struct error *write_all(struct writer *writer, struct digest *digest, uint64_t *bytes)
{
        static const char end[2 * TAR_BLOCK_BYTES];
        TRY(emit_tree(writer, 0));
        TRY(emit(writer, end, sizeof(end)));
        TRY(flush(writer));
        digest_stream_end(writer->digest, digest);
        *bytes = writer->bytes;
        return NULL;
}

struct error *layer_tar_write(int dir_fd, const struct buf *seams, struct layer_ids ids, int fd,
                              const struct wait *wait, struct digest *digest, uint64_t *bytes)
{
        struct writer *writer = NEW(struct writer);
        writer->root_fd = dir_fd;
        writer->seams = seams ? seams->bytes : NULL;
        writer->seams_bytes = seams ? seams->len_bytes : 0;
        writer->ids = ids;
        writer->fd = fd;
        writer->wait = wait;
        writer->digest = digest_stream_new();
        buf_init(&writer->pax, PAX_LIMIT_BYTES);
        struct error *e = write_all(writer, digest, bytes);
        writer_done(writer);
        return e;
}
