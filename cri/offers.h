/* offers.h - what clients were told they may have: a URL's token, and the request that it stands for.
 *
 * A token is 128 random bits, counts once, and for a minute (CONTROL_TOKEN_MS). At most CONTROL_TOKENS_MAX are open at once.
 * Requests stay here: skiff-stream, which strangers speak to, knows of them only what it needs to serve.
 *
 * Threads: any, at once. */
#pragma once
#include "base/error.h"
#include "cri/stream/control.h"
#include <protobuf-c/protobuf-c.h>

struct offer {
        char token[CONTROL_TOKEN_CHARS + 1];
        enum control_kind kind;
        ProtobufCMessage *request; /* of the call's type */
        int64_t expires_ns;
        struct offer *next; /* the younger one */
};
void offer_free(struct offer *offer); /* NULL is fine */
DEFINE_FREEP(struct offer, offer_free)

struct offers;
struct offers *offers_new(void);         /* without any */
void offers_free(struct offers *offers); /* NULL is fine */

/* Keeps a copy of request under a new token. Errors: RESOURCE_EXHAUSTED when too many are open. */
MUST_CHECK struct error *offers_add(struct offers *offers, enum control_kind kind,
                                    const ProtobufCMessage *request, int64_t now_ns,
                                    char token[CONTROL_TOKEN_CHARS + 1]);

/* Takes out what the token stands for: the caller's. NULL when there is none, or it is too old. */
struct offer *offers_take(struct offers *offers, const char *token, int64_t now_ns);

/* All of them: whoever was to be asked for them is gone. */
void offers_clear(struct offers *offers);
