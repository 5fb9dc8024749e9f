#include "base/digest.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct error *digest_parse(const char *text, struct digest *out)
{
        static const char prefix[] = "sha256:";
        struct digest digest;
        if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "digest \"%.80s\" is not sha256:...", text);
        const char *hex = text + sizeof(prefix) - 1;
        if (strlen(hex) != 2 * sizeof(digest.bytes))
                return error_new(ERROR_INVALID_ARGUMENT, "digest \"%.80s\" has not 64 digits", text);
        for (size_t i = 0; i < sizeof(digest.bytes); i++) {
                int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
                if (high < 0 || low < 0)
                        return error_new(ERROR_INVALID_ARGUMENT, "digest \"%.80s\" is not lower-case hex",
                                         text);
                digest.bytes[i] = (unsigned char) (high << 4 | low);
        }
        *out = digest;
        return NULL;
}

void digest_format(const struct digest *digest, char out[DIGEST_TEXT_SIZE])
{
        static const char digits[] = "0123456789abcdef";
        char *to = out + snprintf(out, DIGEST_TEXT_SIZE, "sha256:");
        for (size_t i = 0; i < sizeof(digest->bytes); i++) {
                *to++ = digits[digest->bytes[i] >> 4];
                *to++ = digits[digest->bytes[i] & 15];
        }
        *to = '\0';
}

int digest_equal(const struct digest *a, const struct digest *b)
{
        return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* OpenSSL's functions fail here only when memory is out or its library is broken: nothing can be verified then, and
 * nothing must be believed. */
static void must(int ok)
{
        if (!ok)
                abort();
}

struct digest_stream *digest_stream_new(void)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        must(context && EVP_DigestInit_ex(context, EVP_sha256(), NULL));
        return (struct digest_stream *) context;
}

void digest_stream_add(struct digest_stream *stream, const void *bytes, size_t len_bytes)
{
        must(EVP_DigestUpdate((EVP_MD_CTX *) stream, bytes, len_bytes));
}

void digest_stream_end(struct digest_stream *stream, struct digest *out)
{
        must(EVP_DigestFinal_ex((EVP_MD_CTX *) stream, out->bytes, NULL));
}

void digest_stream_free(struct digest_stream *stream)
{
        EVP_MD_CTX_free((EVP_MD_CTX *) stream);
}

void digest_of(const void *bytes, size_t len_bytes, struct digest *out)
{
        must(EVP_Digest(bytes, len_bytes, out->bytes, NULL, EVP_sha256(), NULL));
}
