#include "cri/stream/base64.h"

size_t base64_encode(const uint8_t *bytes, size_t len_bytes, char *out)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char *to = out;
        for (; len_bytes >= 3; len_bytes -= 3, bytes += 3) {
                uint32_t bits = (uint32_t) bytes[0] << 16 | (uint32_t) bytes[1] << 8 | bytes[2];
                *to++ = digits[bits >> 18];
                *to++ = digits[bits >> 12 & 63];
                *to++ = digits[bits >> 6 & 63];
                *to++ = digits[bits & 63];
        }
        if (len_bytes) {
                uint32_t bits = (uint32_t) bytes[0] << 16 | (len_bytes == 2 ? (uint32_t) bytes[1] << 8 : 0);
                *to++ = digits[bits >> 18];
                *to++ = digits[bits >> 12 & 63];
                *to++ = len_bytes == 2 ? digits[bits >> 6 & 63] : '=';
                *to++ = '=';
        }
        return (size_t) (to - out);
}

static int value_of(uint8_t c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct base64_reader *reader, const uint8_t *bytes, size_t len_bytes, uint8_t *out,
                   size_t *out_bytes)
{
        uint8_t *to = out;
        *out_bytes = 0;
        for (size_t i = 0; i < len_bytes; i++) {
                int value = value_of(bytes[i]);
                if (bytes[i] == '=' && reader->n_chars >= 2 && reader->n_padding < 4 - reader->n_chars) {
                        reader->n_padding++;
                        continue;
                }
                if (value < 0 || reader->n_padding)
                        return false;
                reader->bits = reader->bits << 6 | (uint32_t) value;
                switch (reader->n_chars) {
                case 1:
                        *to++ = (uint8_t) (reader->bits >> 4);
                        break;
                case 2:
                        *to++ = (uint8_t) (reader->bits >> 2);
                        break;
                case 3:
                        *to++ = (uint8_t) reader->bits;
                        break;
                default:
                        break;
                }
                reader->n_chars = (reader->n_chars + 1) & 3;
        }
        *out_bytes = (size_t) (to - out);
        return true;
}
