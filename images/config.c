#include "images/config.h"
#include "base/digest.h"
#include "base/json.h"
#include "images/manifest.h"
#include "images/platform.h"
#include "images/strings.h"
#include <string.h>

enum { STRINGS_MAX = 100000 };

/* Docker once wrote a command as one string. */
static struct error *read_command(const struct json *config, const char *key, char ***out)
{
        const char *text = json_text(json_get(config, key), NULL);
        if (!text)
                TRY(strings_of_json(config, key, STRINGS_MAX, out));
        else
                *out = strings_empty();
        if (text)
                strings_add(out, text);
        if ((*out)[0] && !*(*out)[0] && !(*out)[1]) /* [""] is how some say that there is none */
                freep(&(*out)[0]);
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
        return NULL;
}

/* One that says nothing may be for this machine. */
static struct error *check_platform(const struct json *root)
{
        const struct platform platform = { json_text(json_get(root, "os"), NULL),
                                           json_text(json_get(root, "architecture"), NULL),
                                           json_text(json_get(root, "variant"), NULL) };
        if (platform_rank(&platform))
                return NULL;
        char its[PLATFORM_TEXT_SIZE], ours[PLATFORM_TEXT_SIZE];
        platform_format(&platform, its);
        platform_here(ours);
        return error_new(ERROR_FAILED_PRECONDITION, "an image for %s, not for %s", its, ours);
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
        struct image_config config = { .user = NULL };
        if (len_bytes > MANIFEST_LIMIT_BYTES)
                return error_new(ERROR_INVALID_ARGUMENT, "image config: larger than %u bytes",
                                 MANIFEST_LIMIT_BYTES);
        TRY_WRAP(json_parse(bytes, len_bytes, &root), "image config");
        if (json_type_of(root) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "image config: not an object");
        struct error *e = check_platform(root);
        if (!e)
                e = read_config(root, &config);
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
        *config = (struct image_config){ .user = NULL };
}

struct error *image_config_parse(const char *json, struct image_config *out)
{
        _cleanup_(free_stringsp) char **diff_ids = NULL;
        return config_parse(json, strlen(json), out, &diff_ids);
}

/* What is kept of "config" (read_config). */
static const char *const kept[] = {
        "Entrypoint", "Cmd", "Env", "WorkingDir", "User", "StopSignal", "Volumes"
};

static struct error *trim(const struct json *root, struct buf *to)
{
        const struct json *config = json_get(root, "config");
        bool any = false;
        TRY(buf_append_text(to, "{\"config\":{"));
        for (size_t i = 0; i < LENGTH(kept); i++) {
                const struct json *value = json_get(config, kept[i]);
                if (!value)
                        continue;
                TRY(buf_append_format(to, "%s\"%s\":", any ? "," : "", kept[i]));
                TRY(json_write(value, to));
                any = true;
        }
        TRY(buf_append_text(to, "},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":"));
        const struct json *diff_ids = json_get(json_get(root, "rootfs"), "diff_ids");
        TRY(diff_ids ? json_write(diff_ids, to) : buf_append_text(to, "null"));
        return buf_append_text(to, "}}");
}

struct error *image_config_trim(const char *json, char **out)
{
        struct buf text;
        _cleanup_(json_freep) struct json *root = NULL;
        TRY_WRAP(json_parse(json, strlen(json), &root), "image config");
        buf_init(&text, 8 * (size_t) MANIFEST_LIMIT_BYTES); /* an escape takes six bytes where a byte stood */
        struct error *e = trim(root, &text);
        if (!e)
                *out = buf_take_text(&text);
        buf_done(&text);
        return e;
}
