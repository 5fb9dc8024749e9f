/* base64.h - base64 both ways; a decoder that is fed in pieces. Threads: no state. Source: RFC 4648 4. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters for n bytes, with a NUL. */
#define BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1)

/* Encodes with padding, without a NUL; returns how many characters. */
size_t base64_encode(const uint8_t *bytes, size_t len_bytes, char *out);

/* What of four characters has come; zeroed at the beginning of a text. */
struct base64_reader {
        uint32_t bits;
        uint8_t n_chars;
        uint8_t n_padding;
};

/* Decodes into out, which may be bytes itself and has room for as many. False for what is no base64; missing padding
 * at the end is borne. */
bool base64_decode(struct base64_reader *reader, const uint8_t *bytes, size_t len_bytes, uint8_t *out,
                   size_t *out_bytes);
