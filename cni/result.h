/* result.h - CNI results of all versions (0.1.0 to 1.1.0) to addresses and DNS.
 *
 * What is parsed comes from programs that run as root, yet it is bounded and checked like bytes from outside.
 * Threads: no state. Source: CNI SPEC.md 1.0.0 "ADD Success", and 0.2.0 for ip4 and ip6. */
#pragma once
#include "base/error.h"
#include "base/json.h"
#include "cni/cni.h"

/* The addresses of interface ifname inside the container's namespace, or of no interface at all, without prefix lengths;
 * where there are none of these, those of the other interfaces inside. out->json is left NULL. Errors: INVALID_ARGUMENT
 * saying what is wrong. */
MUST_CHECK struct error *result_read(const struct json *json, const char *ifname, struct cni_result *out);
