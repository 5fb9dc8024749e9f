/* The registry source: manifests and blobs of one repository from its endpoints, in their order.
 * Source: OCI distribution-spec. */
#include "base/buf.h"
#include "images/puller/auth.h"
#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

static const char manifest_types[] =
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
        "application/vnd.docker.distribution.manifest.list.v2+json, "
        "application/vnd.docker.distribution.manifest.v2+json";

struct endpoint {
        char *query; /* of a mirror: whose images it is asked for, "?ns=docker.io", as containerd does; else "" */
        bool can_resolve, can_pull, skip_verify;
        bool gets_credentials; /* it is the registry itself: a mirror must not learn its password */
        char *ca_pem, *cert_pem, *key_pem, *headers, *proxy;
        unsigned connect_ms;
        atomic_bool is_down;  /* nobody answers there: not asked again in this pull while others serve */
        pthread_mutex_t lock; /* below this */
        char *base;           /* "https://host/v2", no slash at the end */
        bool either_scheme;   /* and if that is not spoken there, the other: until one was */
        char *authorization;  /* what the last challenge was answered with, or NULL */
};

struct registry_source {
        struct source face; /* first */
        char *path;
        char *texts[PULL_TEXTS_REGISTRY];
        struct credentials credentials;
        struct proxies proxies;
        struct endpoint endpoints[PULL_ENDPOINTS_MAX];
        size_t n;
        unsigned stall_s;
};

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
        e = NULL;
        static const struct credentials none = { "", "", "", "", "" };
        const struct credentials *credentials = endpoint->gets_credentials ? &source->credentials : &none;
        TRY(auth_answer(credentials, fetch->challenge, fetch, &answer));
        authorization_set(endpoint, dup_string(answer));
        free(authorization);
        authorization = answer;
        fetch->authorization = authorization;
        return fetch_run(fetch);
}

/* What is asked for, over all endpoints: the next goes on where one broke off. */
struct wanted {
        bool is_manifest;
        const char *name;
        uint64_t limit_bytes, size_bytes, given_bytes;
        const struct taker *taker;
};

static struct error *fetch_at(struct registry_source *source, struct endpoint *endpoint, const char *base,
                              bool either_scheme, struct wanted *wanted, unsigned tries, struct fetch *fetch)
{
        _cleanup_(freep) char *url =
                format_string("%s/%s/%s/%s%s", base, source->path,
                              wanted->is_manifest ? "manifests" : "blobs", wanted->name, endpoint->query);
        *fetch = (struct fetch){ .url = url,
                                 .accept = wanted->is_manifest ? manifest_types : NULL,
                                 .ca_pem = endpoint->ca_pem,
                                 .cert_pem = endpoint->cert_pem,
                                 .key_pem = endpoint->key_pem,
                                 .headers = endpoint->headers,
                                 .skip_verify = endpoint->skip_verify,
                                 .proxy = endpoint->proxy,
                                 .proxies = &source->proxies,
                                 .connect_ms = endpoint->connect_ms,
                                 .either_scheme = either_scheme,
                                 .stall_s = source->stall_s,
                                 .tries = tries,
                                 .limit_bytes = wanted->limit_bytes,
                                 .size_bytes = wanted->size_bytes,
                                 .given_bytes = wanted->given_bytes,
                                 .taker = wanted->taker };
        struct error *e = run_authorized(source, endpoint, fetch);
        wanted->given_bytes = fetch->given_bytes;
        fetch->url = NULL;
        return e ? error_wrap(e, "%s", url) : NULL;
}

static char *base_get(struct endpoint *endpoint, bool *either_scheme)
{
        (void) pthread_mutex_lock(&endpoint->lock);
        char *base = dup_string(endpoint->base);
        *either_scheme = endpoint->either_scheme;
        (void) pthread_mutex_unlock(&endpoint->lock);
        return base;
}

/* From now on it is this one. */
static void base_settle(struct endpoint *endpoint, const char *base)
{
        (void) pthread_mutex_lock(&endpoint->lock);
        free(endpoint->base);
        endpoint->base = dup_string(base);
        endpoint->either_scheme = false;
        (void) pthread_mutex_unlock(&endpoint->lock);
}

static char *other_scheme_of(const char *base)
{
        bool is_tls = strncasecmp(base, "https:", 6) == 0;
        return format_string("%s%s", is_tls ? "http" : "https", strchr(base, ':'));
}

/* By the other scheme, after first; which is told when that is not spoken there either. */
static struct error *fetch_otherwise(struct registry_source *source, struct endpoint *endpoint,
                                     const char *base, struct wanted *wanted, unsigned tries,
                                     struct fetch *fetch, struct error *first)
{
        _cleanup_(freep) char *other = other_scheme_of(base);
        struct error *e = fetch_at(source, endpoint, other, true, wanted, tries, fetch);
        if (e && fetch->status == 0) {
                error_free(e);
                return first;
        }
        error_free(first);
        base_settle(endpoint, other);
        return e;
}

/* *answered: it has said something, also where that is no. */
static struct error *fetch_from(struct registry_source *source, struct endpoint *endpoint,
                                struct wanted *wanted, unsigned tries, char **media_type, bool *answered)
{
        bool either_scheme;
        _cleanup_(fetch_done) struct fetch fetch = { .url = NULL };
        _cleanup_(freep) char *base = base_get(endpoint, &either_scheme);
        struct error *e = fetch_at(source, endpoint, base, either_scheme, wanted, tries, &fetch);
        if (e && either_scheme && fetch.other_scheme) {
                fetch_done(&fetch);
                e = fetch_otherwise(source, endpoint, base, wanted, tries, &fetch, e);
        } else if (either_scheme && fetch.status) {
                base_settle(endpoint, base);
        }
        *answered = fetch.status != 0;
        if (e && !fetch.connected)
                atomic_store(&endpoint->is_down, true);
        if (!e && media_type)
                *media_type = TAKE(fetch.media_type);
        return e;
}

static bool is_tag(const char *name)
{
        return strncmp(name, "sha256:", 7) != 0;
}

static bool serves(const struct endpoint *endpoint, const struct wanted *wanted)
{
        return wanted->is_manifest && is_tag(wanted->name) ? endpoint->can_resolve : endpoint->can_pull;
}

/* Whether another endpoint can have what this one has not: of a manifest the next one would begin anew. */
static bool may_go_on(const struct error *e, const struct wanted *wanted)
{
        if (wanted->given_bytes == 0)
                return true;
        return !wanted->is_manifest && error_code_of(e) == ERROR_UNAVAILABLE;
}

/* What the endpoints have said so far: the error that says most is told with its code, the others beside it, each once. */
struct verdict {
        struct error *told;
        bool answered;
        char *others;
};

static void note_other(struct verdict *verdict, const char *message)
{
        if (strstr(error_message(verdict->told), message) ||
            (verdict->others && strstr(verdict->others, message)))
                return;
        char *both =
                verdict->others ? format_string("%s; %s", verdict->others, message) : dup_string(message);
        free(verdict->others);
        verdict->others = both;
}

/* An answer says more than none, and the registry's own, which comes last, more than a mirror's. */
static void verdict_add(struct verdict *verdict, struct error *e, bool answered)
{
        struct error *before = verdict->told, *other = e;
        if (!before || answered || !verdict->answered) {
                verdict->told = e;
                verdict->answered = answered;
                other = before;
        }
        if (other)
                note_other(verdict, error_message(other));
        error_free(other);
}

static struct error *verdict_tell(struct verdict *verdict)
{
        struct error *e =
                verdict->told ? verdict->told : error_new(ERROR_UNAVAILABLE, "no endpoint serves this");
        if (verdict->others) {
                struct error *both =
                        error_new(error_code_of(e), "%s (also: %s)", error_message(e), verdict->others);
                error_free(e);
                e = both;
        }
        free(verdict->others);
        return e;
}

static struct error *fetch_over_all(struct registry_source *source, struct wanted *wanted, char **media_type)
{
        struct verdict verdict = { .told = NULL };
        for (size_t i = 0; i < source->n; i++) {
                struct endpoint *endpoint = &source->endpoints[i];
                bool is_last = i + 1 == source->n, answered = false;
                struct error *e;
                if (!serves(endpoint, wanted))
                        continue;
                if (!is_last && atomic_load(&endpoint->is_down)) {
                        bool either_scheme;
                        _cleanup_(freep) char *base = base_get(endpoint, &either_scheme);
                        verdict_add(&verdict, error_new(ERROR_UNAVAILABLE, "%s did not answer", base), false);
                        continue;
                }
                e = fetch_from(source, endpoint, wanted, is_last ? 0 : 1, media_type, &answered);
                if (!e) {
                        error_free(verdict.told);
                        free(verdict.others);
                        return NULL;
                }
                bool goes_on = may_go_on(e, wanted);
                verdict_add(&verdict, e, answered);
                if (!goes_on)
                        break;
        }
        return verdict_tell(&verdict);
}

static struct error *registry_fetch(struct source *face, const struct source_request *request,
                                    const struct taker *taker, char **media_type)
{
        enum pull_type type = request->type;
        struct wanted wanted = { .is_manifest = type == PULL_READ_MANIFEST,
                                 .name = request->name,
                                 .limit_bytes = type == PULL_STREAM_BLOB ? 0 : request->size_bytes,
                                 .size_bytes = type == PULL_STREAM_BLOB ? request->size_bytes : 0,
                                 .taker = taker };
        if (!wanted.is_manifest && type != PULL_READ_BLOB && type != PULL_STREAM_BLOB)
                return error_new(ERROR_INTERNAL, "a registry has only manifests and blobs");
        return fetch_over_all((struct registry_source *) face, &wanted, media_type);
}

static const struct source_ops registry_ops = { .fetch = registry_fetch };

/* Debian's bundle: an operator's CA is trusted beside it, for a registry may send us elsewhere for its blobs. */
static char *ca_beside_system(const char *ca_pem)
{
        if (!*ca_pem)
                return dup_string("");
        struct buf all;
        buf_init(&all, 8 << 20);
        _cleanup_(closep) int fd = open("/etc/ssl/certs/ca-certificates.crt", O_RDONLY | O_CLOEXEC);
        struct error *e = buf_append_text(&all, ca_pem);
        if (!e && fd >= 0)
                e = buf_read_all(&all, fd);
        error_ignore(e); /* then the operator's alone */
        return buf_take_text(&all);
}

/* A mirror that serves several registries knows by this which is meant: "?ns=DOMAIN", an escaped colon in it. */
static char *query_of(const char *url, const char *domain)
{
        const char *authority = strstr(url, "://");
        size_t len_bytes = authority ? strcspn(authority + 3, "/") : 0;
        const char *host = strcmp(domain, "docker.io") == 0 ? "registry-1.docker.io" : domain;
        if (authority && strlen(host) == len_bytes && strncasecmp(authority + 3, host, len_bytes) == 0)
                return dup_string("");
        char *escaped = curl_easy_escape(NULL, domain, 0);
        char *query = format_string("?ns=%s", escaped ? escaped : domain);
        curl_free(escaped);
        return query;
}

struct error *registry_source_endpoint(struct source *face, const char *const texts[PULL_TEXTS_ENDPOINT],
                                       unsigned flags, unsigned connect_ms)
{
        struct registry_source *source = (struct registry_source *) face;
        const char *url = texts[PULL_TEXT_URL];
        if (face->ops != &registry_ops)
                return error_new(ERROR_INTERNAL, "an endpoint without a registry");
        if (source->n == PULL_ENDPOINTS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %d endpoints", PULL_ENDPOINTS_MAX);
        struct endpoint *endpoint = &source->endpoints[source->n++];
        *endpoint = (struct endpoint){ .base = dup_string(url),
                                       .query = query_of(url, source->texts[PULL_TEXT_DOMAIN]),
                                       .can_resolve = flags & PULL_ENDPOINT_RESOLVE,
                                       .can_pull = flags & PULL_ENDPOINT_PULL,
                                       .skip_verify = flags & PULL_ENDPOINT_SKIP_VERIFY,
                                       .either_scheme = flags & PULL_ENDPOINT_EITHER_SCHEME,
                                       .gets_credentials = flags & PULL_ENDPOINT_CREDENTIALS,
                                       .ca_pem = ca_beside_system(texts[PULL_TEXT_CA]),
                                       .cert_pem = dup_string(texts[PULL_TEXT_CERT]),
                                       .key_pem = dup_string(texts[PULL_TEXT_KEY]),
                                       .headers = dup_string(texts[PULL_TEXT_HEADERS]),
                                       .proxy = dup_string(texts[PULL_TEXT_PROXY]),
                                       .connect_ms = connect_ms };
        (void) pthread_mutex_init(&endpoint->lock, NULL);
        return NULL;
}

/* The process lives for this one source: it is never freed. */
struct error *registry_source_open(const char *const texts[PULL_TEXTS_REGISTRY], unsigned stall_s,
                                   struct source **out)
{
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return error_new(ERROR_INTERNAL, "curl does not start");
        struct registry_source *source = NEW(struct registry_source);
        source->face.ops = &registry_ops;
        source->stall_s = stall_s;
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
        source->proxies = (struct proxies){ .http = source->texts[PULL_TEXT_HTTP_PROXY],
                                            .https = source->texts[PULL_TEXT_HTTPS_PROXY],
                                            .none = source->texts[PULL_TEXT_NO_PROXY] };
        *out = &source->face;
        return NULL;
}
