#include "images/config_edit.h"
#include "base/json.h"
#include "base/json_writer.h"
#include <string.h>

/* --- lists and maps of texts --- */

static size_t key_length(const char *pair)
{
        return strcspn(pair, "=");
}

/* The last of pairs that has the key of `of`, or NULL. */
static const char *pair_find(char *const *pairs, const char *of, size_t key_bytes)
{
        const char *found = NULL;
        for (; pairs && *pairs; pairs++)
                if (key_length(*pairs) == key_bytes && strncmp(*pairs, of, key_bytes) == 0)
                        found = *pairs;
        return found;
}

/* Each where one of the same key was, the others behind. */
static void write_env(struct json_writer *w, const struct json *before, char *const *env)
{
        json_write_begin(w, "Env", "[");
        for (size_t i = 0; i < json_length(before); i++) {
                const char *old = json_text(json_at(before, i), "");
                const char *changed = pair_find(env, old, key_length(old));
                json_write_text(w, NULL, changed ? changed : old);
        }
        for (char *const *pair = env; pair && *pair; pair++) {
                bool is_old = pair_find(pair + 1, *pair, key_length(*pair));
                for (size_t i = 0; i < json_length(before) && !is_old; i++) {
                        const char *old = json_text(json_at(before, i), "");
                        is_old = key_length(old) == key_length(*pair) &&
                                 strncmp(old, *pair, key_length(old)) == 0;
                }
                if (!is_old)
                        json_write_text(w, NULL, *pair);
        }
        json_write_end(w, "]");
}

static void write_labels(struct json_writer *w, const struct json *before, char *const *labels)
{
        json_write_begin(w, "Labels", "{");
        for (size_t i = 0; i < json_length(before); i++) {
                const char *key = json_key_at(before, i);
                if (!pair_find(labels, key, strlen(key)))
                        json_write_value(w, key, json_value_at(before, i));
        }
        for (char *const *pair = labels; pair && *pair; pair++) {
                size_t key_bytes = key_length(*pair);
                _cleanup_(freep) char *key = dup_bytes(*pair, key_bytes);
                if (!pair_find(pair + 1, *pair, key_bytes))
                        json_write_text(w, key, *pair + key_bytes + 1);
        }
        json_write_end(w, "}");
}

/* A set: members without content. */
static void write_set(struct json_writer *w, const char *name, const struct json *before, char *const *added)
{
        json_write_begin(w, name, "{");
        for (size_t i = 0; i < json_length(before); i++)
                json_write_value(w, json_key_at(before, i), json_value_at(before, i));
        for (char *const *key = added; key && *key; key++) {
                if (json_get(before, *key) || pair_find(key + 1, *key, strlen(*key)))
                        continue;
                json_write_begin(w, *key, "{");
                json_write_end(w, "}");
        }
        json_write_end(w, "}");
}

/* --- "config" --- */

static bool is_replaced(const char *key, const struct image_changes *changes)
{
        const struct {
                const char *key;
                bool is_given;
        } known[] = { { "Env", changes->env },
                      { "Labels", changes->labels },
                      { "ExposedPorts", changes->ports },
                      { "Volumes", changes->volumes },
                      { "Entrypoint", changes->entrypoint },
                      { "Cmd", changes->cmd || changes->entrypoint },
                      { "User", changes->user },
                      { "WorkingDir", changes->working_dir },
                      { "StopSignal", changes->stop_signal } };
        for (size_t i = 0; i < LENGTH(known); i++)
                if (strcmp(key, known[i].key) == 0)
                        return known[i].is_given;
        return false;
}

static void write_config(struct json_writer *w, const struct json *before,
                         const struct image_changes *changes)
{
        json_write_begin(w, "config", "{");
        for (size_t i = 0; i < json_length(before); i++)
                if (!is_replaced(json_key_at(before, i), changes))
                        json_write_value(w, json_key_at(before, i), json_value_at(before, i));
        if (changes->env)
                write_env(w, json_get(before, "Env"), changes->env);
        if (changes->labels)
                write_labels(w, json_get(before, "Labels"), changes->labels);
        if (changes->ports)
                write_set(w, "ExposedPorts", json_get(before, "ExposedPorts"), changes->ports);
        if (changes->volumes)
                write_set(w, "Volumes", json_get(before, "Volumes"), changes->volumes);
        if (changes->entrypoint)
                json_write_texts(w, "Entrypoint", changes->entrypoint);
        if (changes->cmd)
                json_write_texts(w, "Cmd", changes->cmd);
        if (changes->user)
                json_write_text(w, "User", changes->user);
        if (changes->working_dir)
                json_write_text(w, "WorkingDir", changes->working_dir);
        if (changes->stop_signal)
                json_write_text(w, "StopSignal", changes->stop_signal);
        json_write_end(w, "}");
}

/* --- the whole --- */

static void write_layers(struct json_writer *w, const struct json *before, const char *diff_id)
{
        const struct json *ids = json_get(before, "diff_ids");
        json_write_begin(w, "rootfs", "{");
        json_write_text(w, "type", "layers");
        json_write_begin(w, "diff_ids", "[");
        for (size_t i = 0; i < json_length(ids); i++)
                json_write_value(w, NULL, json_at(ids, i));
        json_write_text(w, NULL, diff_id);
        json_write_end(w, "]");
        json_write_end(w, "}");
}

static void write_history(struct json_writer *w, const struct json *before, const struct image_commit *commit,
                          const char *created)
{
        _cleanup_(freep) char *by = format_string("skiff commit %.12s", commit->container_id);
        json_write_begin(w, "history", "[");
        for (size_t i = 0; i < json_length(before); i++)
                json_write_value(w, NULL, json_at(before, i));
        json_write_begin(w, NULL, "{");
        json_write_text(w, "created", created);
        json_write_text(w, "created_by", by);
        if (*commit->author)
                json_write_text(w, "author", commit->author);
        if (*commit->comment)
                json_write_text(w, "comment", commit->comment);
        json_write_end(w, "}");
        json_write_end(w, "]");
}

static bool is_rewritten(const char *key)
{
        static const char *const keys[] = { "created", "config", "rootfs", "history" };
        for (size_t i = 0; i < LENGTH(keys); i++)
                if (strcmp(key, keys[i]) == 0)
                        return true;
        return false;
}

static void write_all(struct json_writer *w, const struct json *before, const struct image_commit *commit,
                      const char *diff_id, const char *created)
{
        json_write_begin(w, NULL, "{");
        for (size_t i = 0; i < json_length(before); i++) {
                const char *key = json_key_at(before, i);
                if (!is_rewritten(key) && !(strcmp(key, "author") == 0 && *commit->author))
                        json_write_value(w, key, json_value_at(before, i));
        }
        json_write_text(w, "created", created);
        if (*commit->author)
                json_write_text(w, "author", commit->author);
        write_config(w, json_get(before, "config"), commit->changes);
        write_layers(w, json_get(before, "rootfs"), diff_id);
        write_history(w, json_get(before, "history"), commit, created);
        json_write_end(w, "}");
}

static struct error *check_pairs(const char *what, char *const *pairs)
{
        for (; pairs && *pairs; pairs++)
                if (**pairs == '=' || !strchr(*pairs, '='))
                        return error_new(ERROR_INVALID_ARGUMENT, "%s \"%s\" is not KEY=VALUE", what, *pairs);
        return NULL;
}

static struct error *check_changes(const struct image_changes *changes)
{
        TRY(check_pairs("environment", changes->env));
        TRY(check_pairs("label", changes->labels));
        for (char *const *path = changes->volumes; path && *path; path++)
                if (**path != '/')
                        return error_new(ERROR_INVALID_ARGUMENT, "volume \"%s\" is not an absolute path",
                                         *path);
        if (changes->working_dir && *changes->working_dir && *changes->working_dir != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "working directory \"%s\" is not an absolute path",
                                 changes->working_dir);
        return NULL;
}

struct error *config_edit(const char *json, const struct image_commit *commit, const char *diff_id,
                          const char *created, struct buf *out)
{
        _cleanup_(json_freep) struct json *before = NULL;
        struct json_writer w = { .out = out };
        TRY(check_changes(commit->changes));
        TRY_WRAP(json_parse(json, strlen(json), &before), "the image's config");
        write_all(&w, before, commit, diff_id, created);
        return w.error;
}
