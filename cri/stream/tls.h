/* tls.h - TLS on an accepted connection, when skiffd gave certificates; nothing of OpenSSL is touched otherwise.
 *
 * Threads: one. Source: SSL_read(3ssl), SSL_get_error(3ssl). */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tls_config; /* certificate, key, and the CA of clients */
struct tls;        /* one connection */

/* Reads PEM from descriptors, which stay the caller's; ca_fd may be -1: clients then need no certificate. Errors:
 * INVALID_ARGUMENT for what cannot be used. */
MUST_CHECK struct error *tls_config_open(int certificate_fd, int key_fd, int ca_fd, struct tls_config **out);

void tls_config_free(struct tls_config *config); /* NULL is fine */
DEFINE_FREEP(struct tls_config, tls_config_free)

/* A server's end on the socket, which stays the caller's. NULL when there is no memory. */
struct tls *tls_new(struct tls_config *config, int fd);
void tls_free(struct tls *tls); /* NULL is fine */

/* As recv(2) and send(2) on a nonblocking socket; the handshake is done underway. *ended: the peer has ended, or something
 * failed. tls_send may be called again with more behind the same bytes. */
size_t tls_receive(struct tls *tls, void *bytes, size_t size_bytes, bool *ended);
ssize_t tls_send(struct tls *tls, const void *bytes, size_t len_bytes);

bool tls_wants_write(const struct tls *tls); /* receiving has to wait until the socket is writable */
void tls_end(struct tls *tls);               /* tells the peer that no more comes; never waits */
