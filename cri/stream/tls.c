#include "cri/stream/tls.h"
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

enum { PEM_MAX = 1 << 20 };

struct tls_config {
        SSL_CTX *context;
};

struct tls {
        SSL *ssl;
        bool wants_write;
};

static void bio_freep(BIO **bio)
{
        (void) BIO_free(*bio);
}

/* The file's text as OpenSSL reads it. It is copied: a memfd may have no place that lasts. */
static struct error *pem_open(int fd, BIO **out)
{
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > PEM_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "no PEM text");
        _cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
        _cleanup_(freep) char *text = NEW_ARRAY(char, (size_t) st.st_size);
        if (!bio)
                return error_errno(ENOMEM, "read PEM");
        if (pread(fd, text, (size_t) st.st_size, 0) != st.st_size ||
            BIO_write(bio, text, (int) st.st_size) != st.st_size)
                return error_errno(EIO, "read PEM");
        *out = TAKE(bio);
        return NULL;
}

static struct error *error_tls(const char *what)
{
        char reason[256];
        ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
        ERR_clear_error();
        return error_new(ERROR_INVALID_ARGUMENT, "%s: %s", what, reason);
}

/* The first certificate is the server's, those behind it are its chain. */
static struct error *use_certificate(SSL_CTX *context, int fd)
{
        _cleanup_(bio_freep) BIO *pem = NULL;
        TRY(pem_open(fd, &pem));
        X509 *certificate = PEM_read_bio_X509_AUX(pem, NULL, NULL, NULL);
        int used = certificate ? SSL_CTX_use_certificate(context, certificate) : 0;
        X509_free(certificate);
        if (used != 1)
                return error_tls("certificate");
        for (X509 *next; (next = PEM_read_bio_X509(pem, NULL, NULL, NULL));) {
                if (SSL_CTX_add0_chain_cert(context, next) != 1) {
                        X509_free(next);
                        return error_tls("certificate chain");
                }
        }
        ERR_clear_error(); /* the end of the file is one */
        return NULL;
}

static struct error *use_key(SSL_CTX *context, int fd)
{
        _cleanup_(bio_freep) BIO *pem = NULL;
        TRY(pem_open(fd, &pem));
        EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, NULL, NULL);
        int used = key ? SSL_CTX_use_PrivateKey(context, key) : 0;
        EVP_PKEY_free(key);
        return used == 1 && SSL_CTX_check_private_key(context) == 1 ? NULL : error_tls("key");
}

static struct error *use_client_ca(SSL_CTX *context, int fd)
{
        _cleanup_(bio_freep) BIO *pem = NULL;
        size_t n = 0;
        TRY(pem_open(fd, &pem));
        for (X509 *ca; (ca = PEM_read_bio_X509(pem, NULL, NULL, NULL)); n++) {
                int added = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca) == 1 &&
                            SSL_CTX_add_client_CA(context, ca) == 1;
                X509_free(ca);
                if (!added)
                        return error_tls("CA of clients");
        }
        if (n == 0)
                return error_tls("CA of clients");
        ERR_clear_error();
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        return NULL;
}

static void context_freep(SSL_CTX **context)
{
        SSL_CTX_free(*context);
}

struct error *tls_config_open(int certificate_fd, int key_fd, int ca_fd, struct tls_config **out)
{
        /* No openssl.cnf: the process sees no files, and needs none. */
        if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
                return error_tls("OpenSSL");
        _cleanup_(context_freep) SSL_CTX *context = SSL_CTX_new(TLS_server_method());
        if (!context || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
                return error_tls("OpenSSL");
        (void) SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                                 SSL_MODE_RELEASE_BUFFERS);
        (void) SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        (void) SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
        TRY(use_certificate(context, certificate_fd));
        TRY(use_key(context, key_fd));
        if (ca_fd >= 0)
                TRY(use_client_ca(context, ca_fd));
        struct tls_config *config = NEW(struct tls_config);
        config->context = TAKE(context);
        *out = config;
        return NULL;
}

void tls_config_free(struct tls_config *config)
{
        if (!config)
                return;
        SSL_CTX_free(config->context);
        free(config);
}

struct tls *tls_new(struct tls_config *config, int fd)
{
        struct tls *tls = calloc(1, sizeof(*tls));
        SSL *ssl = tls ? SSL_new(config->context) : NULL;
        if (!ssl || SSL_set_fd(ssl, fd) != 1) {
                SSL_free(ssl);
                free(tls);
                return NULL;
        }
        SSL_set_accept_state(ssl);
        tls->ssl = ssl;
        return tls;
}

void tls_free(struct tls *tls)
{
        if (!tls)
                return;
        SSL_free(tls->ssl);
        free(tls);
}

size_t tls_receive(struct tls *tls, void *bytes, size_t size_bytes, bool *ended)
{
        size_t got_bytes = 0;
        *ended = false;
        ERR_clear_error();
        while (got_bytes < size_bytes) { /* a record a call */
                size_t want_bytes = size_bytes - got_bytes;
                int n = SSL_read(tls->ssl, (char *) bytes + got_bytes,
                                 want_bytes > INT_MAX ? INT_MAX : (int) want_bytes);
                if (n <= 0) {
                        int why = SSL_get_error(tls->ssl, n);
                        tls->wants_write = why == SSL_ERROR_WANT_WRITE;
                        *ended = why != SSL_ERROR_WANT_WRITE && why != SSL_ERROR_WANT_READ;
                        break;
                }
                got_bytes += (size_t) n;
        }
        return got_bytes;
}

ssize_t tls_send(struct tls *tls, const void *bytes, size_t len_bytes)
{
        ERR_clear_error();
        int n = SSL_write(tls->ssl, bytes, len_bytes > INT_MAX ? INT_MAX : (int) len_bytes);
        if (n > 0)
                return n;
        int why = SSL_get_error(tls->ssl, n);
        errno = why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
        return -1;
}

bool tls_wants_write(const struct tls *tls)
{
        return tls->wants_write;
}

void tls_end(struct tls *tls)
{
        ERR_clear_error();
        if (SSL_is_init_finished(tls->ssl))
                (void) SSL_shutdown(tls->ssl); /* a record, or nothing when the socket is full */
        ERR_clear_error();
}
