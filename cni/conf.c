#include "cni/conf.h"
#include "base/file.h"
#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

#define FILES_MAX 256
#define PLUGINS_MAX 64

/* Oldest first. */
static const char *const versions[] = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" };

static int version_rank(const char *version)
{
        for (size_t i = 0; i < LENGTH(versions); i++)
                if (strcmp(version, versions[i]) == 0)
                        return (int) i;
        return -1;
}

bool cni_version_at_least(const char *version, const char *wanted)
{
        return version_rank(version) >= version_rank(wanted);
}

const char *conflist_version(const struct json *conflist)
{
        const char *best = json_text(json_get(conflist, "cniVersion"), versions[0]);
        const struct json *others = json_get(conflist, "cniVersions");
        for (size_t i = 0; i < json_length(others); i++) {
                const char *other = json_text(json_at(others, i), "");
                if (version_rank(other) > version_rank(best))
                        best = other;
        }
        return best;
}

/* Network names: a letter or digit, then those, '_', '.' and '-'. */
static bool is_network_name(const char *name)
{
        if (!isalnum((unsigned char) *name))
                return false;
        for (const char *c = name; *c; c++)
                if (!isalnum((unsigned char) *c) && !strchr("_.-", *c))
                        return false;
        return true;
}

static struct error *check_plugin(const struct json *plugin)
{
        const char *type;
        if (json_type_of(plugin) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "it is no object");
        TRY(json_need_text(plugin, "type", &type));
        if (!*type || strchr(type, '/') || *type == '.')
                return error_new(ERROR_INVALID_ARGUMENT, "\"type\" \"%s\" is no file name", type);
        const struct json *capabilities = json_get(plugin, "capabilities");
        if (capabilities && json_type_of(capabilities) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "\"capabilities\" is no object");
        return NULL;
}

static struct error *check_conflist(const struct json *list)
{
        const char *name;
        if (json_type_of(list) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "it is no object");
        TRY(json_need_text(list, "name", &name));
        if (!is_network_name(name))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "\"name\" \"%s\" is not a letter or digit, then letters, "
                                 "digits, '_', '.' and '-'",
                                 name);
        if (json_get(list, "cniVersion") && json_type_of(json_get(list, "cniVersion")) != JSON_STRING)
                return error_new(ERROR_INVALID_ARGUMENT, "\"cniVersion\" is not a string");
        if (version_rank(conflist_version(list)) < 0)
                return error_new(ERROR_INVALID_ARGUMENT, "cniVersion \"%s\" is none of 0.1.0 to 1.1.0",
                                 conflist_version(list));
        const struct json *plugins = json_get(list, "plugins");
        size_t n = json_length(plugins);
        if (json_type_of(plugins) != JSON_ARRAY || n == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "\"plugins\" is missing or empty");
        if (n > PLUGINS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "%zu plugins are more than %d", n, PLUGINS_MAX);
        for (size_t i = 0; i < n; i++)
                TRY_WRAP(check_plugin(json_at(plugins, i)), "plugin %zu", i + 1);
        return NULL;
}

struct error *conflist_parse(const char *text, size_t len_bytes, struct json **out)
{
        _cleanup_(json_freep) struct json *list = NULL;
        TRY(json_parse(text, len_bytes, &list));
        TRY(check_conflist(list));
        *out = TAKE(list);
        return NULL;
}

static struct error *put_member(struct buf *out, const char *key, const char *value)
{
        if (!value)
                return NULL;
        TRY(buf_append_format(out, "\"%s\":", key));
        TRY(json_put_text(out, value));
        return buf_append_text(out, ",");
}

struct error *conf_wrap(const char *text, size_t len_bytes, char **out)
{
        _cleanup_(json_freep) struct json *plugin = NULL;
        _cleanup_(buf_done) struct buf list;
        buf_init(&list, 2 * CONFLIST_MAX_BYTES);
        TRY(json_parse(text, len_bytes, &plugin));
        if (json_get(plugin, "plugins"))
                return error_new(ERROR_INVALID_ARGUMENT, "it is a list, whose name must end in .conflist");
        TRY(check_plugin(plugin));
        TRY(buf_append_text(&list, "{"));
        TRY(put_member(&list, "cniVersion", json_text(json_get(plugin, "cniVersion"), NULL)));
        TRY(put_member(&list, "name", json_text(json_get(plugin, "name"), NULL)));
        TRY(buf_append_text(&list, "\"plugins\":["));
        TRY(json_write(plugin, &list));
        TRY(buf_append_text(&list, "]}"));
        char *wrapped = buf_take_text(&list);
        if (!wrapped)
                return error_errno(ENOMEM, "wrap it into a list");
        *out = wrapped;
        return NULL;
}

/* --- the directory --- */

struct names {
        char *name[FILES_MAX];
        size_t n;
};

static void names_done(struct names *names)
{
        for (size_t i = 0; i < names->n; i++)
                free(names->name[i]);
}

static bool ends_with(const char *name, const char *ending)
{
        size_t len = strlen(name), ending_len = strlen(ending);
        return len > ending_len && strcmp(name + len - ending_len, ending) == 0;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static struct error *list_names(DIR *dir, struct names *names)
{
        for (struct dirent *entry; (errno = 0, entry = readdir(dir));) {
                const char *name = entry->d_name;
                if (!ends_with(name, ".conflist") && !ends_with(name, ".conf") && !ends_with(name, ".json"))
                        continue;
                if (names->n == FILES_MAX)
                        return error_new(ERROR_FAILED_PRECONDITION, "more than %d configurations", FILES_MAX);
                names->name[names->n++] = dup_string(name);
        }
        if (errno)
                return error_errno(errno, "read the directory");
        qsort(names->name, names->n, sizeof(names->name[0]), compare_names);
        return NULL;
}

/* Names with what changes when a file does; ctime too, for a rename within the second keeps the rest. */
static struct error *fingerprint(int dir_fd, const struct names *names, struct buf *out)
{
        for (size_t i = 0; i < names->n; i++) {
                struct stat st;
                if (fstatat(dir_fd, names->name[i], &st, 0) < 0)
                        continue; /* gone since, or a link to nowhere */
                TRY(buf_append_format(out, "%s %ju %ju %jd.%ld %jd.%ld\n", names->name[i],
                                      (uintmax_t) st.st_ino, (uintmax_t) st.st_size,
                                      (intmax_t) st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                                      (intmax_t) st.st_ctim.tv_sec, st.st_ctim.tv_nsec));
        }
        return NULL;
}

static struct error *load_file(int dir_fd, const char *name, char **out)
{
        _cleanup_(freep) char *text = NULL;
        _cleanup_(json_freep) struct json *list = NULL;
        size_t len_bytes = 0;
        TRY(file_read(dir_fd, name, CONFLIST_MAX_BYTES, &text, &len_bytes));
        if (!ends_with(name, ".conflist")) {
                char *wrapped = NULL;
                TRY_WRAP(conf_wrap(text, len_bytes, &wrapped), "%s", name);
                free(text);
                text = wrapped;
                len_bytes = text ? strlen(text) : 0;
        }
        TRY_WRAP(conflist_parse(text, len_bytes, &list), "%s", name);
        *out = TAKE(text);
        return NULL;
}

/* The first valid one; the first failure is told when there is none, for that is the file which was meant. */
static struct error *load_first(int dir_fd, const struct names *names, const char *path, char **out)
{
        _cleanup_(error_freep) struct error *first = NULL;
        for (size_t i = 0; i < names->n; i++) {
                struct error *e = load_file(dir_fd, names->name[i], out);
                if (!e)
                        return NULL;
                if (first)
                        error_ignore(e);
                else
                        first = e;
        }
        if (!first)
                return error_new(ERROR_FAILED_PRECONDITION, "no network configuration in %s", path);
        return error_wrap(error_as(TAKE(first), ERROR_FAILED_PRECONDITION),
                          "no valid network configuration in %s", path);
}

/* With the lock held. Reads again where the directory is not as it was. */
static struct error *refresh(struct conf_dir *dir)
{
        _cleanup_(closedirp) DIR *open_dir = NULL;
        _cleanup_(names_done) struct names names = { .n = 0 };
        _cleanup_(buf_done) struct buf now;
        buf_init(&now, 1 << 20);
        open_dir = opendir(dir->path);
        if (!open_dir)
                return error_new(ERROR_FAILED_PRECONDITION, "no network configuration in %s: %s", dir->path,
                                 strerror(errno));
        TRY_WRAP(list_names(open_dir, &names), "%s", dir->path);
        TRY(fingerprint(dirfd(open_dir), &names, &now));
        if (dir->fingerprint && strcmp(dir->fingerprint, now.bytes ? now.bytes : "") == 0)
                return dir->failure ? error_new(ERROR_FAILED_PRECONDITION, "%s", dir->failure) : NULL;
        freep(&dir->conflist);
        freep(&dir->failure);
        freep(&dir->fingerprint);
        struct error *e = load_first(dirfd(open_dir), &names, dir->path, &dir->conflist);
        if (e)
                dir->failure = dup_string(error_message(e));
        dir->fingerprint = buf_take_text(&now);
        return e;
}

void conf_dir_init(struct conf_dir *dir, const char *path)
{
        *dir = (struct conf_dir){ .path = dup_string(path) };
        (void) pthread_mutex_init(&dir->lock, NULL);
}

void conf_dir_done(struct conf_dir *dir)
{
        free(dir->path);
        free(dir->fingerprint);
        free(dir->conflist);
        free(dir->failure);
        (void) pthread_mutex_destroy(&dir->lock);
}

struct error *conf_dir_get(struct conf_dir *dir, char **out)
{
        (void) pthread_mutex_lock(&dir->lock);
        struct error *e = refresh(dir);
        if (!e && out)
                *out = dup_string(dir->conflist);
        (void) pthread_mutex_unlock(&dir->lock);
        return e;
}
