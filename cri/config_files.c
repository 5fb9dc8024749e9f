/* skiff.toml and its drop-ins: files in the folder FILE.d, by name, each over those before it, key by key. */
#include "base/file.h"
#include "cri/config_internal.h"
#include <dirent.h>
#include <string.h>

#define DROP_INS_MAX 256

static struct error *read_tree(struct skiff_config *config, const char *path, const struct toml_value *root)
{
        for (size_t i = 0; i < toml_length(root); i++) {
                const char *key = toml_key_at(root, i);
                const struct toml_value *value = toml_at(root, i);
                const struct option *option = config_option(key);
                if (!option)
                        return error_new(ERROR_INVALID_ARGUMENT, "line %u: unknown key \"%s\"",
                                         toml_line(value), key);
                TRY_WRAP(option_set_from_toml(config, option, value), "line %u: %s", toml_line(value), key);
                char **source = &config->sources[option - config_options];
                free(*source);
                *source = format_string("%s:%u", path, toml_line(value));
        }
        return NULL;
}

struct error *config_text_read(struct skiff_config *config, const char *path, const char *text,
                               size_t len_bytes)
{
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        TRY_WRAP(toml_parse(text, len_bytes, &root), "%s", path);
        TRY_WRAP(read_tree(config, path, root), "%s", path);
        return NULL;
}

static struct error *read_file(struct skiff_config *config, const char *path)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes = 0;
        TRY_WRAP(file_read(AT_FDCWD, path, TOML_MAX_BYTES, &text, &len_bytes), "%s", path);
        return config_text_read(config, path, text, len_bytes);
}

/* --- drop-ins --- */

/* An editor's copies and what begins with a dot are none. */
static int is_drop_in(const struct dirent *entry)
{
        size_t len_bytes = strlen(entry->d_name);
        return entry->d_name[0] != '.' && len_bytes > 5 &&
               strcmp(entry->d_name + len_bytes - 5, ".toml") == 0;
}

/* Not alphasort, which goes by the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

/* Their paths: NULL-terminated, the caller's. */
static struct error *list_drop_ins(const char *dir, char ***out)
{
        struct dirent **entries = NULL;
        int n = scandir(dir, &entries, is_drop_in, by_name);
        if (n < 0 && errno != ENOENT)
                return error_errno(errno, "%s", dir);
        *out = NEW_ARRAY(char *, n > 0 ? (size_t) n + 1 : 1);
        for (int i = 0; i < n; i++) {
                (*out)[i] = format_string("%s/%s", dir, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        if (n > DROP_INS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "%s: more than %d files", dir, DROP_INS_MAX);
        return NULL;
}

struct error *config_files_read(struct skiff_config *config, bool must_exist)
{
        _cleanup_(free_stringsp) char **drop_ins = NULL;
        _cleanup_(freep) char *dir = format_string("%s.d", config->config);
        TRY(list_drop_ins(dir, &drop_ins));
        struct error *e = read_file(config, config->config);
        if (e && error_errnum_of(e) == ENOENT && (!must_exist || drop_ins[0]))
                error_ignore(TAKE(e)); /* the defaults hold, or what the drop-ins say */
        if (e)
                return e;
        for (char **path = drop_ins; *path; path++)
                TRY(read_file(config, *path));
        return NULL;
}
