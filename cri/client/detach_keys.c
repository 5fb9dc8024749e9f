#include "cri/client/detach_keys.h"
#include <ctype.h>
#include <string.h>

static bool parse_key(const char *text, size_t len_bytes, uint8_t *out)
{
        static const char ctrl[] = "ctrl-";
        if (len_bytes == 1) {
                *out = (uint8_t) *text;
                return true;
        }
        if (len_bytes != strlen(ctrl) + 1 || strncmp(text, ctrl, strlen(ctrl)) != 0)
                return false;
        int key = toupper((unsigned char) text[strlen(ctrl)]);
        *out = (uint8_t) (key & 0x1f);
        return key >= '@' && key <= '_';
}

struct error *detach_keys_parse(const char *text, struct detach_keys *out)
{
        struct detach_keys keys = { 0 };
        for (const char *at = text; *text;) {
                size_t len_bytes = strcspn(at, ",");
                if (keys.n_keys == DETACH_KEYS_MAX || !parse_key(at, len_bytes, &keys.keys[keys.n_keys++]))
                        return error_new(
                                ERROR_INVALID_ARGUMENT,
                                "\"%s\" are no keys: up to %d between commas, such as " DETACH_KEYS_DEFAULT,
                                text, DETACH_KEYS_MAX);
                at += len_bytes;
                if (!*at)
                        break;
                at++;
        }
        *out = keys;
        return NULL;
}

bool detach_keys_filter(struct detach_keys *keys, const uint8_t *bytes, size_t len_bytes, uint8_t *out,
                        size_t *out_bytes)
{
        *out_bytes = 0;
        for (size_t i = 0; i < len_bytes; i++) {
                if (keys->n_keys == 0) {
                        out[(*out_bytes)++] = bytes[i];
                        continue;
                }
                /* Fewer than n_keys are held, for all of them would have ended this. */
                keys->held[keys->n_held++] = bytes[i];
                while (keys->n_held && memcmp(keys->held, keys->keys, keys->n_held) != 0) {
                        out[(*out_bytes)++] = keys->held[0];
                        memmove(keys->held, keys->held + 1, --keys->n_held);
                }
                if (keys->n_held == keys->n_keys)
                        return true;
        }
        return false;
}
