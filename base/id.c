#include "base/id.h"
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

void id_make(char out[ID_LEN + 1])
{
        static const char digits[] = "0123456789abcdef";
        uint8_t random[ID_LEN / 2];
        /* At most 256 bytes are never cut short once the pool is ready, getrandom(2). */
        while (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                ;
        for (size_t i = 0; i < sizeof(random); i++) {
                out[2 * i] = digits[random[i] >> 4];
                out[2 * i + 1] = digits[random[i] & 15];
        }
        out[ID_LEN] = '\0';
}

bool id_is_valid(const char *s)
{
        return strlen(s) == ID_LEN && strspn(s, "0123456789abcdef") == ID_LEN;
}
