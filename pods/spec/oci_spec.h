/* oci_spec.h - a container as the OCI runtime spec would describe it, for people and for tools that read a verbose status of
 * other runtimes. Nothing is run from it. Private to pods/. Source: opencontainers/runtime-spec 1.1, config-linux.md. */
#pragma once
#include "base/buf.h"
#include "pods/state.h"

/* Appends the JSON of c, whose spec is there. With node->lock held. Errors: RESOURCE_EXHAUSTED past out's limit. */
MUST_CHECK struct error *oci_spec_put(const struct container *c, struct buf *out);
