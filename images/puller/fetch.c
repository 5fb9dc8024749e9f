#include "images/puller/fetch.h"
#include <curl/curl.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { TRIES_MAX = 4, STALL_S = 30, CONNECT_S = 15, REDIRECTS_MAX = 5, RETRY_AFTER_MAX_S = 20 };

/* One try. */
struct attempt {
        struct fetch *fetch;
        CURL *curl;
        uint64_t *given_bytes; /* over all tries */
        uint64_t from_bytes;   /* where this one resumes */
        bool is_content;       /* the answer is what was asked for */
        bool decided;
        struct error *failure; /* of the taker, or ours */
        long retry_after_s;
};

static size_t on_body(char *bytes, size_t one, size_t len_bytes, void *context)
{
        struct attempt *attempt = context;
        struct fetch *fetch = attempt->fetch;
        (void) one; /* always 1 */
        if (!attempt->decided) {
                long status = 0;
                (void) curl_easy_getinfo(attempt->curl, CURLINFO_RESPONSE_CODE, &status);
                attempt->decided = true;
                attempt->is_content = status == 206 || (status == 200 && attempt->from_bytes == 0);
                if (status == 200 && attempt->from_bytes)
                        attempt->failure = error_new(ERROR_UNAVAILABLE, "cut, and the server cannot resume");
        }
        if (attempt->failure)
                return 0;
        if (!attempt->is_content) /* an error's page */
                return len_bytes;
        if (fetch->limit_bytes && *attempt->given_bytes + len_bytes > fetch->limit_bytes)
                attempt->failure = error_new(ERROR_RESOURCE_EXHAUSTED, "larger than %llu bytes",
                                             (unsigned long long) fetch->limit_bytes);
        else
                attempt->failure = fetch->taker->take(fetch->taker->context, bytes, len_bytes);
        if (attempt->failure)
                return 0;
        *attempt->given_bytes += len_bytes;
        return len_bytes;
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

static size_t on_header(char *line, size_t one, size_t len_bytes, void *context)
{
        struct attempt *attempt = context;
        (void) one; /* always 1 */
        char *challenge = header_value(line, len_bytes, "www-authenticate");
        if (challenge) {
                /* Of several the Bearer one is what we can do best. */
                if (!attempt->fetch->challenge || strncasecmp(challenge, "bearer", 6) == 0) {
                        free(attempt->fetch->challenge);
                        attempt->fetch->challenge = TAKE(challenge);
                }
                free(challenge);
        }
        _cleanup_(freep) char *after = header_value(line, len_bytes, "retry-after");
        if (after)
                attempt->retry_after_s = strtol(after, NULL, 10);
        return len_bytes;
}

static void set_up(struct attempt *attempt, struct curl_slist *headers)
{
        CURL *curl = attempt->curl;
        struct fetch *fetch = attempt->fetch;
        bool is_tls = strncasecmp(fetch->url, "https:", 6) == 0;
        (void) curl_easy_setopt(curl, CURLOPT_URL, fetch->url);
        (void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        (void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "skiff/" SKIFF_VERSION);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
        (void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, attempt);
        (void) curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
        (void) curl_easy_setopt(curl, CURLOPT_HEADERDATA, attempt);
        (void) curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
        (void) curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long) CONNECT_S);
        (void) curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long) STALL_S);
        (void) curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, fetch->post ? 0L : 1L);
        (void) curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long) REDIRECTS_MAX);
        (void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        (void) curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, is_tls ? "https" : "http,https");
        (void) curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, fetch->skip_verify ? 0L : 1L);
        (void) curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, fetch->skip_verify ? 0L : 2L);
        if (fetch->ca_pem && *fetch->ca_pem) {
                struct curl_blob blob = { (void *) (uintptr_t) fetch->ca_pem, strlen(fetch->ca_pem),
                                          CURL_BLOB_COPY };
                (void) curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
        }
        if (fetch->post)
                (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, fetch->post);
        if (attempt->from_bytes)
                (void) curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t) attempt->from_bytes);
}

/* curl drops headers of ours named Authorization when a redirect leads to another host. */
static struct curl_slist *make_headers(const struct fetch *fetch)
{
        struct curl_slist *headers = NULL;
        if (fetch->accept) {
                _cleanup_(freep) char *line = format_string("Accept: %s", fetch->accept);
                headers = curl_slist_append(headers, line);
        }
        if (fetch->authorization) {
                _cleanup_(freep) char *line = format_string("Authorization: %s", fetch->authorization);
                headers = curl_slist_append(headers, line);
        }
        return headers;
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
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM:
        case CURLE_SSL_CONNECT_ERROR:
                return true;
        default:
                return false;
        }
}

static struct error *status_error(long status)
{
        switch (status) {
        case 401:
                return error_new(ERROR_UNAUTHENTICATED, "the registry wants other credentials (HTTP 401)");
        case 403:
                return error_new(ERROR_PERMISSION_DENIED, "the registry refuses (HTTP 403)");
        case 404:
                return error_new(ERROR_NOT_FOUND, "not found (HTTP 404)");
        default:
                return error_new(ERROR_UNAVAILABLE, "the registry answers HTTP %ld", status);
        }
}

static bool status_may_pass(long status)
{
        return status == 408 || status == 429 || status >= 500;
}

/* *again: the failure may pass. */
static struct error *perform(struct attempt *attempt, bool *again)
{
        char *type = NULL;
        struct fetch *fetch = attempt->fetch;
        CURLcode code = curl_easy_perform(attempt->curl);
        (void) curl_easy_getinfo(attempt->curl, CURLINFO_RESPONSE_CODE, &fetch->status);
        if (attempt->failure)
                return TAKE(attempt->failure);
        if (code != CURLE_OK) {
                *again = curl_may_pass(code);
                return error_new(ERROR_UNAVAILABLE, "%s", curl_easy_strerror(code));
        }
        if (fetch->status != 200 && fetch->status != 206) {
                *again = status_may_pass(fetch->status);
                return status_error(fetch->status);
        }
        (void) curl_easy_getinfo(attempt->curl, CURLINFO_CONTENT_TYPE, &type);
        free(fetch->media_type);
        fetch->media_type = type ? dup_bytes(type, strcspn(type, "; \t")) : dup_string("");
        return NULL;
}

static struct error *try_once(struct fetch *fetch, uint64_t *given_bytes, bool *again, long *retry_after_s)
{
        struct attempt attempt = { .fetch = fetch, .given_bytes = given_bytes, .from_bytes = *given_bytes };
        attempt.curl = curl_easy_init();
        if (!attempt.curl)
                return error_errno(ENOMEM, "curl");
        struct curl_slist *headers = make_headers(fetch);
        set_up(&attempt, headers);
        struct error *e = perform(&attempt, again);
        *retry_after_s = attempt.retry_after_s;
        curl_slist_free_all(headers);
        curl_easy_cleanup(attempt.curl);
        return e;
}

/* Being killed is how this process is cancelled, so a plain sleep is right. */
static void pause_before(int try, long retry_after_s)
{
        long delay_ms = retry_after_s > 0 ? retry_after_s * 1000 : 200L << (2 * try);
        if (delay_ms > RETRY_AFTER_MAX_S * 1000)
                delay_ms = RETRY_AFTER_MAX_S * 1000;
        const struct timespec delay = { delay_ms / 1000, delay_ms % 1000 * 1000000 };
        (void) nanosleep(&delay, NULL);
}

struct error *fetch_run(struct fetch *fetch)
{
        uint64_t given_bytes = 0;
        for (int try = 0;; try++) {
                bool again = false;
                long retry_after_s = 0;
                uint64_t had_bytes = given_bytes;
                struct error *e = try_once(fetch, &given_bytes, &again, &retry_after_s);
                if (!e || !again)
                        return e;
                if (given_bytes > had_bytes)
                        try = 0; /* it moves: a long blob may be cut many times */
                if (try + 1 == TRIES_MAX)
                        return error_wrap(e, "after %d tries", TRIES_MAX);
                error_free(e); /* the next try tells */
                pause_before(try, retry_after_s);
        }
}

void fetch_done(struct fetch *fetch)
{
        free(fetch->media_type);
        free(fetch->challenge);
        fetch->media_type = fetch->challenge = NULL;
}
