#include "images/puller/auth.h"
#include "base/json.h"
#include <curl/curl.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

enum { TOKEN_LIMIT_BYTES = 256 << 10 };

static const char *skip_spaces(const char *s)
{
        return s + strspn(s, " \t,");
}

/* A value, quoted or not; *at moves behind it. */
static char *value_read(const char **at)
{
        const char *s = *at;
        if (*s != '"') {
                size_t n = strcspn(s, ", \t");
                *at = s + n;
                return dup_bytes(s, n);
        }
        char *value = dup_bytes(s, strlen(s)), *to = value;
        for (s++; *s && *s != '"'; s++) {
                if (*s == '\\' && s[1])
                        s++;
                *to++ = *s;
        }
        *to = '\0';
        *at = *s ? s + 1 : s;
        return value;
}

char *auth_parameter(const char *challenge, const char *name)
{
        const char *s = challenge + strcspn(challenge, " \t"); /* behind the scheme */
        size_t name_bytes = strlen(name);
        for (s = skip_spaces(s); *s; s = skip_spaces(s)) {
                size_t n = strcspn(s, "= \t,");
                bool is_it = n == name_bytes && strncasecmp(s, name, n) == 0;
                s += n;
                if (*s != '=')
                        continue;
                s++;
                char *value = value_read(&s);
                if (is_it)
                        return value;
                free(value);
        }
        return NULL;
}

/* "Basic ..." or NULL where there is nothing to say. */
static char *basic_of(const struct credentials *credentials)
{
        if (*credentials->auth)
                return format_string("Basic %s", credentials->auth);
        if (!*credentials->username)
                return NULL;
        _cleanup_(freep) char *plain = format_string("%s:%s", credentials->username, credentials->password);
        size_t n = strlen(plain);
        _cleanup_(freep) unsigned char *encoded = new_zeroed(n / 3 * 4 + 5, 1);
        (void) EVP_EncodeBlock(encoded, (const unsigned char *) plain, (int) n);
        explicit_bzero(plain, n);
        return format_string("Basic %s", (char *) encoded);
}

static struct error *take_into(void *context, const void *bytes, size_t len_bytes)
{
        return buf_append(context, bytes, len_bytes);
}

static void append_query(char **url, const char *key, const char *value)
{
        if (!value || !*value)
                return;
        char *escaped = curl_easy_escape(NULL, value, 0);
        char *longer =
                format_string("%s%c%s=%s", *url, strchr(*url, '?') ? '&' : '?', key, escaped ? escaped : "");
        curl_free(escaped);
        free(*url);
        *url = longer;
}

static struct error *token_of(const struct buf *answer, char **out)
{
        _cleanup_(json_freep) struct json *json = NULL;
        TRY(json_parse(answer->bytes ? answer->bytes : "", answer->len_bytes, &json));
        const char *token = json_text(json_get(json, "token"), NULL);
        if (!token)
                token = json_text(json_get(json, "access_token"), NULL);
        if (!token || strpbrk(token, "\r\n"))
                return error_new(ERROR_UNAUTHENTICATED, "no token in the answer");
        *out = format_string("Bearer %s", token);
        return NULL;
}

/* What the token server is asked: a GET with the name and password, or a POST of the identity token. */
static struct error *token_fetch(const struct credentials *credentials, const char *realm,
                                 const char *service, const char *scope, const struct fetch *like,
                                 struct buf *answer)
{
        const struct taker taker = { take_into, answer };
        _cleanup_(freep) char *url = dup_string(realm), *basic = NULL, *form = NULL;
        _cleanup_(fetch_done) struct fetch fetch = { .ca_pem = like->ca_pem,
                                                     .skip_verify = like->skip_verify &&
                                                                    fetch_same_origin(realm, like->url),
                                                     .proxy = like->proxy,
                                                     .proxies = like->proxies,
                                                     .connect_ms = like->connect_ms,
                                                     .stall_s = like->stall_s,
                                                     .taker = &taker,
                                                     .limit_bytes = TOKEN_LIMIT_BYTES };
        if (*credentials->identity_token) {
                form = dup_string("?grant_type=refresh_token&client_id=skiff");
                append_query(&form, "refresh_token", credentials->identity_token);
                append_query(&form, "service", service);
                append_query(&form, "scope", scope);
                fetch.post = form + 1;
        } else {
                basic = basic_of(credentials);
                append_query(&url, "service", service);
                append_query(&url, "scope", scope);
        }
        fetch.url = url;
        fetch.authorization = basic;
        struct error *e = fetch_run(&fetch);
        /* Our words for a registry's answers would mislead: here it is the token server that knows them not. */
        if (e && (fetch.status == 401 || fetch.status == 403 || (fetch.status == 400 && form))) {
                error_free(e);
                e = basic || form ? error_new(ERROR_UNAUTHENTICATED, "the credentials are refused (HTTP %ld)",
                                              fetch.status)
                                  : error_new(ERROR_UNAUTHENTICATED,
                                              "it gives none without a username and password (HTTP %ld)",
                                              fetch.status);
        } else if (e && fetch.status == 404) {
                e = error_as(e, ERROR_UNAUTHENTICATED); /* no image is missing */
        }
        return e;
}

static struct error *bearer_answer(const struct credentials *credentials, const char *challenge,
                                   const struct fetch *like, char **out)
{
        struct buf answer;
        _cleanup_(freep) char *realm = auth_parameter(challenge, "realm"),
                              *scope = auth_parameter(challenge, "scope"),
                              *service = auth_parameter(challenge, "service");
        bool is_tls = realm && strncasecmp(realm, "https://", 8) == 0;
        if (!realm || (!is_tls && strncasecmp(realm, "http://", 7) != 0))
                return error_new(ERROR_UNAUTHENTICATED, "the challenge names no token server");
        /* A registry reached over TLS must not make us say a password in the clear. */
        if (!is_tls && strncasecmp(like->url, "https:", 6) == 0)
                return error_new(ERROR_UNAUTHENTICATED, "the token server %s is not reached over TLS", realm);
        buf_init(&answer, TOKEN_LIMIT_BYTES);
        struct error *e = token_fetch(credentials, realm, service, scope, like, &answer);
        if (!e)
                e = token_of(&answer, out);
        buf_done(&answer);
        return e ? error_wrap(e, "token from %s", realm) : NULL;
}

struct error *auth_answer(const struct credentials *credentials, const char *challenge,
                          const struct fetch *like, char **out)
{
        if (*credentials->registry_token) {
                *out = format_string("Bearer %s", credentials->registry_token);
                return NULL;
        }
        if (strncasecmp(challenge, "bearer", 6) == 0)
                return bearer_answer(credentials, challenge, like, out);
        if (strncasecmp(challenge, "basic", 5) != 0)
                return error_new(ERROR_UNAUTHENTICATED, "the registry's way to authenticate is not known");
        *out = basic_of(credentials);
        return *out ? NULL : error_new(ERROR_UNAUTHENTICATED, "the registry wants a username and password");
}
