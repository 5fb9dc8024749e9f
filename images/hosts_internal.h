/* hosts_internal.h - the parts of hosts.c: URLs, and certificates in Docker's layout. Threads: no state. */
#pragma once
#include "base/buf.h"
#include "images/hosts.h"
#include <stdbool.h>

/* All of an endpoint travels in one message (PULL_DATA_MAX). */
enum { CA_LIMIT_BYTES = 80 << 10, CLIENT_LIMIT_BYTES = 16 << 10, HEADERS_LIMIT_BYTES = 8 << 10 };

/* --- hosts_list.c --- */

/* A new endpoint at the end, that may do all, of the url; the url is taken over. Borrowed until the next is added. */
struct host_endpoint *hosts_add(struct hosts *hosts, char *url);

/* Forgets the last one; there is one. */
void hosts_drop_last(struct hosts *hosts);

/* Notes a warning; the sentence is taken over. */
void hosts_warn(struct hosts *hosts, char *sentence);

/* --- hosts_url.c --- */

/* The API's root of what a file calls a server or host: a host with or without scheme, port and path ("/v2" is added
 * where the path does not end so, unless it overrides). *out is the caller's. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *hosts_url(const char *text, bool override_path, char **out);

/* The registry itself, as the domain says: at the end of hosts. */
struct host_endpoint *hosts_add_registry(struct hosts *hosts, const char *domain);

/* Of an http URL with settings for TLS that may mean either: https is tried first then, and http where that is not
 * spoken. */
void hosts_settle_scheme(struct host_endpoint *endpoint, bool has_tls_settings);

/* --- hosts_certs.c --- */

/* Appends a PEM file to *to; of several the texts stand one after another. Errors: those of file_read. */
MUST_CHECK struct error *hosts_append_pem(const char *path, struct buf *to);

/* Takes the certificates of dir for the endpoint; *found says whether there were any. Errors: INVALID_ARGUMENT naming the
 * file. */
MUST_CHECK struct error *hosts_certs(const char *dir, struct hosts *hosts, struct host_endpoint *to,
                                     bool *found);
