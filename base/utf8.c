#include "base/utf8.h"
#include "base/cleanup.h"
#include <stdint.h>
#include <string.h>

/* The bytes of the character at p, of which len_bytes are there; 0 when it is not valid. */
static size_t character_bytes(const unsigned char *p, size_t len_bytes)
{
        if (p[0] < 0x80)
                return p[0] ? 1 : 0;
        size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
        if (p[0] < 0xc2 || p[0] > 0xf4 || n > len_bytes)
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        /* overlong, surrogates, past U+10FFFF */
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
            (p[0] == 0xf4 && p[1] > 0x8f))
                return 0;
        return n;
}

/* Whether the eight bytes are all ASCII and none is NUL: nearly all text is, so this is the loop that counts. */
static bool is_plain_word(uint64_t word)
{
        return !((word | (word - 0x0101010101010101ULL)) & 0x8080808080808080ULL);
}

bool utf8_is_text(const void *bytes, size_t len_bytes)
{
        const unsigned char *p = bytes, *end = p + len_bytes;
        while (p < end) {
                uint64_t word;
                if ((size_t) (end - p) >= sizeof(word)) {
                        memcpy(&word, p, sizeof(word));
                        if (is_plain_word(word)) {
                                p += sizeof(word);
                                continue;
                        }
                }
                size_t n = character_bytes(p, (size_t) (end - p));
                if (!n)
                        return false;
                p += n;
        }
        return true;
}

char *utf8_repair(const char *s, size_t limit_bytes)
{
        static const char cut[] = "...";
        size_t len_bytes = strlen(s),
               room_bytes = len_bytes > limit_bytes ? limit_bytes - strlen(cut) : len_bytes;
        char *out = dup_bytes(s, room_bytes + strlen(cut) > len_bytes ? len_bytes : room_bytes + strlen(cut));
        size_t at = 0;
        while (at < room_bytes) {
                size_t n = character_bytes((const unsigned char *) s + at, len_bytes - at);
                if (at + n > room_bytes)
                        break;
                if (n == 0)
                        out[at] = '?';
                at += n ? n : 1;
        }
        if (len_bytes > limit_bytes)
                memcpy(out + at, cut, sizeof(cut));
        return out;
}
