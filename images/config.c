#include "images/config.h"
#include "base/digest.h"
#include "base/json.h"
#include "images/manifest.h"
#include "images/strings.h"
#include <string.h>

enum { STRINGS_MAX = 100000 };

/* Docker once wrote a command as one string. */
static struct error *read_command(const struct json *config, const char *key, char ***out)
{
        const char *text = json_text(json_get(config, key), NULL);
        if (!text)
                return strings_of_json(config, key, STRINGS_MAX, out);
        *out = strings_empty();
        strings_add(out, text);
        return NULL;
}

static struct error *read_text(const struct json *object, const char *key, char **out)
{
        const struct json *value = json_get(object, key);
        if (value && json_type_of(value) != JSON_STRING && json_type_of(value) != JSON_NULL)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a string", key);
        *out = dup_string(json_text(value, NULL));
        return NULL;
}

static struct error *read_labels(const struct json *config, struct image_config *out)
{
        const struct json *labels = json_get(config, "Labels");
        size_t n = json_length(labels);
        if (json_type_of(labels) != JSON_OBJECT && json_type_of(labels) != JSON_NULL)
                return error_new(ERROR_INVALID_ARGUMENT, "\"Labels\" is not an object");
        out->labels = NEW_ARRAY(struct image_label, n);
        for (size_t i = 0; i < n; i++) {
                const char *value = json_text(json_value_at(labels, i), NULL);
                if (!value)
                        return error_new(ERROR_INVALID_ARGUMENT, "label \"%s\" is not a string",
                                         json_key_at(labels, i));
                out->labels[i].key = dup_string(json_key_at(labels, i));
                out->labels[i].value = dup_string(value);
                out->n_labels = i + 1;
        }
        return NULL;
}

static struct error *read_config(const struct json *root, struct image_config *out)
{
        const struct json *config = json_get(root, "config");
        if (config && json_type_of(config) != JSON_OBJECT && json_type_of(config) != JSON_NULL)
                return error_new(ERROR_INVALID_ARGUMENT, "\"config\" is not an object");
        TRY(read_command(config, "Entrypoint", &out->entrypoint));
        TRY(read_command(config, "Cmd", &out->cmd));
        TRY(strings_of_json(config, "Env", STRINGS_MAX, &out->env));
        TRY(strings_of_keys(config, "Volumes", STRINGS_MAX, &out->volumes));
        TRY(read_text(config, "WorkingDir", &out->working_dir));
        TRY(read_text(config, "User", &out->user));
        TRY(read_text(config, "StopSignal", &out->stop_signal));
        TRY(read_labels(config, out));
        TRY(read_text(root, "architecture", &out->architecture));
        TRY(read_text(root, "os", &out->os));
        TRY(read_text(root, "created", &out->created));
        if (out->os && *out->os && strcmp(out->os, "linux") != 0)
                return error_new(ERROR_FAILED_PRECONDITION, "an image for %s, not for linux", out->os);
        return NULL;
}

static struct error *read_diff_ids(const struct json *root, char ***out)
{
        const struct json *rootfs = json_get(root, "rootfs");
        _cleanup_(free_stringsp) char **diff_ids = NULL;
        if (json_type_of(rootfs) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "\"rootfs\" is missing");
        TRY(strings_of_json(rootfs, "diff_ids", LAYERS_MAX, &diff_ids));
        for (char **diff_id = diff_ids; *diff_id; diff_id++) {
                struct digest digest;
                TRY_WRAP(digest_parse(*diff_id, &digest), "\"diff_ids\"");
        }
        *out = TAKE(diff_ids);
        return NULL;
}

struct error *config_parse(const char *bytes, size_t len_bytes, struct image_config *out, char ***diff_ids)
{
        _cleanup_(json_freep) struct json *root = NULL;
        struct image_config config = { .n_labels = 0 };
        if (len_bytes > MANIFEST_LIMIT_BYTES)
                return error_new(ERROR_INVALID_ARGUMENT, "image config: larger than %u bytes",
                                 MANIFEST_LIMIT_BYTES);
        TRY_WRAP(json_parse(bytes, len_bytes, &root), "image config");
        if (json_type_of(root) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "image config: not an object");
        struct error *e = read_config(root, &config);
        if (!e)
                e = read_diff_ids(root, diff_ids);
        if (e) {
                image_config_done(&config);
                return error_wrap(e, "image config");
        }
        *out = config;
        return NULL;
}

void image_config_done(struct image_config *config)
{
        free_strings(config->entrypoint);
        free_strings(config->cmd);
        free_strings(config->env);
        free_strings(config->volumes);
        free(config->working_dir);
        free(config->user);
        free(config->stop_signal);
        free(config->architecture);
        free(config->os);
        free(config->created);
        for (size_t i = 0; i < config->n_labels; i++) {
                free(config->labels[i].key);
                free(config->labels[i].value);
        }
        free(config->labels);
        *config = (struct image_config){ .n_labels = 0 };
}

void config_copy(const struct image_config *from, struct image_config *to)
{
        *to = (struct image_config){
                .entrypoint = strings_copy(from->entrypoint),
                .cmd = strings_copy(from->cmd),
                .env = strings_copy(from->env),
                .volumes = strings_copy(from->volumes),
                .working_dir = dup_string(from->working_dir),
                .user = dup_string(from->user),
                .stop_signal = dup_string(from->stop_signal),
                .architecture = dup_string(from->architecture),
                .os = dup_string(from->os),
                .created = dup_string(from->created),
                .labels = NEW_ARRAY(struct image_label, from->n_labels),
                .n_labels = from->n_labels,
        };
        for (size_t i = 0; i < from->n_labels; i++) {
                to->labels[i].key = dup_string(from->labels[i].key);
                to->labels[i].value = dup_string(from->labels[i].value);
        }
}

struct error *image_config_parse(const char *json, struct image_config *out)
{
        _cleanup_(free_stringsp) char **diff_ids = NULL;
        return config_parse(json, strlen(json), out, &diff_ids);
}
