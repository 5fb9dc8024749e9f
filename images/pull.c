/* One pull, from a reference to an image in the catalog: skiffd follows the chain of digests, skiff-pull fetches. */
#include "base/log.h"
#include "images/config.h"
#include "images/install.h"
#include "images/manifest.h"
#include "images/reference.h"
#include "images/strings.h"
#include <string.h>
#include <strings.h>

struct pull {
        struct images *images;
        struct puller *puller;
        const struct wait *wait;
        const struct pull_watcher *watcher;
        struct reference *reference;
        struct manifest *manifest;
        char top_digest[DIGEST_TEXT_SIZE]; /* of what the reference names: an index or an image */
        struct buf config;
        char **diff_ids, *id;
};

static void pull_done(struct pull *pull)
{
        puller_free(pull->puller);
        reference_free(pull->reference);
        manifest_free(pull->manifest);
        buf_done(&pull->config);
        free_strings(pull->diff_ids);
        free(pull->id);
}

/* Reads a manifest by tag or digest; a digest that is known is checked, and the size that an index gave (else -1). */
static struct error *read_manifest(struct pull *pull, const char *name, const struct digest *want,
                                   int64_t size_bytes, char digest_text[DIGEST_TEXT_SIZE],
                                   struct manifest **out)
{
        struct buf bytes;
        struct digest got;
        _cleanup_(freep) char *media_type = NULL;
        buf_init(&bytes, MANIFEST_LIMIT_BYTES);
        struct error *e = puller_read(pull->puller, PULL_READ_MANIFEST, name, MANIFEST_LIMIT_BYTES,
                                      pull->wait, &bytes, &media_type);
        if (!e) {
                digest_of(bytes.bytes, bytes.len_bytes, &got);
                digest_format(&got, digest_text);
                if (want && !digest_equal(want, &got))
                        e = error_new(ERROR_DATA_LOSS, "it has digest %s", digest_text);
                else if (size_bytes >= 0 && (size_t) size_bytes != bytes.len_bytes)
                        e = error_new(ERROR_DATA_LOSS, "it has %zu bytes, and %lld by the index",
                                      bytes.len_bytes, (long long) size_bytes);
        }
        if (!e) {
                e = manifest_parse(bytes.bytes, bytes.len_bytes, media_type, out);
                /* A proxy's login page, for one. */
                if (e && (!media_type || !strstr(media_type, "json")))
                        e = error_wrap(e, "what the registry sent, as %s, is none",
                                       media_type && *media_type ? media_type : "no media type");
        }
        buf_done(&bytes);
        return e ? error_wrap(e, "manifest %s", name) : NULL;
}

static struct error *resolve(struct pull *pull)
{
        struct digest pinned;
        const struct reference *reference = pull->reference;
        if (reference->digest)
                TRY(digest_parse(reference->digest, &pinned));
        TRY(read_manifest(pull, reference->digest ? reference->digest : reference->tag,
                          reference->digest ? &pinned : NULL, -1, pull->top_digest, &pull->manifest));
        if (pull->manifest->kind == MANIFEST_IMAGE)
                return NULL;
        const struct descriptor *chosen = NULL;
        char chosen_text[DIGEST_TEXT_SIZE], got_text[DIGEST_TEXT_SIZE];
        struct manifest *image = NULL;
        TRY(manifest_choose(pull->manifest, &chosen));
        digest_format(&chosen->digest, chosen_text);
        TRY(read_manifest(pull, chosen_text, &chosen->digest, chosen->size_bytes, got_text, &image));
        manifest_free(pull->manifest);
        pull->manifest = image;
        if (image->kind != MANIFEST_IMAGE)
                return error_new(ERROR_INVALID_ARGUMENT, "manifest %s: an index inside an index",
                                 chosen_text);
        return NULL;
}

static struct error *commit(struct pull *pull, struct layer **layers)
{
        _cleanup_(free_stringsp) char **tags = strings_empty(), **digests = strings_empty();
        _cleanup_(freep) char *repository = reference_repository(pull->reference);
        _cleanup_(freep) char *digest = format_string("%s@%s", repository, pull->top_digest);
        strings_add(&digests, digest);
        if (pull->reference->tag) {
                _cleanup_(freep) char *tag = reference_name(pull->reference);
                strings_add(&tags, tag);
        }
        const struct catalog_image image = {
                .id = pull->id,
                .config_json = pull->config.bytes,
                .config_bytes = pull->config.len_bytes,
                .layers = layers,
                .n_layers = pull->manifest->n,
                .tags = tags,
                .digests = digests,
        };
        return catalog_commit(pull->images->catalog, &image, 1);
}

static struct error *fetch_layers(struct pull *pull)
{
        size_t n = pull->manifest->n;
        char(*names)[DIGEST_TEXT_SIZE] = new_zeroed(n, DIGEST_TEXT_SIZE);
        struct install_layer *list = NEW_ARRAY(struct install_layer, n);
        for (size_t i = 0; i < n; i++) {
                const struct descriptor *blob = &pull->manifest->entries[i];
                digest_format(&blob->digest, names[i]);
                list[i] = (struct install_layer){ .diff_id = pull->diff_ids[i],
                                                  .name = names[i],
                                                  .has_blob = true,
                                                  .blob = blob->digest,
                                                  .blob_bytes = (uint64_t) blob->size_bytes };
        }
        struct layer **layers = NULL;
        struct error *e = install_layers(pull->images, pull->puller, PULL_STREAM_BLOB, list, n, pull->watcher,
                                         pull->wait, &layers);
        if (!e)
                e = commit(pull, layers);
        install_done(pull->images, layers, layers ? n : 0);
        free(list);
        free(names);
        return e;
}

/* Credentials that name a server are for that one alone ("https://index.docker.io/v1/" is docker.io's). */
static bool auth_is_for(const struct image_auth *auth, const char *domain)
{
        const char *server = auth && auth->server_address ? auth->server_address : "";
        const char *scheme = strstr(server, "://"), *host = scheme ? scheme + 3 : server;
        size_t n = strcspn(host, "/");
        if (n == 0)
                return true;
        bool is_hub = strcmp(domain, "docker.io") == 0;
        return (n == strlen(domain) && strncasecmp(host, domain, n) == 0) ||
               (is_hub &&
                (strncmp(host, "index.docker.io", n) == 0 || strncmp(host, "registry-1.docker.io", n) == 0));
}

/* A line's end in one of them would begin a header of the request's own. */
static struct error *check_credentials(const struct image_auth *auth)
{
        const struct {
                const char *name, *text;
        } all[] = { { "username", auth ? auth->username : NULL },
                    { "password", auth ? auth->password : NULL },
                    { "auth", auth ? auth->auth : NULL },
                    { "identity_token", auth ? auth->identity_token : NULL },
                    { "registry_token", auth ? auth->registry_token : NULL } };
        for (size_t i = 0; i < LENGTH(all); i++)
                if (all[i].text && strpbrk(all[i].text, "\r\n"))
                        return error_new(ERROR_INVALID_ARGUMENT, "auth.%s: a line ends in it", all[i].name);
        return NULL;
}

static struct error *run(struct pull *pull, const struct image_auth *auth)
{
        char config_name[DIGEST_TEXT_SIZE];
        const char *domain = pull->reference->domain;
        _cleanup_(hosts_done) struct hosts hosts = { NULL, 0, NULL };
        TRY(check_credentials(auth));
        TRY(hosts_load(pull->images->registry_dirs, domain, &hosts));
        for (char **warning = hosts.warnings; warning && *warning; warning++)
                log_event(LOG_LEVEL_WARN, *warning, "registry", domain, NULL);
        TRY(puller_start_registry(&pull->images->puller, domain, pull->reference->path,
                                  auth_is_for(auth, domain) ? auth : NULL, &hosts, pull->wait,
                                  &pull->puller));
        TRY(resolve(pull));
        digest_format(&pull->manifest->config.digest, config_name);
        TRY(install_config(pull->puller, PULL_READ_BLOB, config_name, &pull->manifest->config.digest,
                           pull->wait, &pull->config, &pull->diff_ids, &pull->id));
        if (strings_length(pull->diff_ids) != pull->manifest->n)
                return error_new(ERROR_INVALID_ARGUMENT, "the manifest has %zu layers, the config %zu",
                                 pull->manifest->n, strings_length(pull->diff_ids));
        return fetch_layers(pull);
}

struct error *images_pull(struct images *images, const char *reference, const struct image_auth *auth,
                          const struct pull_watcher *watcher, const struct wait *wait, char **out_id)
{
        _cleanup_(pull_done) struct pull pull = { .images = images, .wait = wait, .watcher = watcher };
        buf_init(&pull.config, MANIFEST_LIMIT_BYTES);
        TRY(reference_parse(reference, &pull.reference));
        _cleanup_(freep) char *name = reference_name(pull.reference);
        struct error *e = run(&pull, auth);
        if (e) {
                /* Whole layers without an image go; e is what went wrong, and a later collection tries again. */
                error_ignore(catalog_collect(images->catalog));
                return error_wrap(e, "pull %s", name);
        }
        *out_id = TAKE(pull.id);
        return NULL;
}
