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
        const char *text; /* of the profile; ours unless it is the default one */
        size_t text_bytes;
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
                if (entry->text != seccomp_default_json)
                        free((char *) (uintptr_t) entry->text);
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
        entry->text = text == seccomp_default_json ? text : dup_bytes(text, len_bytes);
        entry->text_bytes = len_bytes;
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

/* --- as the OCI runtime spec has it --- */

static struct error *put_member(const struct json *profile, const char *key, struct buf *out)
{
        const struct json *value = json_get(profile, key);
        if (!value)
                return NULL;
        TRY(buf_append_format(out, "\"%s\":", key));
        TRY(json_write(value, out));
        return buf_append_text(out, ",");
}

/* Without what decided whether it applies. */
static struct error *put_rule(const struct json *rule, bool first, struct buf *out)
{
        static const char *const decided[] = { "includes", "excludes", "comment" };
        TRY(buf_append_text(out, first ? "{" : ",{"));
        bool any = false;
        for (size_t i = 0; i < json_length(rule); i++) {
                bool skipped = json_type_of(json_value_at(rule, i)) == JSON_NULL;
                for (size_t j = 0; j < LENGTH(decided); j++)
                        skipped = skipped || strcmp(json_key_at(rule, i), decided[j]) == 0;
                if (skipped)
                        continue;
                TRY(buf_append_text(out, any ? "," : ""));
                TRY(json_put_text(out, json_key_at(rule, i)));
                TRY(buf_append_text(out, ":"));
                TRY(json_write(json_value_at(rule, i), out));
                any = true;
        }
        return buf_append_text(out, "}");
}

struct error *seccomp_put(const struct seccomp_program *program, struct buf *out)
{
        const struct entry *entry = (const void *) ((const char *) program - offsetof(struct entry, program));
        _cleanup_(json_freep) struct json *profile = NULL;
        bool first = true;
        TRY(json_parse(entry->text, entry->text_bytes, &profile));
        TRY(buf_append_text(out, "{"));
        TRY(put_member(profile, "defaultAction", out));
        TRY(put_member(profile, "defaultErrnoRet", out));
        TRY(put_member(profile, "architectures", out));
        TRY(put_member(profile, "flags", out));
        TRY(buf_append_text(out, "\"syscalls\":["));
        const struct json *rules = json_get(profile, "syscalls");
        for (size_t i = 0; i < json_length(rules); i++) {
                if (!profile_rule_applies(entry->capabilities, json_at(rules, i)))
                        continue;
                TRY(put_rule(json_at(rules, i), first, out));
                first = false;
        }
        return buf_append_text(out, "]}");
}
