/* message.h - protobuf messages as values: copies and bytes. Threads: any; a message is read only here.
 *
 * protobuf-c's own functions abort nothing and check nothing; memory that runs out ends skiffd (cleanup.h). */
#pragma once
#include "base/error.h"
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/* Packed bytes, owned by the caller. */
void message_pack(const ProtobufCMessage *message, void **out, size_t *len_bytes);

/* A deep copy, unknown fields too. Never NULL for a valid message. */
void *message_copy(const void *message) __attribute__((returns_nonnull));

/* Whether two messages pack to the same bytes (maps in another order differ: that is a different request here). */
int message_equal(const ProtobufCMessage *a, const ProtobufCMessage *b);

/* Errors: DATA_LOSS: what a record holds is no such message. */
MUST_CHECK struct error *message_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                                        size_t len_bytes, void *out);
void message_free(void *message); /* NULL is fine */

/* Frees any kind of message with _cleanup_. */
static inline void message_freep(void *p)
{
        message_free(*(void **) p);
        *(void **) p = NULL;
}
