/* The archive source: a tar, plain, gzip or zstd. Its table of contents is read once; each fetch then reads on from where
 * an earlier one stopped, or from the start again, since a compressed archive has no other way and docker's have their
 * manifest last. In a plain one skipping is a seek. */
#include "images/puller/source.h"
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <uthash.h>

enum { ENTRIES_MAX = 100000, READ_BYTES = 256 << 10, LINKS_MAX = 8, NAME_BYTES_MAX = 4096 };

struct entry {
        char *name; /* the key; without "./" */
        size_t number;
        char *link; /* another entry's name, where this one only points there */
        UT_hash_handle hh;
};

/* One pass over the archive. */
struct reader {
        struct archive *archive;
        int fd; /* borrowed */
        off_t at_bytes;
        size_t number; /* of the entry that comes next */
        char bytes[READ_BYTES];
};

struct archive_source {
        struct source face; /* first */
        int fd;
        struct entry *entries;
        size_t n;
        pthread_mutex_t lock;
        struct reader *idle; /* between two entries, or NULL */
};

static la_ssize_t on_read(struct archive *archive, void *context, const void **bytes)
{
        struct reader *reader = context;
        ssize_t n_bytes = pread(reader->fd, reader->bytes, sizeof(reader->bytes), reader->at_bytes);
        if (n_bytes < 0) {
                archive_set_error(archive, errno, "read: %s", strerror(errno));
                return -1;
        }
        reader->at_bytes += n_bytes;
        *bytes = reader->bytes;
        return n_bytes;
}

static la_int64_t on_skip(struct archive *archive, void *context, la_int64_t skip_bytes)
{
        struct reader *reader = context;
        struct stat st;
        (void) archive;
        if (fstat(reader->fd, &st) < 0 || reader->at_bytes + skip_bytes > st.st_size)
                return 0; /* reading it then tells that it is cut */
        reader->at_bytes += skip_bytes;
        return skip_bytes;
}

static void reader_free(struct reader *reader)
{
        if (!reader)
                return;
        (void) archive_read_free(reader->archive);
        free(reader);
}

static struct error *reader_failure(struct reader *reader)
{
        const char *text = archive_error_string(reader->archive);
        return error_new(ERROR_INVALID_ARGUMENT, "the archive cannot be read: %s",
                         text ? text : "no reason given");
}

static struct error *reader_open(int fd, struct reader **out)
{
        struct reader *reader = NEW(struct reader);
        reader->fd = fd;
        reader->archive = archive_read_new();
        struct archive *a = reader->archive;
        if (!a || archive_read_support_filter_gzip(a) < ARCHIVE_WARN ||
            archive_read_support_filter_zstd(a) < ARCHIVE_WARN ||
            archive_read_support_format_tar(a) != ARCHIVE_OK ||
            archive_read_set_read_callback(a, on_read) != ARCHIVE_OK ||
            archive_read_set_skip_callback(a, on_skip) != ARCHIVE_OK ||
            archive_read_set_callback_data(a, reader) != ARCHIVE_OK || archive_read_open1(a) != ARCHIVE_OK) {
                struct error *e = a ? reader_failure(reader) : error_errno(ENOMEM, "read the archive");
                reader_free(reader);
                return e;
        }
        *out = reader;
        return NULL;
}

/* The next entry, or NULL at the end. */
static struct error *reader_next(struct reader *reader, struct archive_entry **out)
{
        int status = archive_read_next_header(reader->archive, out);
        reader->number++;
        if (status == ARCHIVE_EOF)
                *out = NULL;
        else if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
                return reader_failure(reader);
        return NULL;
}

/* "./a//b" and "a/b" are one name; "x/../y" is left as it is and matches nothing that is asked for. */
static char *name_clean(const char *name)
{
        char *clean = dup_string(name), *to = clean;
        for (const char *s = name; *s;) {
                size_t n = strcspn(s, "/");
                if (n && !(n == 1 && *s == '.')) {
                        if (to != clean)
                                *to++ = '/';
                        memcpy(to, s, n);
                        to += n;
                }
                s += n;
                s += *s == '/';
        }
        *to = '\0';
        return clean;
}

/* A symbolic link's target seen from the archive's root: docker wrote "../ID/layer.tar" for a layer it had already. */
static char *link_target(const char *name, const char *target)
{
        const char *slash = strrchr(name, '/');
        size_t dir_bytes = slash ? (size_t) (slash - name) : 0;
        while (strncmp(target, "../", 3) == 0) {
                target += 3;
                while (dir_bytes && name[dir_bytes - 1] != '/')
                        dir_bytes--;
                dir_bytes -= dir_bytes > 0;
        }
        _cleanup_(freep) char *joined = format_string("%.*s/%s", (int) dir_bytes, name, target);
        return name_clean(joined);
}

static void entry_add(struct archive_source *source, const char *raw_name, struct archive_entry *from,
                      size_t number)
{
        struct entry *entry = NULL;
        _cleanup_(freep) char *name = name_clean(raw_name);
        const char *hardlink = archive_entry_hardlink(from), *symlink = archive_entry_symlink(from);
        if (!hardlink && !symlink && archive_entry_filetype(from) != AE_IFREG)
                return;
        HASH_FIND_STR(source->entries, name, entry);
        if (!entry) {
                entry = NEW(struct entry);
                entry->name = TAKE(name);
                HASH_ADD_KEYPTR(hh, source->entries, entry->name, strlen(entry->name), entry);
        }
        free(entry->link); /* of two entries of one name the last counts */
        entry->link = hardlink ? name_clean(hardlink) : symlink ? link_target(entry->name, symlink) : NULL;
        entry->number = number;
}

static struct error *contents_read(struct archive_source *source, struct reader *reader)
{
        struct archive_entry *from = NULL;
        for (size_t number = 0;; number++) {
                TRY(reader_next(reader, &from));
                if (!from)
                        return NULL;
                const char *name = archive_entry_pathname(from);
                if (!name || strlen(name) > NAME_BYTES_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT, "the archive's entry %zu has no usable name",
                                         number);
                if (number == ENTRIES_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT, "the archive has more than %d entries",
                                         ENTRIES_MAX);
                entry_add(source, name, from, number);
        }
}

static struct error *entry_find(struct archive_source *source, const char *name, struct entry **out)
{
        struct entry *entry = NULL;
        _cleanup_(freep) char *at = name_clean(name);
        for (int i = 0; i < LINKS_MAX; i++) {
                HASH_FIND_STR(source->entries, at, entry);
                if (!entry || !entry->link)
                        break;
                free(at);
                at = dup_string(entry->link);
        }
        if (!entry || entry->link)
                return error_new(ERROR_NOT_FOUND, "\"%s\" is not in the archive", name);
        *out = entry;
        return NULL;
}

static struct error *zeros_give(const struct taker *taker, uint64_t n_bytes)
{
        static const char zeros[4096];
        while (n_bytes) {
                size_t n = n_bytes < sizeof(zeros) ? (size_t) n_bytes : sizeof(zeros);
                TRY(taker->take(taker->context, zeros, n));
                n_bytes -= n;
        }
        return NULL;
}

static struct error *content_give(struct reader *reader, uint64_t limit_bytes, const struct taker *taker)
{
        uint64_t given_bytes = 0;
        for (;;) {
                const void *bytes = NULL;
                size_t len_bytes = 0;
                la_int64_t offset = 0;
                int status = archive_read_data_block(reader->archive, &bytes, &len_bytes, &offset);
                if (status == ARCHIVE_EOF)
                        return NULL;
                if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
                        return reader_failure(reader);
                if (limit_bytes && (uint64_t) offset + len_bytes > limit_bytes)
                        return error_new(ERROR_RESOURCE_EXHAUSTED, "larger than %llu bytes",
                                         (unsigned long long) limit_bytes);
                if ((uint64_t) offset > given_bytes) /* a hole: somebody made a sparse tar of it */
                        TRY(zeros_give(taker, (uint64_t) offset - given_bytes));
                TRY(taker->take(taker->context, bytes, len_bytes));
                given_bytes = (uint64_t) offset + len_bytes;
        }
}

/* A reader that stands before entry `number`: the idle one where it does, else a new one. */
static struct error *reader_take(struct archive_source *source, size_t number, struct reader **out)
{
        struct reader *reader = NULL;
        (void) pthread_mutex_lock(&source->lock);
        if (source->idle && source->idle->number <= number)
                reader = TAKE(source->idle);
        (void) pthread_mutex_unlock(&source->lock);
        if (!reader)
                TRY(reader_open(source->fd, &reader));
        *out = reader;
        return NULL;
}

static void reader_give_back(struct archive_source *source, struct reader *reader)
{
        (void) pthread_mutex_lock(&source->lock);
        struct reader *old = source->idle;
        source->idle = reader;
        (void) pthread_mutex_unlock(&source->lock);
        reader_free(old);
}

static struct error *give_entry(struct reader *reader, const struct entry *entry, uint64_t limit_bytes,
                                const struct taker *taker)
{
        struct archive_entry *from = NULL;
        while (reader->number <= entry->number) {
                TRY(reader_next(reader, &from));
                if (!from)
                        return error_new(ERROR_INVALID_ARGUMENT, "the archive changed while it was read");
        }
        return content_give(reader, limit_bytes, taker);
}

static struct error *archive_fetch(struct source *face, const struct source_request *request,
                                   const struct taker *taker, char **media_type)
{
        struct archive_source *source = (struct archive_source *) face;
        struct entry *entry = NULL;
        struct reader *reader = NULL;
        if (request->type != PULL_READ_FILE && request->type != PULL_STREAM_FILE)
                return error_new(ERROR_INTERNAL, "an archive has only files");
        TRY(entry_find(source, request->name, &entry));
        TRY(reader_take(source, entry->number, &reader));
        uint64_t limit_bytes = request->type == PULL_READ_FILE ? request->size_bytes : 0;
        struct error *e = give_entry(reader, entry, limit_bytes, taker);
        if (e)
                reader_free(reader);
        else
                reader_give_back(source, reader);
        if (media_type)
                *media_type = dup_string("");
        return e;
}

static const struct source_ops archive_ops = { .fetch = archive_fetch };

/* The process lives for this one source: it is never freed. */
struct error *archive_source_open(int archive_fd, struct source **out)
{
        struct reader *reader = NULL;
        struct archive_source *source = NEW(struct archive_source);
        source->face.ops = &archive_ops;
        source->fd = archive_fd;
        (void) pthread_mutex_init(&source->lock, NULL);
        TRY(reader_open(archive_fd, &reader));
        struct error *e = contents_read(source, reader);
        reader_free(reader);
        TRY(e);
        *out = &source->face;
        return NULL;
}
