#include "runtime/users.h"
#include "base/file.h"
#include "runtime/users_internal.h"
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (10 << 20)
#define GROUPS_MAX 65536 /* NGROUPS_MAX of the kernel */
#define FIELDS_MAX 7

void user_done(struct user *user)
{
        free(user->home);
        free(user->groups);
        *user = (struct user){ 0 };
}

/* A whole decimal number that is an id. (uid_t) -1 means "leave it" to the kernel, so it is none. */
static bool id_parse(const char *text, size_t len_bytes, uint32_t *out)
{
        uint64_t value = 0;
        if (len_bytes == 0 || len_bytes > 10)
                return false;
        for (size_t i = 0; i < len_bytes; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return false;
                value = value * 10 + (uint64_t) (text[i] - '0');
        }
        if (value >= UINT32_MAX)
                return false;
        *out = (uint32_t) value;
        return true;
}

static bool is_number(const char *text)
{
        return *text && text[strspn(text, "0123456789")] == '\0';
}

/* A part of the file; not terminated. */
struct field {
        const char *at;
        size_t len_bytes;
};

static bool field_is(const struct field *field, const char *text)
{
        return strlen(text) == field->len_bytes && memcmp(field->at, text, field->len_bytes) == 0;
}

/* Splits the line at *at into fields and moves on; false at the end of the file. Comments and lines with a NUL have no
 * fields. */
static bool next_line(const char **at, const char *end, struct field fields[FIELDS_MAX], size_t *n)
{
        *n = 0;
        if (*at >= end)
                return false;
        const char *newline = memchr(*at, '\n', (size_t) (end - *at));
        const char *stop = newline ? newline : end, *from = *at;
        *at = newline ? newline + 1 : end;
        if (from == stop || *from == '#' || memchr(from, '\0', (size_t) (stop - from)))
                return true;
        while (*n < FIELDS_MAX) {
                const char *colon = memchr(from, ':', (size_t) (stop - from));
                const char *to = colon && *n + 1 < FIELDS_MAX ? colon : stop;
                fields[(*n)++] = (struct field){ from, (size_t) (to - from) };
                if (to == stop)
                        break;
                from = to + 1;
        }
        return true;
}

/* --- passwd: name:password:uid:gid:comment:home:shell --- */

struct passwd_entry {
        bool found;
        uint32_t uid, gid;
        struct field name, home;
};

/* By name, or by number where `name` is NULL. The first entry that fits counts. A number that is none makes it no entry:
 * never root. */
static void passwd_find(const char *text, size_t len_bytes, const char *name, uint32_t uid,
                        struct passwd_entry *out)
{
        struct field fields[FIELDS_MAX];
        size_t n;
        *out = (struct passwd_entry){ 0 };
        for (const char *at = text; next_line(&at, text + len_bytes, fields, &n);) {
                struct passwd_entry entry = { .found = true };
                if (n < 4 || !id_parse(fields[2].at, fields[2].len_bytes, &entry.uid) ||
                    !id_parse(fields[3].at, fields[3].len_bytes, &entry.gid))
                        continue;
                if (name ? !field_is(&fields[0], name) : entry.uid != uid)
                        continue;
                entry.name = fields[0];
                if (n > 5)
                        entry.home = fields[5];
                *out = entry;
                return;
        }
}

/* --- group: name:password:gid:member,member --- */

static bool member_of(const struct field *list, const struct field *name)
{
        const char *at = list->at, *end = list->at + list->len_bytes;
        while (at < end) {
                const char *comma = memchr(at, ',', (size_t) (end - at));
                size_t len_bytes = (size_t) ((comma ? comma : end) - at);
                if (len_bytes == name->len_bytes && memcmp(at, name->at, len_bytes) == 0)
                        return true;
                at += len_bytes + 1;
        }
        return false;
}

static bool group_find(const char *text, size_t len_bytes, const char *name, uint32_t *gid)
{
        struct field fields[FIELDS_MAX];
        size_t n;
        for (const char *at = text; next_line(&at, text + len_bytes, fields, &n);)
                if (n >= 3 && field_is(&fields[0], name) && id_parse(fields[2].at, fields[2].len_bytes, gid))
                        return true;
        return false;
}

/* The groups that list the name, without the primary. */
static struct error *groups_of(const char *text, size_t len_bytes, const struct field *name, struct user *out)
{
        struct field fields[FIELDS_MAX];
        size_t n;
        uint32_t gid;
        if (name->len_bytes == 0)
                return NULL;
        for (const char *at = text; next_line(&at, text + len_bytes, fields, &n);) {
                if (n < 4 || !id_parse(fields[2].at, fields[2].len_bytes, &gid) || gid == out->gid ||
                    !member_of(&fields[3], name))
                        continue;
                if (out->n_groups == GROUPS_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "more than %d groups in the image's group file", GROUPS_MAX);
                out->groups = grow_array(out->groups, out->n_groups + 1, sizeof(*out->groups));
                out->groups[out->n_groups++] = gid;
        }
        return NULL;
}

/* --- the whole --- */

static struct error *user_part(const char *passwd, size_t passwd_bytes, const char *name,
                               struct passwd_entry *entry, struct user *out)
{
        bool by_number = id_parse(name, strlen(name), &out->uid);
        if (!by_number && is_number(name))
                return error_new(ERROR_INVALID_ARGUMENT, "uid %s is out of range", name);
        passwd_find(passwd, passwd_bytes, by_number ? NULL : name, out->uid, entry);
        if (!by_number && !entry->found)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "unable to find user %s: no matching entries in passwd file", name);
        if (entry->found) {
                out->uid = entry->uid;
                out->gid = entry->gid;
        }
        return NULL;
}

static struct error *group_part(const char *group, size_t group_bytes, const char *name, struct user *out)
{
        if (id_parse(name, strlen(name), &out->gid) || group_find(group, group_bytes, name, &out->gid))
                return NULL;
        if (is_number(name))
                return error_new(ERROR_INVALID_ARGUMENT, "gid %s is out of range", name);
        return error_new(ERROR_INVALID_ARGUMENT, "unable to find group %s: no matching entries in group file",
                         name);
}

static bool is_clean(const struct field *field)
{
        for (size_t i = 0; i < field->len_bytes; i++)
                if ((unsigned char) field->at[i] < ' ' || field->at[i] == 0x7f)
                        return false;
        return field->len_bytes > 0 && field->at[0] == '/';
}

struct error *user_of_files(const char *passwd, size_t passwd_bytes, const char *group, size_t group_bytes,
                            const char *text, struct user *out)
{
        _cleanup_(user_done) struct user user = { 0 };
        _cleanup_(freep) char *name = dup_string(text && *text ? text : "0");
        struct passwd_entry entry = { 0 };
        char *group_name = strchr(name, ':');
        if (strlen(name) > 512)
                return error_new(ERROR_INVALID_ARGUMENT, "user name of %zu bytes", strlen(name));
        if (group_name)
                *group_name++ = '\0';
        TRY(user_part(passwd, passwd_bytes, *name ? name : "0", &entry, &user));
        if (group_name && *group_name)
                TRY(group_part(group, group_bytes, group_name, &user));
        TRY(groups_of(group, group_bytes, &entry.name, &user));
        user.home = is_clean(&entry.home) ? dup_bytes(entry.home.at, entry.home.len_bytes) : dup_string("/");
        *out = user;
        user = (struct user){ 0 };
        return NULL;
}

/* An image without the file has no entries; anything but a regular file of a sane size is refused. */
static struct error *read_etc(int root_fd, const char *path, char **out, size_t *len_bytes)
{
        _cleanup_(closep) int fd = -1;
        *len_bytes = 0;
        struct error *e = file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd);
        if (e && (error_errnum_of(e) == ENOENT || error_errnum_of(e) == ENOTDIR)) {
                error_free(e);
                *out = dup_string("");
                return NULL;
        }
        TRY(e);
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(errno, "stat %s", path);
        if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "the image's %s is not a regular file of at most 10 MiB", path);
        /* A little more than it has: one that grows meanwhile is read as far as it went. */
        size_t size_bytes = (size_t) st.st_size + 1;
        _cleanup_(freep) char *text = NEW_ARRAY(char, size_bytes + 1);
        for (ssize_t n_bytes; *len_bytes < size_bytes; *len_bytes += (size_t) n_bytes) {
                n_bytes = read(fd, text + *len_bytes, size_bytes - *len_bytes);
                if (n_bytes < 0 && errno != EINTR)
                        return error_errno(errno, "read %s", path);
                if (n_bytes == 0)
                        break;
                n_bytes = n_bytes < 0 ? 0 : n_bytes;
        }
        text[*len_bytes] = '\0';
        *out = TAKE(text);
        return NULL;
}

void user_files_done(struct user_files *files)
{
        freep(&files->passwd);
        freep(&files->group);
}

struct error *user_files_read(int root_fd, struct user_files *out)
{
        _cleanup_(user_files_done) struct user_files files = { 0 };
        TRY_AS(ERROR_INVALID_ARGUMENT, read_etc(root_fd, "etc/passwd", &files.passwd, &files.passwd_bytes));
        TRY_AS(ERROR_INVALID_ARGUMENT, read_etc(root_fd, "etc/group", &files.group, &files.group_bytes));
        *out = files;
        files = (struct user_files){ 0 };
        return NULL;
}

struct error *user_find(const struct user_files *files, const char *text, struct user *out)
{
        return user_of_files(files->passwd, files->passwd_bytes, files->group, files->group_bytes, text, out);
}

struct error *user_resolve(int root_fd, const char *text, struct user *out)
{
        _cleanup_(user_files_done) struct user_files files = { 0 };
        TRY(user_files_read(root_fd, &files));
        return user_find(&files, text, out);
}
