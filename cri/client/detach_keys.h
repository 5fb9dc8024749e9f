/* detach_keys.h - the keys by which somebody leaves a terminal's session and lets its program run.
 *
 * As docker has them: "ctrl-p,ctrl-q". What looks like their beginning is kept back until it is known whether it is.
 * Threads: one. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DETACH_KEYS_MAX 16
#define DETACH_KEYS_DEFAULT "ctrl-p,ctrl-q"

struct detach_keys {
        uint8_t keys[DETACH_KEYS_MAX], held[DETACH_KEYS_MAX];
        size_t n_keys, n_held; /* n_keys is 0: nothing detaches */
};

/* Keys between commas: a character, or ctrl- and one of a-z @ [ \ ] ^ _. "": none. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *detach_keys_parse(const char *text, struct detach_keys *out);

/* Copies what is to go on to out, which has room for len_bytes + DETACH_KEYS_MAX. True: the keys came, and what follows them
 * is dropped. */
bool detach_keys_filter(struct detach_keys *keys, const uint8_t *bytes, size_t len_bytes, uint8_t *out,
                        size_t *out_bytes);
