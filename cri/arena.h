/* arena.h - memory for one request: taken in a few chunks, capped, freed at once.
 *
 * The decoder multiplies hostile input (an empty message of 2 bytes becomes a struct of 100), so the cap is on what it
 * may take, not on what came. Past it the allocator gives NULL, which protobuf-c handles.
 *
 * Threads: one at a time. Source: protobuf-c.h, ProtobufCAllocator. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct arena_chunk;
struct arena {
        ProtobufCAllocator allocator; /* hand this to protobuf_c_message_unpack */
        struct arena_chunk *chunks;   /* newest first */
        size_t used_bytes, limit_bytes;
};

void arena_init(struct arena *arena, size_t limit_bytes); /* the arena must not move afterwards */
void arena_done(struct arena *arena);                     /* frees all that came from it */
