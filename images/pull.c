/* One pull, from a reference to an image in the catalog: skiffd follows the chain of digests, skiff-pull fetches. */
#include "base/id.h"
#include "base/log.h"
#include "images/config.h"
#include "images/flight.h"
#include "images/install.h"
#include "images/manifest.h"
#include "images/reference.h"
#include "images/resolve.h"
#include "images/strings.h"
#include <string.h>
#include <strings.h>

struct pull {
        struct images *images;
        struct puller *puller;
        const struct wait *wait;
        const struct pull_watcher *watcher;
        const struct reference *reference;
        struct manifest *manifest;
        char top_digest[DIGEST_TEXT_SIZE]; /* of what the reference names: an index or an image */
        struct buf config;
        char **diff_ids, *id;
        bool was_here; /* nothing but manifests was fetched */
};

static void pull_done(struct pull *pull)
{
        puller_free(pull->puller);
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

static struct error *read_entry(void *context, const struct descriptor *from, struct manifest **out)
{
        struct pull *pull = context;
        char name[DIGEST_TEXT_SIZE], got[DIGEST_TEXT_SIZE];
        digest_format(&from->digest, name);
        return read_manifest(pull, name, &from->digest, from->size_bytes, got, out);
}

static struct error *read_top(struct pull *pull)
{
        struct digest pinned;
        const struct reference *reference = pull->reference;
        if (reference->digest)
                TRY(digest_parse(reference->digest, &pinned));
        return read_manifest(pull, reference->digest ? reference->digest : reference->tag,
                             reference->digest ? &pinned : NULL, -1, pull->top_digest, &pull->manifest);
}

/* What the reference names may be an index: then the image in it for this machine. */
static struct error *resolve(struct pull *pull)
{
        const struct manifest_reader reader = { read_entry, pull };
        struct manifest *image = NULL;
        if (pull->manifest->kind == MANIFEST_IMAGE)
                return NULL;
        TRY(manifest_resolve(pull->manifest, &reader, &image));
        manifest_free(pull->manifest);
        pull->manifest = image;
        return NULL;
}

/* What its names become. The arrays are the caller's. */
static void names_of(const struct pull *pull, char ***tags, char ***digests)
{
        _cleanup_(freep) char *repository = reference_repository(pull->reference);
        _cleanup_(freep) char *digest = format_string("%s@%s", repository, pull->top_digest);
        *tags = strings_empty();
        *digests = strings_empty();
        strings_add(digests, digest);
        if (pull->reference->tag) {
                _cleanup_(freep) char *tag = reference_name(pull->reference);
                strings_add(tags, tag);
        }
}

/* Behind the n_layers is their seam, or NULL. */
static struct error *commit(struct pull *pull, const char *id, const char *config_json, struct layer **layers,
                            size_t n_layers)
{
        _cleanup_(free_stringsp) char **tags = NULL, **digests = NULL;
        names_of(pull, &tags, &digests);
        const struct catalog_image image = {
                .id = id,
                .config_json = config_json,
                .config_bytes = strlen(config_json),
                .layers = layers,
                .n_layers = n_layers,
                .seam = layers[n_layers],
                .tags = tags,
                .digests = digests,
        };
        if (catalog_has(pull->images->catalog, &image))
                return NULL;
        return catalog_commit(pull->images->catalog, &image, 1);
}

/* An image that is here already, found by its id or by a digest of what names it: only names can be new. *found is false
 * where it is not, or goes at this moment. */
static struct error *adopt(struct pull *pull, const char *name, bool *found)
{
        struct layer **layers = NULL;
        size_t n = 0;
        _cleanup_(image_freep) struct image *image = NULL;
        *found = false;
        struct error *e = catalog_find(pull->images->catalog, name, &image);
        if (!e)
                e = catalog_pin_layers(pull->images->catalog, image->id, &layers, &n);
        if (e && error_code_of(e) == ERROR_NOT_FOUND) {
                error_ignore(e); /* it is fetched then */
                return NULL;
        }
        TRY(e);
        e = commit(pull, image->id, image->config_json, layers, strings_length(image->diff_ids));
        install_done(pull->images, layers, n);
        TRY(e);
        pull->id = dup_string(image->id);
        pull->was_here = true;
        *found = true;
        return NULL;
}

static struct error *adopt_by_digest(struct pull *pull, bool *found)
{
        _cleanup_(freep) char *repository = reference_repository(pull->reference);
        _cleanup_(freep) char *name = format_string("%s@%s", repository, pull->top_digest);
        return adopt(pull, name, found);
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
        if (e && manifest_odd_layer(pull->manifest))
                e = error_wrap(e, "a layer is a \"%.100s\"", manifest_odd_layer(pull->manifest));
        if (!e)
                e = commit(pull, pull->id, pull->config.bytes, layers, n);
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

/* The config says what the layers are; a type that images do not have, and no config of one, is something else. */
static struct error *fetch_config(struct pull *pull)
{
        char name[DIGEST_TEXT_SIZE];
        digest_format(&pull->manifest->config.digest, name);
        struct error *e = install_config(pull->puller, PULL_READ_BLOB, name, &pull->manifest->config.digest,
                                         pull->wait, &pull->config, &pull->diff_ids, &pull->id);
        if (!e && strings_length(pull->diff_ids) != pull->manifest->n)
                e = error_new(ERROR_INVALID_ARGUMENT, "the manifest has %zu layers, the config %zu",
                              pull->manifest->n, strings_length(pull->diff_ids));
        if (e && error_code_of(e) == ERROR_INVALID_ARGUMENT && !manifest_config_is_known(pull->manifest))
                e = error_as(error_wrap(e, "not a container image: its config is a \"%.100s\"",
                                        pull->manifest->config.media_type),
                             ERROR_UNIMPLEMENTED);
        return e;
}

/* What is here is not fetched: two requests at most find out. */
static struct error *fetch(struct pull *pull)
{
        char id[DIGEST_TEXT_SIZE];
        bool found = false;
        TRY(read_top(pull));
        TRY(adopt_by_digest(pull, &found));
        if (found)
                return NULL;
        TRY(resolve(pull));
        digest_format(&pull->manifest->config.digest, id);
        TRY(adopt(pull, id, &found));
        if (found)
                return NULL;
        TRY(fetch_config(pull));
        return fetch_layers(pull);
}

/* As they are configured now; the caller's. */
static char *registry_dirs(struct images *images)
{
        (void) pthread_mutex_lock(&images->settings_lock);
        char *dirs = dup_string(images->registry_dirs);
        (void) pthread_mutex_unlock(&images->settings_lock);
        return dirs;
}

static struct error *run(struct pull *pull, const struct image_auth *auth)
{
        const char *domain = pull->reference->domain;
        _cleanup_(hosts_done) struct hosts hosts = { NULL, 0, NULL };
        _cleanup_(freep) char *dirs = registry_dirs(pull->images);
        TRY(hosts_load(dirs, domain, &hosts));
        for (char **warning = hosts.warnings; warning && *warning; warning++)
                log_event(LOG_LEVEL_WARN, *warning, "registry", domain, NULL);
        TRY(puller_start_registry(&pull->images->puller, domain, pull->reference->path,
                                  auth_is_for(auth, domain) ? auth : NULL, &hosts, pull->wait,
                                  &pull->puller));
        return fetch(pull);
}

/* Who asks with other credentials may get another answer. */
static char *key_of(const char *name, const struct image_auth *auth)
{
        const char *const secrets[] = { auth ? auth->username : "",       auth ? auth->password : "",
                                        auth ? auth->auth : "",           auth ? auth->server_address : "",
                                        auth ? auth->identity_token : "", auth ? auth->registry_token : "" };
        struct buf all;
        struct digest digest;
        char text[DIGEST_TEXT_SIZE];
        buf_init(&all, 1 << 20);
        struct error *e = NULL;
        for (size_t i = 0; i < LENGTH(secrets) && !e; i++)
                e = buf_append(&all, secrets[i] ? secrets[i] : "", secrets[i] ? strlen(secrets[i]) + 1 : 1);
        digest_of(all.bytes, all.len_bytes, &digest);
        explicit_bzero(all.bytes, all.len_bytes);
        buf_done(&all);
        digest_format(&digest, text);
        if (e) { /* a megabyte of secrets: then nobody shares this pull */
                error_ignore(e);
                id_make(text);
        }
        return format_string("%s %s", name, text);
}

static struct error *pull_alone(struct images *images, struct reference *reference,
                                const struct image_auth *auth, const struct pull_watcher *watcher,
                                const struct wait *wait, char **out_id)
{
        _cleanup_(pull_done) struct pull pull = {
                .images = images, .reference = reference, .wait = wait, .watcher = watcher
        };
        buf_init(&pull.config, MANIFEST_LIMIT_BYTES);
        struct error *e = run(&pull, auth);
        if (e) {
                /* Whole layers without an image go; e is what went wrong, and a later collection tries again. */
                error_ignore(catalog_collect(images->catalog));
                return e;
        }
        if (pull.was_here)
                puller_keep(&images->puller, TAKE(pull.puller));
        *out_id = TAKE(pull.id);
        return NULL;
}

/* Many who want one image at once, as after a node's start, ask its registry once; but who wants to see how it gets on is
 * told of a pull of its own. */
static struct error *pull_shared(struct images *images, struct reference *reference,
                                 const struct image_auth *auth, int64_t asked_ns, const struct wait *wait,
                                 char **out_id)
{
        struct flight *lead = NULL;
        _cleanup_(freep) char *name = reference_name(reference), *key = key_of(name, auth), *id = NULL;
        struct error *e = flight_enter(images->pulls, key, asked_ns, wait, &lead, &id);
        if (!e && lead) {
                e = pull_alone(images, reference, auth, NULL, wait, &id);
                flight_end(images->pulls, lead, e, id);
        }
        if (!e)
                *out_id = TAKE(id);
        return e;
}

struct error *images_pull(struct images *images, const char *reference, const struct image_auth *auth,
                          const struct pull_watcher *watcher, int64_t asked_ns, const struct wait *wait,
                          char **out_id)
{
        _cleanup_(reference_freep) struct reference *parsed = NULL;
        TRY(check_credentials(auth));
        TRY(reference_parse(reference, &parsed));
        _cleanup_(freep) char *name = reference_name(parsed);
        struct error *e = watcher ? pull_alone(images, parsed, auth, watcher, wait, out_id)
                                  : pull_shared(images, parsed, auth, asked_ns, wait, out_id);
        return e ? error_wrap(e, "pull %s", name) : NULL;
}
