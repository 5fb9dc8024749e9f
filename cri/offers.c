#include "cri/offers.h"
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

struct offers {
        pthread_mutex_t lock;
        struct offer *first, **last; /* in the order of their coming, and so of their end */
        size_t n;
};

void offer_free(struct offer *offer)
{
        if (!offer)
                return;
        if (offer->request)
                protobuf_c_message_free_unpacked(offer->request, NULL);
        free(offer);
}

struct offers *offers_new(void)
{
        struct offers *offers = NEW(struct offers);
        (void) pthread_mutex_init(&offers->lock, NULL);
        offers->last = &offers->first;
        return offers;
}

/* Takes out the one that *at leads to. */
static struct offer *take_out(struct offers *offers, struct offer **at)
{
        struct offer *offer = *at;
        *at = offer->next;
        if (!offer->next)
                offers->last = at;
        offers->n--;
        return offer;
}

/* Those that have come to their end by now. */
static void expire(struct offers *offers, int64_t now_ns)
{
        while (offers->first && offers->first->expires_ns <= now_ns)
                offer_free(take_out(offers, &offers->first));
}

void offers_clear(struct offers *offers)
{
        (void) pthread_mutex_lock(&offers->lock);
        expire(offers, INT64_MAX);
        (void) pthread_mutex_unlock(&offers->lock);
}

void offers_free(struct offers *offers)
{
        if (!offers)
                return;
        offers_clear(offers);
        (void) pthread_mutex_destroy(&offers->lock);
        free(offers);
}

static struct error *message_copy(const ProtobufCMessage *message, ProtobufCMessage **out)
{
        size_t len_bytes = protobuf_c_message_get_packed_size(message);
        _cleanup_(freep) uint8_t *packed = malloc(len_bytes + 1);
        if (!packed)
                return error_errno(ENOMEM, "request");
        (void) protobuf_c_message_pack(message, packed);
        *out = protobuf_c_message_unpack(message->descriptor, NULL, len_bytes, packed);
        return *out ? NULL : error_errno(ENOMEM, "request");
}

static void token_make(char token[CONTROL_TOKEN_CHARS + 1])
{
        unsigned char bytes[CONTROL_TOKEN_CHARS / 2];
        while (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
                continue; /* interrupted: so few bytes come whole or not at all */
        for (size_t i = 0; i < sizeof(bytes); i++)
                (void) snprintf(token + 2 * i, 3, "%02x", bytes[i]);
}

struct error *offers_add(struct offers *offers, enum control_kind kind, const ProtobufCMessage *request,
                         int64_t now_ns, char token[CONTROL_TOKEN_CHARS + 1])
{
        _cleanup_(offer_freep) struct offer *offer = NEW(struct offer);
        TRY(message_copy(request, &offer->request));
        offer->kind = kind;
        offer->expires_ns = now_ns + CONTROL_TOKEN_MS * INT64_C(1000000);
        token_make(offer->token);
        memcpy(token, offer->token, sizeof(offer->token));
        (void) pthread_mutex_lock(&offers->lock);
        expire(offers, now_ns);
        bool full = offers->n >= CONTROL_TOKENS_MAX;
        if (!full) {
                *offers->last = TAKE(offer);
                offers->last = &(*offers->last)->next;
                offers->n++;
        }
        (void) pthread_mutex_unlock(&offers->lock);
        if (full)
                return error_new(
                        ERROR_RESOURCE_EXHAUSTED,
                        "%d streaming requests wait for their clients; each does for a minute at most",
                        CONTROL_TOKENS_MAX);
        return NULL;
}

struct offer *offers_take(struct offers *offers, const char *token, int64_t now_ns)
{
        struct offer **at, *offer = NULL;
        (void) pthread_mutex_lock(&offers->lock);
        expire(offers, now_ns);
        for (at = &offers->first; *at && strcmp((*at)->token, token) != 0;)
                at = &(*at)->next;
        if (*at)
                offer = take_out(offers, at);
        (void) pthread_mutex_unlock(&offers->lock);
        return offer;
}
