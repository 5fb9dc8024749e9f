/* token.h - what skiffd has announced: each token opens one session, once, within CONTROL_TOKEN_MS.
 *
 * A token is looked for by comparing all of them, each whole: how long that takes says nothing about how much of a guess was
 * right. Threads: one. */
#pragma once
#include "cri/stream/control.h"
#include <stddef.h>
#include <stdint.h>

/* Of the command, or the pod's id, that comes with a token; what is longer is cut. It is shown to people. */
#define TOKEN_SUBJECT_MAX (8 << 10)

struct token {
        char text[CONTROL_TOKEN_CHARS + 1];
        enum control_kind kind;
        struct session_streams streams;
        uint16_t *ports;
        size_t n_ports;
        char *subject; /* "[sh -c exit 7]", or the pod's id */
        int64_t given_ns;
};

/* Frees it; NULL is fine. */
void token_free(struct token *token);
DEFINE_FREEP(struct token, token_free)

struct token_table {
        struct token *tokens[CONTROL_TOKENS_MAX]; /* the oldest first */
        size_t n;
};

/* Puts in what a CONTROL_TOKEN says. When there are too many the oldest goes. */
void token_put(struct token_table *table, const struct control_message *message, const char *subject,
               int64_t now_ns);

/* Takes the token out, for the caller to free; NULL when there is none of this text that is young enough. */
struct token *token_take(struct token_table *table, const char *text, int64_t now_ns);

/* Drops those that are too old; all with INT64_MAX. Returns when the next one will be, 0 when none is left. */
int64_t token_expire(struct token_table *table, int64_t now_ns);
