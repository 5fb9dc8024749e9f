#include "images/unpack/tar_headers.h"
#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
        BLOCK_BYTES = 512,
        PAX_MAX_BYTES = 1 << 20, /* libarchive's bound too */
        RECORD_MAX_BYTES = 999999,
        HELD_MAX_BYTES = 2 << 20,
};

struct header {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[8];
        char user[32], group[32], major[8], minor[8];
        char times[41], sparse_offset[12], sparse_rest[84]; /* GNU's; elsewhere the prefix of the name */
        char is_extended, rest[29];
};
_Static_assert(sizeof(struct header) == BLOCK_BYTES, "a tar header is one block");
_Static_assert(offsetof(struct header, is_extended) == 482, "where GNU tar has it");

enum {
        EXTENSION_GOES_ON = 504
}; /* a block of an old GNU sparse map: the byte that says whether another follows */

enum state { AT_HEADER, IN_RECORDS, IN_SPARSE_MAP, IN_BODY, LOST };

struct tar_headers {
        const char *in; /* fed and not given out yet */
        size_t in_bytes;
        enum state state;
        uint64_t left_bytes; /* of what the state is in, with its padding */
        uint64_t body_bytes; /* behind the sparse map */
        bool map_goes_on;

        struct buf held; /* headers that may have to change, or that have not come whole */
        bool is_ready;   /* what is held can be given out, and */
        bool is_given;   /* was */
        size_t header_at, records_at,
                records_bytes; /* in held: the header that comes, the last pax records */
        bool has_size;         /* they have a size: of the entry that comes, it is */
        uint64_t size_bytes;
};

struct tar_headers *tar_headers_new(void)
{
        struct tar_headers *headers = NEW(struct tar_headers);
        buf_init(&headers->held, HELD_MAX_BYTES);
        return headers;
}

void tar_headers_free(struct tar_headers *headers)
{
        if (!headers)
                return;
        buf_done(&headers->held);
        free(headers);
}

/* --- one header --- */

/* Only what Go and libarchive read alike: octal digits between spaces and NULs, or base 256 that is not negative. */
static bool number_read(const char *field, size_t size_bytes, uint64_t *out)
{
        uint64_t value = 0;
        size_t i = 0;
        if ((unsigned char) *field == 0x80) {
                for (i = 1; i < size_bytes; i++) {
                        if (value >> 55)
                                return false;
                        value = value << 8 | (unsigned char) field[i];
                }
                *out = value;
                return true;
        }
        while (i < size_bytes && field[i] == ' ')
                i++;
        for (; i < size_bytes && field[i] >= '0' && field[i] <= '7'; i++)
                value = value << 3 | (uint64_t) (field[i] - '0');
        for (; i < size_bytes; i++)
                if (field[i] != ' ' && field[i] != '\0')
                        return false;
        *out = value;
        return true;
}

/* The sum of the bytes, the checksum's own as spaces. *n_high: how many of them a signed char would have below zero. */
static unsigned header_sum(const struct header *header, unsigned *n_high)
{
        const unsigned char *bytes = (const unsigned char *) header;
        unsigned sum = sizeof(header->checksum) * ' ', high = 0;
        for (size_t i = 0; i < sizeof(*header); i++) {
                sum += bytes[i];
                high += bytes[i] >> 7;
        }
        for (size_t i = 0; i < sizeof(header->checksum); i++) {
                sum -= (unsigned char) header->checksum[i];
                high -= (unsigned char) header->checksum[i] >> 7;
        }
        *n_high = high;
        return sum;
}

/* Old tars summed signed chars: both are right. */
static bool header_is_sound(const struct header *header, uint64_t *size_bytes)
{
        uint64_t said = 0;
        unsigned n_high = 0, sum = header_sum(header, &n_high);
        return number_read(header->checksum, sizeof(header->checksum), &said) &&
               (said == sum || said == (uint64_t) sum - (uint64_t) n_high * 256) &&
               number_read(header->size, sizeof(header->size), size_bytes);
}

static void header_set_no_size(struct header *header)
{
        char text[sizeof(header->checksum)];
        unsigned n_high = 0;
        memset(header->size, '0', sizeof(header->size) - 1);
        header->size[sizeof(header->size) - 1] = '\0';
        (void) snprintf(text, sizeof(text), "%06o", header_sum(header, &n_high) & 0777777);
        text[sizeof(text) - 1] = ' ';
        memcpy(header->checksum, text, sizeof(text));
}

static bool is_pax(const struct header *header)
{
        return header->type == 'x' || header->type == 'X';
}

static bool has_no_data(const struct header *header)
{
        return header->type >= '1' && header->type <= '6';
}

/* --- pax records --- */

struct record {
        char *key, *value;
        size_t key_bytes, value_bytes;
};

/* "LENGTH KEY=VALUE\n", with the length of all of it. */
static bool record_next(char **at, size_t *left_bytes, struct record *out)
{
        char *begin = *at, *end = begin + *left_bytes, *s = begin;
        size_t len_bytes = 0;
        for (; s < end && *s >= '0' && *s <= '9'; s++) {
                len_bytes = len_bytes * 10 + (size_t) (*s - '0');
                if (len_bytes > RECORD_MAX_BYTES)
                        return false;
        }
        if (s == end || *s++ != ' ' || len_bytes > *left_bytes || len_bytes <= (size_t) (s - begin) ||
            begin[len_bytes - 1] != '\n')
                return false;
        char *equals = memchr(s, '=', len_bytes - (size_t) (s - begin));
        if (!equals || equals == s || memchr(s, '\0', (size_t) (equals - s)))
                return false;
        *out = (struct record){ .key = s,
                                .value = equals + 1,
                                .key_bytes = (size_t) (equals - s),
                                .value_bytes = (size_t) (begin + len_bytes - 1 - (equals + 1)) };
        *at += len_bytes;
        *left_bytes -= len_bytes;
        return true;
}

static bool is_size(const struct record *record)
{
        return record->key_bytes == 4 && memcmp(record->key, "size", 4) == 0;
}

static bool decimal_read(const struct record *record, uint64_t *out)
{
        uint64_t value = 0;
        if (record->value_bytes == 0)
                return false;
        for (size_t i = 0; i < record->value_bytes; i++) {
                char c = record->value[i];
                if (c < '0' || c > '9' || value > INT64_MAX / 10 - 1)
                        return false;
                value = value * 10 + (uint64_t) (c - '0');
        }
        *out = value;
        return true;
}

/* The last of several counts. False: not all can be read. */
static bool records_read(struct tar_headers *headers)
{
        char *at = headers->held.bytes + headers->records_at;
        size_t left_bytes = headers->records_bytes;
        struct record record;
        while (left_bytes) {
                if (!record_next(&at, &left_bytes, &record))
                        return false;
                if (!is_size(&record))
                        continue;
                if (!decimal_read(&record, &headers->size_bytes))
                        return false;
                headers->has_size = true;
        }
        return true;
}

static void records_set_no_size(struct tar_headers *headers)
{
        char *at = headers->held.bytes + headers->records_at;
        size_t left_bytes = headers->records_bytes;
        struct record record;
        while (left_bytes && record_next(&at, &left_bytes, &record))
                if (is_size(&record))
                        memset(record.value, '0', record.value_bytes);
}

/* --- the walk --- */

static void lose(struct tar_headers *headers)
{
        headers->state = LOST;
        headers->is_ready = true;
}

/* What follows: len_bytes and their padding, or if there are none what comes after them. */
static void go_into(struct tar_headers *headers, enum state state, uint64_t len_bytes)
{
        headers->left_bytes = (len_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
        headers->state = headers->left_bytes ? state : AT_HEADER;
        headers->header_at = headers->held.len_bytes;
}

static void part_end(struct tar_headers *headers)
{
        bool goes_on = headers->state == IN_SPARSE_MAP && headers->map_goes_on;
        if (headers->state == IN_RECORDS && !records_read(headers)) {
                lose(headers);
                return;
        }
        if (headers->state == IN_RECORDS)
                headers->is_ready = !headers->has_size;
        if (headers->state == IN_SPARSE_MAP)
                go_into(headers, goes_on ? IN_SPARSE_MAP : IN_BODY,
                        goes_on ? BLOCK_BYTES : headers->body_bytes);
        else
                go_into(headers, AT_HEADER, 0);
}

/* The header of an entry itself, at last. */
static void on_entry(struct tar_headers *headers, const struct header *header, uint64_t size_bytes)
{
        bool is_gnu = memcmp(header->magic, "ustar  ", sizeof(header->magic)) == 0;
        bool has_map = is_gnu && header->is_extended;
        uint64_t body_bytes = headers->has_size ? headers->size_bytes : size_bytes;
        headers->is_ready = true;
        if (has_map && (header->type != 'S' || !*header->sparse_offset)) {
                lose(headers);
                return;
        }
        if (has_no_data(header)) {
                if (size_bytes) /* then it is held, see must_hold */
                        header_set_no_size((void *) (headers->held.bytes + headers->header_at));
                if (headers->has_size)
                        records_set_no_size(headers);
                body_bytes = 0;
        }
        headers->has_size = false;
        headers->body_bytes = body_bytes;
        go_into(headers, has_map ? IN_SPARSE_MAP : IN_BODY, has_map ? BLOCK_BYTES : body_bytes);
}

static void on_pax(struct tar_headers *headers, uint64_t size_bytes)
{
        if (size_bytes > PAX_MAX_BYTES || headers->has_size) {
                lose(headers);
                return;
        }
        headers->records_at = headers->held.len_bytes;
        headers->records_bytes = (size_t) size_bytes;
        headers->is_ready = size_bytes == 0;
        go_into(headers, IN_RECORDS, size_bytes);
}

static void on_header(struct tar_headers *headers, const struct header *header)
{
        uint64_t size_bytes = 0;
        if (!header_is_sound(header, &size_bytes)) {
                lose(headers); /* the zeros at the end too */
                return;
        }
        switch (header->type) {
        case 'x':
        case 'X':
                on_pax(headers, size_bytes);
                break;
        case 'V': /* to libarchive it has no data, and neither it nor 'A' is an entry */
        case 'A':
                if (headers->has_size || (header->type == 'V' && size_bytes)) {
                        lose(headers);
                        return;
                }
                /* fall through */
        case 'g':
        case 'L':
        case 'K':
                headers->is_ready = !headers->has_size;
                go_into(headers, IN_BODY, size_bytes);
                break;
        default:
                on_entry(headers, header, size_bytes);
        }
}

/* Whether what comes cannot be passed on yet. */
static bool must_hold(const struct tar_headers *headers)
{
        if (headers->held.len_bytes || headers->state == IN_RECORDS)
                return headers->state != LOST;
        if (headers->state != AT_HEADER)
                return false;
        const struct header *header = (const void *) headers->in;
        uint64_t size_bytes = 0;
        return headers->in_bytes < sizeof(*header) || is_pax(header) ||
               (has_no_data(header) &&
                (!number_read(header->size, sizeof(header->size), &size_bytes) || size_bytes));
}

static size_t part_within(const struct tar_headers *headers, uint64_t part_bytes)
{
        return part_bytes < headers->in_bytes ? (size_t) part_bytes : headers->in_bytes;
}

static void used(struct tar_headers *headers, size_t n)
{
        headers->in += n;
        headers->in_bytes -= n;
}

static void hold(struct tar_headers *headers)
{
        bool at_header = headers->state == AT_HEADER;
        if (headers->held.len_bytes == 0)
                headers->is_ready = false;
        size_t have_bytes = headers->held.len_bytes - headers->header_at;
        size_t n = part_within(headers, at_header ? BLOCK_BYTES - have_bytes : headers->left_bytes);
        struct error *e = buf_append(&headers->held, headers->in, n);
        if (e) {
                error_ignore(e); /* too much before one entry: it goes on as it is */
                lose(headers);
                return;
        }
        used(headers, n);
        if (at_header && have_bytes + n == BLOCK_BYTES)
                on_header(headers, (const void *) (headers->held.bytes + headers->header_at));
        else if (!at_header && (headers->left_bytes -= n) == 0)
                part_end(headers);
}

static void pass(struct tar_headers *headers)
{
        size_t n = headers->in_bytes;
        if (headers->state == AT_HEADER) {
                n = BLOCK_BYTES;
                on_header(headers, (const void *) headers->in);
        } else if (headers->state != LOST) {
                size_t at = BLOCK_BYTES - headers->left_bytes % BLOCK_BYTES;
                n = part_within(headers, headers->left_bytes);
                at %= BLOCK_BYTES;
                if (headers->state == IN_SPARSE_MAP && at <= EXTENSION_GOES_ON && at + n > EXTENSION_GOES_ON)
                        headers->map_goes_on = headers->in[EXTENSION_GOES_ON - at];
                headers->left_bytes -= n;
                if (headers->left_bytes == 0)
                        part_end(headers);
        }
        used(headers, n);
}

void tar_headers_feed(struct tar_headers *headers, const void *bytes, size_t len_bytes)
{
        headers->in = bytes;
        headers->in_bytes = len_bytes;
}

void tar_headers_end(struct tar_headers *headers)
{
        lose(headers);
}

/* Runs of what needs no change are given out where they are; what is held, between them. */
size_t tar_headers_next(struct tar_headers *headers, const void **bytes)
{
        if (headers->is_given) {
                headers->held.len_bytes = headers->header_at = 0;
                headers->is_given = headers->is_ready = false;
        }
        const char *begin = headers->in;
        while (headers->in_bytes && !(headers->is_ready && headers->held.len_bytes)) {
                if (!must_hold(headers)) {
                        pass(headers);
                } else if (headers->in == begin) {
                        hold(headers);
                        begin = headers->in;
                } else {
                        break;
                }
        }
        *bytes = begin;
        if (headers->in != begin)
                return (size_t) (headers->in - begin);
        headers->is_given = headers->is_ready;
        *bytes = headers->held.bytes;
        return headers->is_ready ? headers->held.len_bytes : 0;
}
