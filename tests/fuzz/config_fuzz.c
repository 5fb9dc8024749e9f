/* Any bytes as skiff.toml, and over it, behind a NUL, as a drop-in: a sentence with the file's name, or a configuration that is
 * the same when what is shown of it is read. */
#include "cri/config_internal.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static void start(struct skiff_config *config)
{
        if (config_defaults(config))
                abort();
}

static bool read_as(struct skiff_config *config, const char *path, const char *text, size_t len_bytes)
{
        struct error *e = config_text_read(config, path, text, len_bytes);
        if (e && strncmp(error_message(e), path, strlen(path)) != 0)
                abort();
        error_free(e);
        return !e;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 }, again = { 0 };
        _cleanup_(buf_done) struct buf shown;
        const char *text = (const char *) bytes;
        const uint8_t *nul = len_bytes ? memchr(bytes, 0, len_bytes) : NULL;
        size_t main_bytes = nul ? (size_t) (nul - bytes) : len_bytes;
        buf_init(&shown, (size_t) 8 << 20);
        start(&config);
        if (!read_as(&config, "/a", text, main_bytes))
                return 0;
        if (nul && !read_as(&config, "/a.d/b", text + main_bytes + 1, len_bytes - main_bytes - 1))
                return 0;
        struct error *e = config_append_toml(&config, &shown);
        if (e || shown.len_bytes > TOML_MAX_BYTES) { /* escapes made it longer than a file may be */
                error_free(e);
                return 0;
        }
        start(&again);
        if (!read_as(&again, "/shown", shown.bytes, shown.len_bytes))
                abort();
        for (size_t i = 0; i < n_config_options; i++)
                if (!option_is_same(&config, &again, &config_options[i]))
                        abort();
        return 0;
}
