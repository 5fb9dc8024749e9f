#include "runtime/seccomp.h"
#include "base/digest.h"
#include "base/json.h"
#include "runtime/seccomp/profile.h"
#include <pthread.h>
#include <string.h>

#define PROFILE_BYTES_MAX (1 << 20)
#define PROGRAM_BYTES_MAX (64 << 10)
/* Distinct profile and capability sets of a node's life; more than this many is not a node but an attack. */
#define PROGRAMS_MAX 4096

struct entry {
        struct digest profile;
        uint64_t capabilities;
        struct seccomp_program program;
        struct entry *next;
};

struct seccomp_cache {
        pthread_mutex_t
                lock; /* held over a compilation: whoever wants the same program would only do it again */
        struct entry *entries;
        size_t n;
};

struct error *seccomp_cache_open(struct seccomp_cache **out)
{
        struct seccomp_cache *cache = NEW(struct seccomp_cache);
        (void) pthread_mutex_init(&cache->lock, NULL);
        *out = cache;
        return NULL;
}

void seccomp_cache_free(struct seccomp_cache *cache)
{
        if (!cache)
                return;
        for (struct entry *entry = cache->entries; entry;) {
                struct entry *next = entry->next;
                free((void *) (uintptr_t) entry->program.bpf);
                free(entry);
                entry = next;
        }
        (void) pthread_mutex_destroy(&cache->lock);
        free(cache);
}

static struct error *compile(const char *text, size_t len_bytes, uint64_t capabilities, struct buf *out)
{
        _cleanup_(json_freep) struct json *profile = NULL;
        TRY(json_parse(text, len_bytes, &profile));
        if (json_type_of(profile) != JSON_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "it is not an object");
        return profile_compile(profile, capabilities, out);
}

static struct error *entry_make(struct seccomp_cache *cache, const struct digest *digest, const char *text,
                                size_t len_bytes, uint64_t capabilities, const struct seccomp_program **out)
{
        struct buf program;
        if (cache->n >= PROGRAMS_MAX)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %d distinct seccomp profiles",
                                 PROGRAMS_MAX);
        buf_init(&program, PROGRAM_BYTES_MAX);
        struct error *e = compile(text, len_bytes, capabilities, &program);
        if (e) {
                buf_done(&program);
                return error_wrap(e, "seccomp profile");
        }
        struct entry *entry = NEW(struct entry);
        *entry = (struct entry){ .profile = *digest, .capabilities = capabilities, .next = cache->entries };
        entry->program.len_bytes = program.len_bytes;
        entry->program.bpf = buf_take_text(&program);
        cache->entries = entry;
        cache->n++;
        *out = &entry->program;
        return NULL;
}

static struct error *find_or_make(struct seccomp_cache *cache, const char *text, size_t len_bytes,
                                  uint64_t capabilities, const struct seccomp_program **out)
{
        struct digest digest;
        if (len_bytes > PROFILE_BYTES_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "seccomp profile: larger than %d bytes",
                                 PROFILE_BYTES_MAX);
        digest_of(text, len_bytes, &digest);
        (void) pthread_mutex_lock(&cache->lock);
        struct entry *entry = cache->entries;
        while (entry && (entry->capabilities != capabilities || !digest_equal(&entry->profile, &digest)))
                entry = entry->next;
        struct error *e = NULL;
        if (entry)
                *out = &entry->program;
        else
                e = entry_make(cache, &digest, text, len_bytes, capabilities, out);
        (void) pthread_mutex_unlock(&cache->lock);
        return e;
}

struct error *seccomp_default(struct seccomp_cache *cache, uint64_t capabilities,
                              const struct seccomp_program **out)
{
        /* cppcheck-suppress comparePointers ; two ends of what the linker laid out */
        size_t len_bytes = (size_t) (seccomp_default_json_end - seccomp_default_json);
        return find_or_make(cache, seccomp_default_json, len_bytes, capabilities, out);
}

struct error *seccomp_profile(struct seccomp_cache *cache, const char *json, uint64_t capabilities,
                              const struct seccomp_program **out)
{
        return find_or_make(cache, json, strlen(json), capabilities, out);
}
