/* seccomp.h - seccomp profiles to finished BPF, compiled once per distinct profile, capability set and architecture.
 *
 * Compiling the default profile costs 10 to 13 ms, loading the finished program 0.03 to 0.75 (measured), so programs
 * are cached for the life of skiffd and shared. Calls newer than the profile knows answer ENOSYS. Profiles are in the
 * format of the OCI runtime spec (as Docker and containerd write it: names, action, args, includes, excludes).
 *
 * Threads: any, at once. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct seccomp_cache;
struct seccomp_program {
        const void *bpf; /* struct sock_filter[] */
        size_t len_bytes;
};

/* An empty one. Freed after the last program that it gave is out of use; NULL is fine. */
MUST_CHECK struct error *seccomp_cache_open(struct seccomp_cache **out);
void seccomp_cache_free(struct seccomp_cache *cache);
DEFINE_FREEP(struct seccomp_cache, seccomp_cache_free)

/* RuntimeDefault for a container with these capabilities (bounding set). The program lives as long as the cache. */
MUST_CHECK struct error *seccomp_default(struct seccomp_cache *cache, uint64_t capabilities,
                                         const struct seccomp_program **out);

/* A Localhost profile, by its JSON. Errors: INVALID_ARGUMENT saying where it is wrong. */
MUST_CHECK struct error *seccomp_profile(struct seccomp_cache *cache, const char *json, uint64_t capabilities,
                                         const struct seccomp_program **out);

/* Appends the profile that a cache's program was compiled from, as the OCI runtime spec writes it: the rules that hold for
 * the container, without the conditions that decided so. */
MUST_CHECK struct error *seccomp_put(const struct seccomp_program *program, struct buf *out);
