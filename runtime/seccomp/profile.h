/* profile.h - a seccomp profile in the OCI format (with Docker's includes and excludes) to BPF. Not cached: seccomp.h. */
#pragma once
#include "base/buf.h"
#include "base/json.h"
#include <stdint.h>

/* The default profile, deploy/seccomp-default.json, as it lies in our binary; NUL-terminated. */
extern const char seccomp_default_json[], seccomp_default_json_end[];

/* Compiles for a container with these capabilities; the instructions are appended to *out. Errors: INVALID_ARGUMENT
 * saying which member is wrong. */
MUST_CHECK struct error *profile_compile(const struct json *profile, uint64_t capabilities, struct buf *out);

/* Whether a rule of a profile (a member of its "syscalls") is for a container with these capabilities on this machine: its
 * includes and excludes. */
bool profile_rule_applies(uint64_t capabilities, const struct json *rule);
