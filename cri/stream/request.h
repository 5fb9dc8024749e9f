/* request.h - the head of an HTTP/1.1 request, bounded, parsed where it lies.
 *
 * Nothing of it decides but the request line and the fields that an upgrade has: no Host, no Origin (kubectl's Host is the API
 * server's). Threads: no state. Source: RFC 9112, RFC 9110 5.6.1 (lists). */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

#define REQUEST_HEAD_MAX (16 << 10)
#define REQUEST_FIELDS_MAX 100

struct request_field {
        const char *name, *value;
};

/* Points into the head that it was made from. */
struct request {
        const char *method;
        const char *path; /* without scheme, host and query */
        struct request_field fields[REQUEST_FIELDS_MAX];
        size_t n_fields;
};

/* How many bytes the head has with the empty line at its end; 0 while that has not come. from: where the bytes begin that the
 * last call had not seen. */
size_t request_head_end(const char *bytes, size_t len_bytes, size_t from);

/* Parses a whole head, whose bytes it changes. Errors: INVALID_ARGUMENT for what is no request. */
MUST_CHECK struct error *request_parse(char *head, size_t len_bytes, struct request *out);

/* The value of the first field of this name (in any case); NULL when there is none. */
const char *request_field(const struct request *request, const char *name);

/* A walk through the items of all lists of this name, in order; items are cut out of the head. */
struct request_items {
        const struct request *request;
        const char *name;
        size_t field;
        const char *rest;
};
void request_items_begin(struct request_items *items, const struct request *request, const char *name);

/* The next item and its length; NULL at the end. Empty ones are passed over. */
const char *request_items_next(struct request_items *items, size_t *len_bytes);

/* True when a list of this name has the word, in any case. */
bool request_lists(const struct request *request, const char *name, const char *word);
