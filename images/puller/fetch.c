#include "images/puller/fetch.h"
#include "base/authorities.h"
#include "base/clock.h"
#include "images/loopback.h"
#include "images/puller/handle.h"
#include <curl/curl.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum {
        TRIES_MAX = 4,
        CONNECTS_MAX = 3, /* where nobody listens */
        STALL_S = 30,
        STALLS_MAX = 2,
        CONNECT_MS = 15000,
        REDIRECTS_MAX = 5,
        RETRY_AFTER_MAX_S = 20,
        PROGRESS_BYTES = 64 << 10, /* a try that brought so much was worth it */
};

/* One try. */
struct attempt {
        struct fetch *fetch;
        CURL *curl;
        const char *url;      /* of this hop */
        bool is_own_host;     /* the hop goes to the URL's own host: it may have the secrets */
        uint64_t from_bytes;  /* where this one resumes */
        uint64_t skip_bytes;  /* a server that cannot resume gives what we have once more */
        uint64_t range_bytes; /* where the answer says that it begins */
        bool is_content;      /* the answer is what was asked for */
        bool decided;
        struct error *failure; /* of the taker, or ours */
        long retry_after_s;
        int64_t moved_ns; /* when something last came */
        bool stalled;
        char reason[CURL_ERROR_SIZE];
};

/* At the answer's first byte: is it what was asked for? */
static void decide(struct attempt *attempt)
{
        long status = 0;
        (void) curl_easy_getinfo(attempt->curl, CURLINFO_RESPONSE_CODE, &status);
        attempt->decided = true;
        attempt->is_content = status == 200 || status == 206;
        if (status == 200)
                attempt->skip_bytes = attempt->from_bytes;
        if (status == 206 && attempt->range_bytes != attempt->from_bytes)
                attempt->failure = error_new(ERROR_DATA_LOSS, "the server resumes at byte %llu, not %llu",
                                             (unsigned long long) attempt->range_bytes,
                                             (unsigned long long) attempt->from_bytes);
}

static struct error *give(struct fetch *fetch, const char *bytes, size_t len_bytes)
{
        uint64_t bytes_then = fetch->given_bytes + len_bytes;
        if (fetch->size_bytes && bytes_then > fetch->size_bytes)
                return error_new(ERROR_DATA_LOSS, "longer than the %llu bytes it should have",
                                 (unsigned long long) fetch->size_bytes);
        if (fetch->limit_bytes && bytes_then > fetch->limit_bytes)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "larger than %llu bytes",
                                 (unsigned long long) fetch->limit_bytes);
        TRY(fetch->taker->take(fetch->taker->context, bytes, len_bytes));
        fetch->given_bytes = bytes_then;
        return NULL;
}

static size_t on_body(char *bytes, size_t one, size_t len_bytes, void *context)
{
        struct attempt *attempt = context;
        (void) one; /* always 1 */
        if (!attempt->decided)
                decide(attempt);
        if (attempt->failure)
                return 0;
        if (!attempt->is_content) /* an error's page */
                return len_bytes;
        size_t skipped = attempt->skip_bytes < len_bytes ? (size_t) attempt->skip_bytes : len_bytes;
        attempt->skip_bytes -= skipped;
        if (skipped < len_bytes)
                attempt->failure = give(attempt->fetch, bytes + skipped, len_bytes - skipped);
        attempt->moved_ns =
                clock_monotonic_ns(); /* after the taker: its reader's time is not the registry's */
        return attempt->failure ? 0 : len_bytes;
}

/* The value of header `name` in a line, or NULL; the caller's. */
static char *header_value(const char *line, size_t len_bytes, const char *name)
{
        size_t name_bytes = strlen(name);
        if (len_bytes <= name_bytes || strncasecmp(line, name, name_bytes) != 0 || line[name_bytes] != ':')
                return NULL;
        const char *value = line + name_bytes + 1, *end = line + len_bytes;
        while (value < end && (*value == ' ' || *value == '\t'))
                value++;
        while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
                end--;
        return dup_bytes(value, (size_t) (end - value));
}

/* Seconds, or a date. */
static long retry_after_of(const char *value)
{
        char *end = NULL;
        long seconds = strtol(value, &end, 10);
        if (end != value && !*end)
                return seconds;
        time_t when = curl_getdate(value, NULL), now = time(NULL);
        return when > now ? (long) (when - now) : 0;
}

static size_t on_header(char *line, size_t one, size_t len_bytes, void *context)
{
        struct attempt *attempt = context;
        (void) one; /* always 1 */
        attempt->moved_ns = clock_monotonic_ns();
        char *challenge = header_value(line, len_bytes, "www-authenticate");
        /* Of several the Bearer one is what we can do best. One of another host is not for us to answer. */
        if (challenge && attempt->is_own_host &&
            (!attempt->fetch->challenge || strncasecmp(challenge, "bearer", 6) == 0)) {
                free(attempt->fetch->challenge);
                attempt->fetch->challenge = TAKE(challenge);
        }
        free(challenge);
        _cleanup_(freep) char *after = header_value(line, len_bytes, "retry-after"),
                              *range = header_value(line, len_bytes, "content-range");
        if (after)
                attempt->retry_after_s = retry_after_of(after);
        if (range && strncasecmp(range, "bytes ", 6) == 0)
                attempt->range_bytes = strtoull(range + 6, NULL, 10);
        return len_bytes;
}

/* Called about once a second when nothing comes. curl's own low-speed limit is an average: a little at the start and it
 * waits much longer. */
static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
        struct attempt *attempt = context;
        (void) a, (void) b, (void) c, (void) d;
        int64_t patience_ns = (int64_t) attempt->fetch->stall_s * 1000000000;
        attempt->stalled = clock_monotonic_ns() - attempt->moved_ns > patience_ns;
        return attempt->stalled;
}

static void set_blob(CURL *curl, CURLoption option, const char *pem)
{
        struct curl_blob blob = { (void *) (uintptr_t) pem, strlen(pem), CURL_BLOB_NOCOPY };
        (void) curl_easy_setopt(curl, option, &blob);
}

/* libcurl's own place is that of the distribution that it is from. */
static void set_authorities(CURL *curl)
{
        static const char *const places[] = { AUTHORITIES_PLACES };
        for (size_t i = 0; i < LENGTH(places); i++)
                if (access(places[i], R_OK) == 0) {
                        (void) curl_easy_setopt(curl, CURLOPT_CAINFO, places[i]);
                        return;
                }
}

static void set_tls(struct attempt *attempt)
{
        const struct fetch *fetch = attempt->fetch;
        CURL *curl = attempt->curl;
        bool skip = fetch->skip_verify && attempt->is_own_host;
        (void) curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, skip ? 0L : 1L);
        (void) curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, skip ? 0L : 2L);
        if (fetch->ca_pem && *fetch->ca_pem)
                set_blob(curl, CURLOPT_CAINFO_BLOB, fetch->ca_pem);
        else
                set_authorities(curl);
        if (!attempt->is_own_host || !fetch->cert_pem || !*fetch->cert_pem)
                return;
        set_blob(curl, CURLOPT_SSLCERT_BLOB, fetch->cert_pem);
        set_blob(curl, CURLOPT_SSLKEY_BLOB, *fetch->key_pem ? fetch->key_pem : fetch->cert_pem);
}

/* The host of a URL; the caller's. */
static char *host_of(const char *url)
{
        char *part = NULL;
        CURLU *parsed = curl_url();
        if (parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
                (void) curl_url_get(parsed, CURLUPART_HOST, &part, 0);
        char *host = dup_string(part ? part : "");
        curl_free(part);
        curl_url_cleanup(parsed);
        return host;
}

/* The proxy of a host is for it whatever else is said. The environment's is never for the loopback, as everywhere. */
static void set_proxy(const struct attempt *attempt)
{
        const struct fetch *fetch = attempt->fetch;
        bool is_own = fetch->proxy && *fetch->proxy;
        const char *proxy = "";
        if (is_own) {
                proxy = strcmp(fetch->proxy, "-") == 0 ? "" : fetch->proxy;
        } else if (fetch->proxies) {
                _cleanup_(freep) char *host = host_of(attempt->url);
                bool is_tls = strncasecmp(attempt->url, "https:", 6) == 0;
                if (!is_loopback(host))
                        proxy = is_tls ? fetch->proxies->https : fetch->proxies->http;
        }
        (void) curl_easy_setopt(attempt->curl, CURLOPT_PROXY, proxy); /* "": none, whatever curl finds */
        (void) curl_easy_setopt(attempt->curl, CURLOPT_NOPROXY,
                                is_own || !fetch->proxies ? "" : fetch->proxies->none);
}

static void set_up(struct attempt *attempt, struct curl_slist *headers)
{
        CURL *curl = attempt->curl;
        struct fetch *fetch = attempt->fetch;
        char range[32];
        (void) curl_easy_setopt(curl, CURLOPT_URL, attempt->url);
        (void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, attempt->reason);
        (void) curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        (void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "skiff/" SKIFF_VERSION);
        (void) curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, attempt);
        (void) curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
        (void) curl_easy_setopt(curl, CURLOPT_HEADERDATA, attempt);
        (void) curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
        (void) curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                                fetch->connect_ms ? (long) fetch->connect_ms : (long) CONNECT_MS);
        (void) curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void) curl_easy_setopt(curl, CURLOPT_XFERINFODATA, attempt);
        (void) curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        (void) curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION,
                                0L); /* try_once does, and knows whom to tell what */
        (void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        set_tls(attempt);
        set_proxy(attempt);
        if (fetch->post)
                (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, fetch->post);
        /* Not RESUME_FROM, which takes a whole answer for a failure. */
        (void) snprintf(range, sizeof(range), "%llu-", (unsigned long long) attempt->from_bytes);
        if (attempt->from_bytes)
                (void) curl_easy_setopt(curl, CURLOPT_RANGE, range);
}

static struct curl_slist *append_lines(struct curl_slist *headers, const char *lines)
{
        for (const char *s = lines; s && *s;) {
                size_t n = strcspn(s, "\n");
                _cleanup_(freep) char *line = dup_bytes(s, n);
                headers = curl_slist_append(headers, line);
                s += n;
                s += *s == '\n';
        }
        return headers;
}

static struct curl_slist *make_headers(const struct attempt *attempt)
{
        const struct fetch *fetch = attempt->fetch;
        struct curl_slist *headers = NULL;
        if (fetch->accept) {
                _cleanup_(freep) char *line = format_string("Accept: %s", fetch->accept);
                headers = curl_slist_append(headers, line);
        }
        if (!attempt->is_own_host)
                return headers;
        if (fetch->authorization) {
                _cleanup_(freep) char *line = format_string("Authorization: %s", fetch->authorization);
                headers = curl_slist_append(headers, line);
        }
        return append_lines(headers, fetch->headers);
}

static bool curl_may_pass(CURLcode code)
{
        switch (code) {
        case CURLE_COULDNT_CONNECT:
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_OPERATION_TIMEDOUT:
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_GOT_NOTHING:
        case CURLE_SSL_CONNECT_ERROR:
                return true;
        default:
                return false;
        }
}

static struct error *status_error(const struct fetch *fetch)
{
        switch (fetch->status) {
        case 401:
                return error_new(ERROR_UNAUTHENTICATED, "the registry wants other credentials (HTTP 401)");
        case 403:
                return error_new(ERROR_PERMISSION_DENIED, "the registry refuses (HTTP 403)");
        case 404:
                return error_new(ERROR_NOT_FOUND, "not found (HTTP 404)");
        case 416: /* there is no more of it */
                return error_new(ERROR_DATA_LOSS, "it ends after %llu of %llu bytes",
                                 (unsigned long long) fetch->given_bytes,
                                 (unsigned long long) fetch->size_bytes);
        case 429:
                return error_new(ERROR_UNAVAILABLE, "the registry has had too many requests (HTTP 429)");
        default:
                return error_new(ERROR_UNAVAILABLE, "the registry answers HTTP %ld", fetch->status);
        }
}

static bool status_may_pass(long status)
{
        return status == 408 || status == 429 || status >= 500;
}

/* What became of one try. */
struct outcome {
        bool again; /* the failure may pass */
        bool stalled;
        long retry_after_s;
};

/* TLS where HTTP was sent, or HTTP where TLS began: by what curl and OpenSSL make of the first bytes. A name without a port
 * that refuses one port may serve on the other. */
static bool is_other_scheme(const struct attempt *attempt, CURLcode code)
{
        bool is_tls = strncasecmp(attempt->url, "https:", 6) == 0;
        if (!attempt->is_own_host || attempt->decided)
                return false;
        switch (code) {
        case CURLE_SSL_CONNECT_ERROR:
                return is_tls && (strstr(attempt->reason, "wrong version number") ||
                                  strstr(attempt->reason, "http request"));
        case CURLE_COULDNT_CONNECT:
                return is_tls && !strrchr(attempt->url + strlen("https:"), ':');
        case CURLE_GOT_NOTHING:
        case CURLE_RECV_ERROR:
        case CURLE_WEIRD_SERVER_REPLY:
        case CURLE_UNSUPPORTED_PROTOCOL: /* "HTTP/0.9": no status line */
                return !is_tls;
        default:
                return false;
        }
}

/* What curl calls one thing is three to who has to mend it. */
static struct error *connect_error(const struct attempt *attempt, CURLcode code)
{
        long errnum = 0;
        _cleanup_(freep) char *host = host_of(attempt->url);
        (void) curl_easy_getinfo(attempt->curl, CURLINFO_OS_ERRNO, &errnum);
        if (code == CURLE_COULDNT_RESOLVE_HOST)
                return error_new(ERROR_UNAVAILABLE, "no such host: \"%s\" is not resolved", host);
        if (code == CURLE_COULDNT_RESOLVE_PROXY)
                return error_new(ERROR_UNAVAILABLE, "no such host: the proxy's name is not resolved");
        if (code == CURLE_COULDNT_CONNECT && errnum)
                return error_new(ERROR_UNAVAILABLE, "connect to %s: %s", host, strerror((int) errnum));
        return error_new(ERROR_UNAVAILABLE, "%s",
                         *attempt->reason ? attempt->reason : curl_easy_strerror(code));
}

static struct error *curl_failure(struct attempt *attempt, CURLcode code, struct outcome *outcome)
{
        struct fetch *fetch = attempt->fetch;
        fetch->other_scheme = is_other_scheme(attempt, code);
        /* A TLS alert (no certificate of ours, one it does not like) is an answer: it will be the same again. */
        outcome->again = (attempt->stalled || curl_may_pass(code)) && !strstr(attempt->reason, " alert ") &&
                         !(fetch->other_scheme && fetch->either_scheme);
        outcome->stalled = attempt->stalled;
        if (attempt->stalled)
                return error_new(ERROR_UNAVAILABLE,
                                 "the registry stalled: not a byte in %u seconds, after %llu bytes",
                                 fetch->stall_s, (unsigned long long) fetch->given_bytes);
        if (code == CURLE_UNSUPPORTED_PROTOCOL && !attempt->is_own_host)
                return error_new(ERROR_UNAVAILABLE, "a redirect to what is neither http nor https");
        return connect_error(attempt, code);
}

static struct error *perform(struct attempt *attempt, struct outcome *outcome)
{
        char *type = NULL;
        curl_off_t connect_us = 0;
        struct fetch *fetch = attempt->fetch;
        CURLcode code = curl_easy_perform(attempt->curl);
        (void) curl_easy_getinfo(attempt->curl, CURLINFO_RESPONSE_CODE, &fetch->status);
        (void) curl_easy_getinfo(attempt->curl, CURLINFO_PRETRANSFER_TIME_T, &connect_us);
        fetch->connected |= connect_us > 0;
        outcome->retry_after_s = attempt->retry_after_s;
        if (attempt->failure)
                return TAKE(attempt->failure);
        if (code != CURLE_OK)
                return curl_failure(attempt, code, outcome);
        if (fetch->status >= 300 && fetch->status < 400)
                return NULL;
        if (fetch->status != 200 && fetch->status != 206) {
                outcome->again = status_may_pass(fetch->status);
                /* "Client sent an HTTP request to an HTTPS server", as Go's and nginx's have it. */
                fetch->other_scheme = fetch->status == 400 && strncasecmp(attempt->url, "http:", 5) == 0;
                return status_error(fetch);
        }
        if (fetch->size_bytes && fetch->given_bytes < fetch->size_bytes) {
                outcome->again = true; /* without a length a cut looks like an end */
                return error_new(ERROR_DATA_LOSS, "it ends after %llu of %llu bytes",
                                 (unsigned long long) fetch->given_bytes,
                                 (unsigned long long) fetch->size_bytes);
        }
        (void) curl_easy_getinfo(attempt->curl, CURLINFO_CONTENT_TYPE, &type);
        free(fetch->media_type);
        fetch->media_type = type ? dup_bytes(type, strcspn(type, "; \t")) : dup_string("");
        return NULL;
}

bool fetch_same_origin(const char *a, const char *b)
{
        static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };
        CURLU *urls[2] = { curl_url(), curl_url() };
        bool same = urls[0] && urls[1] && curl_url_set(urls[0], CURLUPART_URL, a, 0) == CURLUE_OK &&
                    curl_url_set(urls[1], CURLUPART_URL, b, 0) == CURLUE_OK;
        for (size_t i = 0; i < LENGTH(parts) && same; i++) {
                char *texts[2] = { NULL, NULL };
                for (size_t j = 0; j < LENGTH(texts); j++)
                        same &= curl_url_get(urls[j], parts[i], &texts[j], CURLU_DEFAULT_PORT) == CURLUE_OK;
                same = same && strcasecmp(texts[0], texts[1]) == 0;
                curl_free(texts[0]);
                curl_free(texts[1]);
        }
        curl_url_cleanup(urls[0]);
        curl_url_cleanup(urls[1]);
        return same;
}

/* One request of a try. *next: where a redirect leads to, or NULL. */
static struct error *hop(struct fetch *fetch, const char *url, struct outcome *outcome, char **next)
{
        char *to = NULL;
        struct attempt attempt = { .fetch = fetch,
                                   .url = url,
                                   .is_own_host = fetch_same_origin(url, fetch->url),
                                   .from_bytes = fetch->given_bytes,
                                   .moved_ns = clock_monotonic_ns(),
                                   .curl = handle_take() };
        if (!attempt.curl)
                return error_errno(ENOMEM, "curl");
        struct curl_slist *headers = make_headers(&attempt);
        set_up(&attempt, headers);
        struct error *e = perform(&attempt, outcome);
        if (!e && fetch->status >= 300) {
                (void) curl_easy_getinfo(attempt.curl, CURLINFO_REDIRECT_URL, &to);
                if (!to)
                        e = error_new(ERROR_UNAVAILABLE, "the registry answers HTTP %ld", fetch->status);
                else if (strncasecmp(url, "https:", 6) == 0 && strncasecmp(to, "https:", 6) != 0)
                        e = error_new(ERROR_UNAVAILABLE, "a redirect leads from https to %s", to);
                else
                        *next = dup_string(to);
        }
        curl_slist_free_all(headers);
        handle_give(attempt.curl);
        return e;
}

static struct error *try_once(struct fetch *fetch, struct outcome *outcome)
{
        _cleanup_(freep) char *url = dup_string(fetch->url);
        for (int i = 0; i <= REDIRECTS_MAX; i++) {
                char *next = NULL;
                struct error *e = hop(fetch, url, outcome, &next);
                if (e)
                        return i > 0 ? error_wrap(e, "redirected to %.*s", (int) strcspn(url, "?"), url) : e;
                if (!next)
                        return NULL;
                free(url);
                url = next;
        }
        return error_new(ERROR_UNAVAILABLE, "more than %d redirects", REDIRECTS_MAX);
}

/* Being killed is how this process is cancelled, so a plain sleep is right. */
static void pause_before(unsigned try, long retry_after_s)
{
        long delay_ms = retry_after_s > 0 ? retry_after_s * 1000 : 200L << (2 * try);
        if (retry_after_s > RETRY_AFTER_MAX_S)
                delay_ms = RETRY_AFTER_MAX_S * 1000;
        const struct timespec delay = { delay_ms / 1000, delay_ms % 1000 * 1000000 };
        (void) nanosleep(&delay, NULL);
}

struct error *fetch_run(struct fetch *fetch)
{
        unsigned tries_max = fetch->tries ? fetch->tries : TRIES_MAX, stalls = 0;
        if (fetch->stall_s == 0)
                fetch->stall_s = STALL_S;
        for (unsigned try = 0;; try++) {
                struct outcome outcome = { .again = false };
                uint64_t had_bytes = fetch->given_bytes;
                struct error *e = try_once(fetch, &outcome);
                stalls += outcome.stalled;
                if (!e || !outcome.again || stalls == STALLS_MAX)
                        return e;
                if (fetch->given_bytes >= had_bytes + PROGRESS_BYTES)
                        try = 0; /* it moves: a long blob may be cut many times */
                if (!fetch->connected && tries_max > CONNECTS_MAX)
                        tries_max = CONNECTS_MAX;
                if (try + 1 >= tries_max)
                        return tries_max > 1 ? error_wrap(e, "after %u tries", tries_max) : e;
                error_free(e); /* the next try tells */
                pause_before(try, outcome.retry_after_s);
        }
}

void fetch_done(struct fetch *fetch)
{
        free(fetch->media_type);
        free(fetch->challenge);
        fetch->media_type = fetch->challenge = NULL;
}
