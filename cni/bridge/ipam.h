/* ipam.h - the addresses of an attachment, from the store that is built in or from a plugin of another type.
 *
 * A plugin of another type gets this one's environment and stdin, and is found in CNI_PATH, as the spec has it.
 * Threads: one at a time. Source: CNI SPEC.md 1.1.0 section 4. */
#pragma once
#include "cni/bridge/config.h"
#include "cni/bridge/result.h"

/* Appends addresses, their gateways, routes and DNS to out. *is_held: they are this attachment's, and to be given back with
 * ipam_del whatever fails from here on. What fails before leaves nothing taken, and what another attachment has alone. Errors:
 * as store_allocate; a plugin's with its name and message. */
MUST_CHECK struct error *ipam_add(const struct environment *env, const struct config *config,
                                  struct result *out, bool *is_held);

/* Gives back. Nothing to give back is no error. */
MUST_CHECK struct error *ipam_del(const struct environment *env, const struct config *config);

/* The commands of the same name. */
MUST_CHECK struct error *ipam_check(const struct environment *env, const struct config *config);
MUST_CHECK struct error *ipam_gc(const struct environment *env, const struct config *config);
MUST_CHECK struct error *ipam_status(const struct environment *env, const struct config *config);
