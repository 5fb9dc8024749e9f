/* trace.h - whose trace a piece of work belongs to: a W3C trace context, with OpenTelemetry's baggage.
 *
 * What a client sent along is handed on as it is; skiff makes no spans of its own. Threads: a struct trace is its owner's.
 * Source: W3C Trace Context (traceparent, tracestate), W3C Baggage; OpenTelemetry OTEP 258 for the names in an environment:
 * TRACEPARENT, TRACESTATE, BAGGAGE. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

#define TRACE_PARENT_LEN 55          /* "00-", 32 digits, "-", 16 digits, "-", 2 digits */
#define TRACE_STATE_MAX_BYTES 8192   /* more than the 512 that everybody must hand on */
#define TRACE_BAGGAGE_MAX_BYTES 8192 /* that everybody must hand on */

struct trace { /* zeroed: none */
        char parent[TRACE_PARENT_LEN + 1];
        char *state, *baggage; /* NULL: none; owned */
};

/* Takes a client's headers, each a text or NULL, into a trace that has none. Where the parent is missing or no traceparent the
 * trace gets a new one, which is not sampled, and the state is left out, as the standard wants it; so is a text that is too
 * long or not printable ASCII. */
void trace_take(struct trace *trace, const char *parent, const char *state, const char *baggage);

/* A copy of other; of NULL, or of none, a new one. What trace had is freed. */
void trace_set(struct trace *trace, const struct trace *other);

void trace_done(struct trace *trace); /* frees what it has; it is none then */
