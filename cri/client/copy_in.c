/* A member is a header of 512 bytes and its data, filled up to the next 512. A name or a link's target that does not fit its field
 * goes before as a member of its own, of type L or K; a size that does not fit goes as a binary number. Two empty blocks
 * are the end. */
#include "cri/client/copy_in.h"
#include "base/file.h"
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES 65536
#define BLOCK_BYTES 512
#define OCTAL_MAX ((off_t) 1 << 33) /* eleven digits */

struct header {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, target[100],
                magic[8], rest[247];
};
_Static_assert(sizeof(struct header) == BLOCK_BYTES, "tar(5)");

/* --- one member --- */

static void put_octal(char *field, size_t size_bytes, uint64_t value)
{
        for (size_t i = size_bytes - 1; i > 0; i--, value >>= 3)
                field[i - 1] = (char) ('0' + (value & 7));
        field[size_bytes - 1] = '\0';
}

static void put_size(struct header *header, off_t size_bytes)
{
        if (size_bytes < OCTAL_MAX) {
                put_octal(header->size, sizeof(header->size), (uint64_t) size_bytes);
                return;
        }
        uint64_t left = (uint64_t) size_bytes;
        for (size_t i = sizeof(header->size) - 1; i > 0; i--, left >>= 8)
                header->size[i] = (char) (left & 0xff);
        header->size[0] = (char) 0x80;
}

static struct error *put_block(int fd, struct header *header)
{
        uint64_t sum = 0;
        memset(header->checksum, ' ', sizeof(header->checksum));
        for (size_t i = 0; i < sizeof(*header); i++)
                sum += ((const unsigned char *) header)[i];
        put_octal(header->checksum, 7, sum); /* six digits, a NUL, and the blank that is there */
        return file_write_all(fd, header, sizeof(*header));
}

static struct error *fill_up(int fd, off_t size_bytes)
{
        static const char zeros[BLOCK_BYTES];
        size_t over = (size_t) (size_bytes % BLOCK_BYTES);
        return over ? file_write_all(fd, zeros, BLOCK_BYTES - over) : NULL;
}

static struct header header_of(char type, mode_t mode, off_t size_bytes, int64_t mtime_s)
{
        struct header header = { .type = type, .magic = "ustar  " }; /* GNU's */
        put_octal(header.mode, sizeof(header.mode), mode & 07777);
        put_octal(header.uid, sizeof(header.uid), 0);
        put_octal(header.gid, sizeof(header.gid), 0);
        put_size(&header, size_bytes);
        put_octal(header.mtime, sizeof(header.mtime),
                  mtime_s > 0 && mtime_s < OCTAL_MAX ? (uint64_t) mtime_s : 0);
        return header;
}

/* Puts text into a header's field, or before the header. */
static struct error *put_text(int fd, char type, const char *text, char *field, size_t size_bytes)
{
        size_t text_bytes = strlen(text);
        if (text_bytes <= size_bytes) {
                memcpy(field, text, text_bytes);
                return NULL;
        }
        struct header header = header_of(type, 0, (off_t) text_bytes + 1, 0);
        (void) snprintf(header.name, sizeof(header.name), "././@LongLink");
        TRY(put_block(fd, &header));
        TRY(file_write_all(fd, text, text_bytes + 1));
        memcpy(field, text, size_bytes);
        return fill_up(fd, (off_t) text_bytes + 1);
}

/* --- files --- */

/* A file that has grown meanwhile goes as long as it was; one that shrank cannot. */
static struct error *put_data(int to_fd, int fd, off_t size_bytes)
{
        char bytes[READ_BYTES];
        for (off_t left_bytes = size_bytes; left_bytes > 0;) {
                size_t want = left_bytes < READ_BYTES ? (size_t) left_bytes : READ_BYTES;
                ssize_t n_bytes = read(fd, bytes, want);
                if (n_bytes < 0)
                        return error_errno(errno, "read");
                if (n_bytes == 0)
                        return error_new(ERROR_ABORTED, "it has become shorter");
                TRY_WRAP(file_write_all(to_fd, bytes, (size_t) n_bytes), "to tar");
                left_bytes -= n_bytes;
        }
        return fill_up(to_fd, size_bytes);
}

static struct error *put_file(int to_fd, const char *member, const char *path)
{
        struct stat st;
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(errno, "open");
        if (!S_ISREG(st.st_mode))
                return error_new(ERROR_ABORTED, "it has just become something else");
        struct header header = header_of('0', st.st_mode, st.st_size, st.st_mtim.tv_sec);
        TRY(put_text(to_fd, 'L', member, header.name, sizeof(header.name)));
        TRY(put_block(to_fd, &header));
        return put_data(to_fd, fd, st.st_size);
}

static struct error *put_directory(int to_fd, const char *member, const struct stat *st)
{
        struct header header = header_of('5', st->st_mode, 0, st->st_mtim.tv_sec);
        _cleanup_(freep) char *name = format_string("%s/", member);
        TRY(put_text(to_fd, 'L', name, header.name, sizeof(header.name)));
        return put_block(to_fd, &header);
}

static struct error *put_symlink(int to_fd, const char *member, const FTSENT *file)
{
        char target[PATH_MAX];
        ssize_t len_bytes = readlink(file->fts_accpath, target, sizeof(target) - 1);
        if (len_bytes < 0)
                return error_errno(errno, "read the link");
        target[len_bytes] = '\0';
        struct header header = header_of('2', 0777, 0, file->fts_statp->st_mtim.tv_sec);
        TRY(put_text(to_fd, 'K', target, header.target, sizeof(header.target)));
        TRY(put_text(to_fd, 'L', member, header.name, sizeof(header.name)));
        return put_block(to_fd, &header);
}

static struct error *put(int to_fd, const FTSENT *file, const char *member)
{
        switch (file->fts_info) {
        case FTS_DP: /* again, after what is in it */
                return NULL;
        case FTS_D:
                return put_directory(to_fd, member, file->fts_statp);
        case FTS_F:
                return put_file(to_fd, member, file->fts_accpath);
        case FTS_SL:
        case FTS_SLNONE:
                return put_symlink(to_fd, member, file);
        case FTS_DEFAULT:
                (void) fprintf(stderr, "skiff cp: %s is a device, a pipe or a socket: passed over\n",
                               file->fts_path);
                return NULL;
        default:
                if (file->fts_errno == ENOENT && file->fts_level == FTS_ROOTLEVEL)
                        return error_as(error_errno(ENOENT, "open"), ERROR_NOT_FOUND);
                return error_errno(file->fts_errno, "open");
        }
}

static void fts_closep(FTS **files)
{
        if (*files)
                (void) fts_close(*files);
}

struct error *copy_in_archive(const char *path, const char *name, int fd)
{
        static const char end[2 * BLOCK_BYTES];
        char *paths[] = { (char *) (uintptr_t) path, NULL };
        _cleanup_(fts_closep) FTS *files = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
        if (!files)
                return error_errno(errno, "%s", path);
        size_t path_bytes = strlen(path);
        for (FTSENT *file; (errno = 0, file = fts_read(files));) {
                const char *rest = file->fts_path + path_bytes;
                _cleanup_(freep) char *member =
                        format_string("./%s%s%s", name, *rest && *rest != '/' ? "/" : "", rest);
                TRY_WRAP(put(fd, file, member), "%s", file->fts_path);
        }
        if (errno)
                return error_errno(errno, "%s", path);
        return file_write_all(fd, end, sizeof(end));
}
