/* The registry source: manifests and blobs of one repository from its endpoints, in their order.
 * Source: OCI distribution-spec. */
#include "images/puller/auth.h"
#include <curl/curl.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

static const char manifest_types[] =
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
        "application/vnd.docker.distribution.manifest.list.v2+json, "
        "application/vnd.docker.distribution.manifest.v2+json";

struct endpoint {
        char *base; /* "https://host/v2", no slash at the end */
        bool can_resolve, can_pull, skip_verify;
        bool gets_credentials; /* it is the registry itself: a mirror must not learn its password */
        char *ca_pem;
        pthread_mutex_t lock;
        char *authorization; /* what the last challenge was answered with, or NULL */
};

struct registry_source {
        struct source face; /* first */
        char *path;
        char *texts[PULL_TEXTS_REGISTRY];
        struct credentials credentials;
        const char *host; /* of the registry, with its port: who may have the credentials */
        struct endpoint endpoints[PULL_ENDPOINTS_MAX];
        size_t n;
        bool is_default; /* the one endpoint was not configured */
};

static bool is_loopback(const char *domain)
{
        return strncmp(domain, "127.", 4) == 0 || strncmp(domain, "[::1]", 5) == 0 ||
               strcmp(domain, "localhost") == 0 || strncmp(domain, "localhost:", 10) == 0;
}

static char *authorization_get(struct endpoint *endpoint)
{
        (void) pthread_mutex_lock(&endpoint->lock);
        char *authorization = dup_string(endpoint->authorization);
        (void) pthread_mutex_unlock(&endpoint->lock);
        return authorization;
}

static void authorization_set(struct endpoint *endpoint, char *authorization)
{
        (void) pthread_mutex_lock(&endpoint->lock);
        free(endpoint->authorization);
        endpoint->authorization = authorization;
        (void) pthread_mutex_unlock(&endpoint->lock);
}

/* Runs it; a 401 is answered once, with what the challenge asks for (a token may also have expired). */
static struct error *run_authorized(struct registry_source *source, struct endpoint *endpoint,
                                    struct fetch *fetch)
{
        _cleanup_(freep) char *authorization = authorization_get(endpoint);
        fetch->authorization = authorization;
        struct error *e = fetch_run(fetch);
        if (!e || fetch->status != 401 || !fetch->challenge)
                return e;
        char *answer = NULL;
        error_free(e); /* the answer to the challenge tells, or the second try */
        static const struct credentials none = { "", "", "", "", "" };
        const struct credentials *credentials = endpoint->gets_credentials ? &source->credentials : &none;
        TRY(auth_answer(credentials, fetch->challenge, fetch, &answer));
        authorization_set(endpoint, dup_string(answer));
        free(authorization);
        authorization = answer;
        fetch->authorization = authorization;
        return fetch_run(fetch);
}

static struct error *fetch_from(struct registry_source *source, struct endpoint *endpoint, bool is_manifest,
                                const char *name, uint64_t limit_bytes, const struct taker *taker,
                                char **media_type)
{
        _cleanup_(freep) char *url = format_string("%s/%s/%s/%s", endpoint->base, source->path,
                                                   is_manifest ? "manifests" : "blobs", name);
        _cleanup_(fetch_done) struct fetch fetch = { .url = url,
                                                     .accept = is_manifest ? manifest_types : NULL,
                                                     .ca_pem = endpoint->ca_pem,
                                                     .skip_verify = endpoint->skip_verify,
                                                     .limit_bytes = limit_bytes,
                                                     .taker = taker };
        TRY_WRAP(run_authorized(source, endpoint, &fetch), "%s", url);
        if (media_type)
                *media_type = TAKE(fetch.media_type);
        return NULL;
}

/* Counts what went through, so that nothing is given twice when the next endpoint is tried. */
struct counted {
        const struct taker *to;
        uint64_t bytes;
};

static struct error *take_counted(void *context, const void *bytes, size_t len_bytes)
{
        struct counted *counted = context;
        counted->bytes += len_bytes;
        return counted->to->take(counted->to->context, bytes, len_bytes);
}

static bool is_tag(const char *name)
{
        return strncmp(name, "sha256:", 7) != 0;
}

static struct error *registry_fetch(struct source *face, enum pull_type type, const char *name,
                                    uint64_t limit_bytes, const struct taker *taker, char **media_type)
{
        struct registry_source *source = (struct registry_source *) face;
        struct counted counted = { taker, 0 };
        const struct taker counting = { take_counted, &counted };
        bool is_manifest = type == PULL_READ_MANIFEST;
        struct error *last = NULL;
        if (!is_manifest && type != PULL_READ_BLOB && type != PULL_STREAM_BLOB)
                return error_new(ERROR_INTERNAL, "a registry has only manifests and blobs");
        for (size_t i = 0; i < source->n; i++) {
                struct endpoint *endpoint = &source->endpoints[i];
                if (is_manifest && is_tag(name) ? !endpoint->can_resolve : !endpoint->can_pull)
                        continue;
                error_free(last); /* the last endpoint tells: it is the registry itself */
                last = fetch_from(source, endpoint, is_manifest, name, limit_bytes, &counting, media_type);
                if (!last || counted.bytes)
                        return last;
        }
        return last ? last : error_new(ERROR_UNAVAILABLE, "no endpoint serves this");
}

static const struct source_ops registry_ops = { .fetch = registry_fetch };

/* Whether the URL's host and port are host. */
static bool is_host_of(const char *url, const char *host)
{
        const char *from = strstr(url, "://");
        from = from ? from + 3 : url;
        size_t n = strcspn(from, "/?#");
        return n == strlen(host) && strncasecmp(from, host, n) == 0;
}

static void endpoint_put(struct registry_source *source, const char *url, unsigned flags, const char *ca_pem)
{
        struct endpoint *endpoint = &source->endpoints[source->n++];
        size_t n = strlen(url);
        while (n && url[n - 1] == '/')
                n--;
        const char *suffix = flags & PULL_ENDPOINT_OVERRIDE_PATH ? "" : "/v2";
        *endpoint = (struct endpoint){ .base = format_string("%.*s%s", (int) n, url, suffix),
                                       .can_resolve = flags & PULL_ENDPOINT_RESOLVE,
                                       .can_pull = flags & PULL_ENDPOINT_PULL,
                                       .skip_verify = flags & PULL_ENDPOINT_SKIP_VERIFY,
                                       .gets_credentials = is_host_of(url, source->host),
                                       .ca_pem = dup_string(ca_pem) };
        (void) pthread_mutex_init(&endpoint->lock, NULL);
}

struct error *registry_source_endpoint(struct source *face, const char *url, unsigned flags,
                                       const char *ca_pem)
{
        struct registry_source *source = (struct registry_source *) face;
        if (face->ops != &registry_ops)
                return error_new(ERROR_INTERNAL, "an endpoint without a registry");
        if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "endpoint %s: neither http nor https", url);
        if (source->is_default) {
                free(source->endpoints[0].base);
                source->n = 0;
                source->is_default = false;
        }
        if (source->n == PULL_ENDPOINTS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %d endpoints", PULL_ENDPOINTS_MAX);
        endpoint_put(source, url, flags, ca_pem);
        return NULL;
}

/* The process lives for this one source: it is never freed. */
struct error *registry_source_open(const char *const texts[PULL_TEXTS_REGISTRY], struct source **out)
{
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return error_new(ERROR_INTERNAL, "curl does not start");
        struct registry_source *source = NEW(struct registry_source);
        source->face.ops = &registry_ops;
        for (size_t i = 0; i < PULL_TEXTS_REGISTRY; i++)
                source->texts[i] = dup_string(texts[i]);
        source->path = source->texts[PULL_TEXT_PATH];
        source->credentials = (struct credentials){
                .username = source->texts[PULL_TEXT_USERNAME],
                .password = source->texts[PULL_TEXT_PASSWORD],
                .auth = source->texts[PULL_TEXT_AUTH],
                .identity_token = source->texts[PULL_TEXT_IDENTITY_TOKEN],
                .registry_token = source->texts[PULL_TEXT_REGISTRY_TOKEN],
        };
        const char *domain = source->texts[PULL_TEXT_DOMAIN];
        source->host = strcmp(domain, "docker.io") == 0 ? "registry-1.docker.io" : domain;
        _cleanup_(freep) char *url =
                format_string("%s://%s", is_loopback(domain) ? "http" : "https", source->host);
        endpoint_put(source, url, PULL_ENDPOINT_RESOLVE | PULL_ENDPOINT_PULL, "");
        source->is_default = true;
        *out = &source->face;
        return NULL;
}
