/* message_json.h - any protobuf message as JSON, by its descriptor.
 *
 * Field names as in the schema, 64-bit numbers as numbers, enums by name, maps as objects, bytes as text where they are
 * UTF-8, else base64. Fields that are not set are left out, but numbers and states in which 0 means something are not:
 * scalars and enums always stand. A string whose key in a map is "info" and that holds JSON stands as that JSON.
 * Threads: no state. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <protobuf-c/protobuf-c.h>

/* Appends it to out. Errors: those of buf_append. */
MUST_CHECK struct error *message_json(const ProtobufCMessage *message, struct buf *out);
