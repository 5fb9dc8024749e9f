/* manifest_parse, docker_manifest_parse and config_parse on the same bytes. */
#include "images/config.h"
#include "images/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        const char *text = (const char *) bytes;
        struct manifest *manifest = NULL;
        struct docker_image *images = NULL;
        struct image_config config;
        const struct descriptor **candidates = NULL;
        char *trimmed = NULL;
        char **diff_ids = NULL;
        size_t n;
        struct error *e = manifest_parse(text, len_bytes, NULL, &manifest);
        if (!e) {
                manifest_candidates(manifest, &candidates, &n);
                error_free(manifest_no_image(manifest));
        }
        free(candidates);
        error_free(e);
        manifest_free(manifest);
        e = docker_manifest_parse(text, len_bytes, &images, &n);
        if (!e)
                docker_images_free(images, n);
        error_free(e);
        e = config_parse(text, len_bytes, &config, &diff_ids);
        if (!e)
                image_config_done(&config);
        error_free(e);
        free_strings(diff_ids);
        /* What is kept of a config is one again, that says the same. */
        char *whole = dup_bytes(text, len_bytes);
        e = NULL;
        if (strlen(whole) == len_bytes && !(e = image_config_trim(whole, &trimmed)))
                e = image_config_parse(trimmed, &config);
        if (!e && trimmed)
                image_config_done(&config);
        error_free(e);
        free(trimmed);
        free(whole);
        return 0;
}
