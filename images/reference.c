#include "images/reference.h"
#include "base/digest.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { NAME_MAX_BYTES = 255, TAG_MAX_BYTES = 128 };

static bool is_lower_or_digit(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
        return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Between two alphanumerics: one '.', one or two '_', or any number of '-'. */
static size_t separator_length(const char *s)
{
        if (*s == '.')
                return 1;
        if (*s == '_')
                return s[1] == '_' ? 2 : 1;
        return strspn(s, "-");
}

/* component ('/' component)*, each [a-z0-9]+ (separator [a-z0-9]+)*. */
static bool path_is_valid(const char *path)
{
        for (const char *s = path;;) {
                if (!is_lower_or_digit(*s))
                        return false;
                while (is_lower_or_digit(*s))
                        s++;
                if (*s == '\0')
                        return true;
                size_t n = *s == '/' ? 1 : separator_length(s);
                if (n == 0)
                        return false;
                s += n;
        }
}

static bool tag_is_valid(const char *tag)
{
        size_t len_bytes = strlen(tag);
        if (len_bytes == 0 || len_bytes > TAG_MAX_BYTES || !is_word(tag[0]))
                return false;
        for (const char *s = tag; *s; s++)
                if (!is_word(*s) && *s != '.' && *s != '-')
                        return false;
        return true;
}

static bool port_is_valid(const char *port)
{
        size_t n = strspn(port, "0123456789");
        return n > 0 && n <= 5 && port[n] == '\0';
}

/* host[:port], host being dotted labels or an IPv6 address in brackets. */
static bool domain_is_valid(const char *domain)
{
        const char *s = domain;
        if (*s == '[') {
                size_t n = strspn(s + 1, "0123456789abcdefABCDEF:.");
                if (n < 2 || s[1 + n] != ']')
                        return false;
                s += n + 2;
        } else {
                for (;;) {
                        size_t n = 0;
                        while (isalnum((unsigned char) s[n]) || (s[n] == '-' && n > 0))
                                n++;
                        if (n == 0 || s[n - 1] == '-')
                                return false;
                        s += n;
                        if (*s != '.')
                                break;
                        s++;
                }
        }
        return *s == '\0' || (*s == ':' && port_is_valid(s + 1));
}

/* The first component names a registry when it cannot be a path: a dot, a port, brackets, capitals, or localhost. */
static bool looks_like_domain(const char *first)
{
        if (strcmp(first, "localhost") == 0 || strpbrk(first, ".:["))
                return true;
        for (const char *s = first; *s; s++)
                if (isupper((unsigned char) *s))
                        return true;
        return false;
}

static void split_domain(char *name, struct reference *to)
{
        char *slash = strchr(name, '/');
        if (slash) {
                *slash = '\0';
                if (looks_like_domain(name)) {
                        bool is_hub = strcmp(name, "index.docker.io") == 0;
                        to->domain = dup_string(is_hub ? "docker.io" : name);
                        name = slash + 1;
                } else {
                        *slash = '/';
                }
        }
        if (!to->domain)
                to->domain = dup_string("docker.io");
        bool is_official = strcmp(to->domain, "docker.io") == 0 && !strchr(name, '/');
        to->path = is_official ? format_string("library/%s", name) : dup_string(name);
}

static bool is_hex_id(const char *text)
{
        return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

struct error *reference_parse(const char *text, struct reference **out)
{
        if (strlen(text) > NAME_MAX_BYTES + TAG_MAX_BYTES + DIGEST_TEXT_SIZE)
                return error_new(ERROR_INVALID_ARGUMENT, "the image reference is longer than any can be");
        _cleanup_(reference_freep) struct reference *reference = NEW(struct reference);
        _cleanup_(freep) char *name = dup_string(text);
        char *at = strchr(name, '@');
        if (at) {
                struct digest digest;
                *at = '\0';
                TRY_WRAP(digest_parse(at + 1, &digest), "image reference \"%s\"", text);
                reference->digest = dup_string(at + 1);
        }
        char *slash = strrchr(name, '/'), *colon = strrchr(slash ? slash : name, ':');
        if (colon) {
                *colon = '\0';
                if (!tag_is_valid(colon + 1))
                        return error_new(ERROR_INVALID_ARGUMENT, "image reference \"%s\": bad tag", text);
                if (!at)
                        reference->tag = dup_string(colon + 1);
        } else if (!at) {
                reference->tag = dup_string("latest");
        }
        if (is_hex_id(name))
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is an image id, not a name", text);
        split_domain(name, reference);
        if (!domain_is_valid(reference->domain))
                return error_new(ERROR_INVALID_ARGUMENT, "image reference \"%s\": bad registry", text);
        if (!path_is_valid(reference->path) ||
            strlen(reference->domain) + strlen(reference->path) > NAME_MAX_BYTES)
                return error_new(ERROR_INVALID_ARGUMENT, "image reference \"%s\": bad name", text);
        *out = TAKE(reference);
        return NULL;
}

void reference_free(struct reference *reference)
{
        if (!reference)
                return;
        free(reference->domain);
        free(reference->path);
        free(reference->tag);
        free(reference->digest);
        free(reference);
}

char *reference_repository(const struct reference *reference)
{
        return format_string("%s/%s", reference->domain, reference->path);
}

char *reference_name(const struct reference *reference)
{
        if (reference->digest)
                return format_string("%s/%s@%s", reference->domain, reference->path, reference->digest);
        return format_string("%s/%s:%s", reference->domain, reference->path, reference->tag);
}

bool reference_is_id(const char *text, const char **hex)
{
        if (strncmp(text, "sha256:", 7) == 0)
                text += 7;
        size_t n = strspn(text, "0123456789abcdef");
        *hex = text;
        return n >= 12 && n <= 64 && text[n] == '\0';
}
