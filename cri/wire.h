/* wire.h - a look at a protobuf message before it is decoded.
 *
 * protobuf-c checks neither UTF-8 nor depth, cuts strings at a NUL in silence, and allocates 88 times what a hostile
 * message holds (measured). So the bytes are walked once by the message's descriptor: strings are UTF-8 without NUL,
 * lengths fit, nesting and the number of elements are bounded. Unknown fields pass; unknown groups do not, since the
 * decoder refuses them.
 *
 * Threads: no state. Source: protobuf.dev, "Encoding". */
#pragma once
#include "base/error.h"
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#define WIRE_DEPTH_MAX 16        /* CRI goes 7 deep */
#define WIRE_ELEMENTS_MAX 200000 /* fields and elements of repeated fields, in all of the message */

/* Errors: INVALID_ARGUMENT naming the field ("config: labels: value is not valid UTF-8"); RESOURCE_EXHAUSTED for too
 * many elements. */
MUST_CHECK struct error *wire_check(const ProtobufCMessageDescriptor *message, const void *bytes,
                                    size_t len_bytes);
