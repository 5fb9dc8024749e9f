/* address.h - IPv4 and IPv6 addresses with a prefix: text, order, subnets.
 *
 * Threads: no state. Source: RFC 4291, RFC 5952. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

struct address {
        uint8_t family; /* AF_INET, AF_INET6; 0: none */
        uint8_t bytes[16];
        uint8_t prefix; /* in bits; the whole length where the text had none */
};

/* "10.0.0.1/24" with bounds for text of any address. */
#define ADDRESS_TEXT_BYTES 64

/* An address alone, with its prefix, or either. Errors: INVALID_ARGUMENT, with the text. */
MUST_CHECK struct error *address_parse(const char *text, struct address *out);
MUST_CHECK struct error *address_parse_cidr(const char *text, struct address *out);
MUST_CHECK struct error *address_parse_either(const char *text, struct address *out);

/* Text without the prefix, and with it; return out. */
char *address_text(const struct address *a, char out[ADDRESS_TEXT_BYTES]);
char *address_cidr(const struct address *a, char out[ADDRESS_TEXT_BYTES]);

unsigned address_bits(const struct address *a);   /* 32 or 128 */
unsigned address_length(const struct address *a); /* 4 or 16 bytes */

/* The order of two addresses of one family, as memcmp; the prefix does not count. Different families differ. */
int address_compare(const struct address *a, const struct address *b);

/* Whether a lies in the subnet of net; false for another family. */
bool address_within(const struct address *net, const struct address *a);

/* The subnet's first address (all host bits 0) and last (all 1), the one behind (wraps at the end of the family). */
struct address address_network(const struct address *a);
struct address address_broadcast(const struct address *a);
struct address address_next(const struct address *a);
