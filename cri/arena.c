#include "cri/arena.h"
#include <stdalign.h>
#include <stdlib.h>

#define CHUNK_MIN_BYTES 2048

struct arena_chunk {
        struct arena_chunk *next;
        size_t size_bytes, used_bytes;
        alignas(max_align_t) unsigned char bytes[];
};

static struct arena_chunk *chunk_new(struct arena *arena, size_t need_bytes)
{
        /* Chunks double, so a large message takes few of them. */
        size_t size_bytes = arena->chunks ? arena->chunks->size_bytes * 2 : CHUNK_MIN_BYTES;
        if (size_bytes < need_bytes)
                size_bytes = need_bytes;
        struct arena_chunk *chunk = malloc(sizeof(*chunk) + size_bytes);
        if (!chunk)
                return NULL;
        *chunk = (struct arena_chunk){ .next = arena->chunks, .size_bytes = size_bytes };
        arena->chunks = chunk;
        return chunk;
}

static void *arena_alloc(void *data, size_t len_bytes)
{
        struct arena *arena = data;
        if (len_bytes > arena->limit_bytes)
                return NULL;
        len_bytes = (len_bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
        if (len_bytes > arena->limit_bytes - arena->used_bytes)
                return NULL;
        struct arena_chunk *chunk = arena->chunks;
        if (!chunk || chunk->size_bytes - chunk->used_bytes < len_bytes)
                chunk = chunk_new(arena, len_bytes);
        if (!chunk)
                return NULL;
        void *p = chunk->bytes + chunk->used_bytes;
        chunk->used_bytes += len_bytes;
        arena->used_bytes += len_bytes;
        return p;
}

static void arena_free(void *data, void *p)
{
        (void) data;
        (void) p; /* arena_done frees all */
}

void arena_init(struct arena *arena, size_t limit_bytes)
{
        *arena = (struct arena){ .limit_bytes = limit_bytes };
        arena->allocator = (ProtobufCAllocator){ arena_alloc, arena_free, arena };
}

void arena_done(struct arena *arena)
{
        while (arena->chunks) {
                struct arena_chunk *next = arena->chunks->next;
                free(arena->chunks);
                arena->chunks = next;
        }
        arena->used_bytes = 0;
}
