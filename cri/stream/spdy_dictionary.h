/* spdy_dictionary.h - the text that zlib knows before the first header block of a SPDY/3 connection, both ways.
 *
 * Its order and every byte count: its Adler-32 is what a block's first bytes name it by.
 *
 * Threads: constant. Source: SPDY Protocol Draft 3.1, 2.6.10.1. */
#pragma once

#define SPDY_DICTIONARY_BYTES 1423
#define SPDY_DICTIONARY_ADLER32 0xe3c6a7c2

/* A NUL stands behind it. */
extern const char spdy_dictionary[SPDY_DICTIONARY_BYTES + 1];
