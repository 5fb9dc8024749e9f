/* capabilities.h - capability names to numbers. Threads: any. Source: capabilities(7), linux/capability.h. */
#pragma once
#include "base/error.h"
#include <stdint.h>

/* "NET_ADMIN" or "CAP_NET_ADMIN", any case. Errors: INVALID_ARGUMENT naming it. */
MUST_CHECK struct error *capability_parse(const char *name, int *out);
uint64_t capabilities_default(void);         /* the 14 that containers get unless asked otherwise */
uint64_t capabilities_all(void);             /* what this kernel knows and skiffd itself has */
const char *capability_name(int capability); /* "CAP_CHOWN", or NULL */
