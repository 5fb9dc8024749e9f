#include "pods/spec/environment.h"
#include "base/cleanup.h"
#include <string.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <uthash.h>

struct environment_name {
        size_t at;        /* in entries */
        const char *name; /* of the entry that was first: a copy, since that may be replaced */
        UT_hash_handle hh;
};

static struct environment_name *find(const struct environment *e, const char *name, size_t n_bytes)
{
        struct environment_name *found = NULL;
        HASH_FIND(hh, e->names, name, n_bytes, found);
        return found;
}

static void append(struct environment *e, char *entry, size_t name_bytes)
{
        struct environment_name *added = NEW(struct environment_name);
        if (e->n + 1 >= e->room) {
                e->room = e->room ? e->room * 2 : 16;
                e->entries = grow_array(e->entries, e->room, sizeof(char *));
        }
        *added = (struct environment_name){ .at = e->n, .name = dup_bytes(entry, name_bytes) };
        e->entries[e->n++] = entry;
        e->entries[e->n] = NULL;
        HASH_ADD_KEYPTR(hh, e->names, added->name, name_bytes, added);
}

void environment_set(struct environment *e, char *entry)
{
        size_t name_bytes = strcspn(entry, "=");
        const struct environment_name *same = find(e, entry, name_bytes);
        if (!same) {
                append(e, entry, name_bytes);
                return;
        }
        free(e->entries[same->at]);
        e->entries[same->at] = entry;
}

bool environment_has(const struct environment *e, const char *name)
{
        return find(e, name, strlen(name)) != NULL;
}

char **environment_take(struct environment *e)
{
        char **entries = e->entries ? e->entries : NEW_ARRAY(char *, 1);
        e->entries = NULL;
        return entries;
}

void environment_done(struct environment *e)
{
        struct environment_name *name = NULL, *next = NULL;
        HASH_ITER(hh, e->names, name, next)
        {
                HASH_DEL(e->names, name);
                free((char *) (uintptr_t) name->name);
                free(name);
        }
        free_strings(e->entries);
        *e = (struct environment){ .n = 0 };
}
