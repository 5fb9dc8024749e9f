/* resize.h - sizes of terminals as clients send them, {"Width":101,"Height":33}, one JSON object after the other, read from
 * whatever pieces they come in. What is no size is passed over. Threads: no state. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESIZE_MAX 256 /* of an object; a longer one is passed over */

struct resize_reader {
        char object[RESIZE_MAX];
        size_t len_bytes; /* of what has come of it, with its brace; 0 between objects */
};

/* Reads on; a zeroed reader is at the beginning. True when there was a size; *rows and *columns are the last one's. */
bool resize_read(struct resize_reader *reader, const uint8_t *bytes, size_t len_bytes, uint16_t *rows,
                 uint16_t *columns);
