#include "cni/bridge/arena.h"
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES ((size_t) 16384)

struct arena_block {
        struct arena_block *next;
        size_t used_bytes, size_bytes;
        max_align_t bytes[];
};

void *arena_take(struct arena *arena, size_t len_bytes)
{
        size_t need_bytes = (len_bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
        struct arena_block *block = arena->blocks;
        if (!block || block->size_bytes - block->used_bytes < need_bytes) {
                size_t size_bytes = need_bytes > BLOCK_BYTES ? need_bytes : BLOCK_BYTES;
                block = calloc(1, sizeof(*block) + size_bytes);
                if (!block)
                        abort();
                block->size_bytes = size_bytes;
                block->next = arena->blocks;
                arena->blocks = block;
        }
        void *taken = (char *) block->bytes + block->used_bytes;
        block->used_bytes += need_bytes;
        return taken;
}

char *arena_copy(struct arena *arena, const char *bytes, size_t len_bytes)
{
        char *copy = arena_take(arena, len_bytes + 1);
        if (len_bytes)
                memcpy(copy, bytes, len_bytes);
        return copy;
}

char *arena_format(struct arena *arena, const char *fmt, ...)
{
        va_list args, again;
        va_start(args, fmt);
        va_copy(again, args);
        int len_bytes = vsnprintf(NULL, 0, fmt, args);
        va_end(args);
        char *text = arena_take(arena, len_bytes < 0 ? 1 : (size_t) len_bytes + 1);
        if (len_bytes > 0)
                (void) vsnprintf(text, (size_t) len_bytes + 1, fmt, again);
        va_end(again);
        return text;
}

void arena_done(struct arena *arena)
{
        for (struct arena_block *block = arena->blocks, *next; block; block = next) {
                next = block->next;
                free(block);
        }
        arena->blocks = NULL;
}
