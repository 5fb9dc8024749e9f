#include "cni/bridge/firewall_conditions.h"
#include "cni/bridge/config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define WORD_BYTES 80

/* A walk over words: those of nft are also apart by blanks within a text. */
struct words {
        const char *const *next;
        const char *rest; /* of the text that is read; NULL: at the next one */
        bool by_blanks;
        char word[WORD_BYTES];
};

static bool read_word(struct words *w)
{
        for (;;) {
                if (!w->rest && !*w->next)
                        return false;
                if (!w->rest)
                        w->rest = *w->next++;
                if (w->by_blanks)
                        w->rest += strspn(w->rest, " \t");
                size_t len_bytes = w->by_blanks ? strcspn(w->rest, " \t") : strlen(w->rest);
                (void) snprintf(w->word, sizeof(w->word), "%.*s", (int) len_bytes, w->rest);
                w->rest = w->by_blanks && w->rest[len_bytes] ? w->rest + len_bytes : NULL;
                if (len_bytes)
                        return true;
        }
}

static const char *first_word(const char *const *words)
{
        while (words && *words && !**words)
                words++;
        return words ? *words : NULL;
}

const char *fw_conditions_language(const char *const *words)
{
        const char *first = first_word(words);
        if (!first)
                return NULL;
        return *first == '-' || *first == '!' ? "iptables" : "nftables";
}

static struct error *error_unbuilt(const char *word)
{
        return error_new(ERROR_UNIMPLEMENTED,
                         "\"%s\" is not supported by skiff-bridge: a condition is an address of source or "
                         "destination, or the interface that a packet came by",
                         word);
}

/* 255.255.0.0 as 16; false for what has a hole. */
static bool prefix_of_mask(const struct address *mask, uint8_t *out)
{
        unsigned n = 0, bits = address_bits(mask);
        while (n < bits && mask->bytes[n / 8] >> (7 - n % 8) & 1)
                n++;
        for (unsigned i = n; i < bits; i++)
                if (mask->bytes[i / 8] >> (7 - i % 8) & 1)
                        return false;
        *out = (uint8_t) n;
        return true;
}

static struct error *read_subnet(char *text, uint8_t family, struct address *out)
{
        char *slash = strchr(text, '/');
        bool with_mask = slash && strpbrk(slash, ".:");
        struct address mask;
        if (strchr(text, ',') || *text == '{' || *text == '@')
                return error_unbuilt(text);
        if (with_mask) {
                *slash = '\0';
                TRY(address_parse(slash + 1, &mask));
        }
        TRY(address_parse_either(text, out));
        if (out->family != family || (with_mask && mask.family != family))
                return error_new(ERROR_INVALID_ARGUMENT, "%s is not an IPv%d address", text,
                                 family == AF_INET ? 4 : 6);
        if (with_mask && !prefix_of_mask(&mask, &out->prefix))
                return error_new(ERROR_INVALID_ARGUMENT, "the mask of %s has a hole", text);
        *out = address_network(out);
        return NULL;
}

static struct error *read_interface(char *text, char wildcard, struct fw_condition *out)
{
        size_t len_bytes = strlen(text);
        if (*text == '{' || *text == '@')
                return error_unbuilt(text);
        if (len_bytes > 2 && *text == '"' && text[len_bytes - 1] == '"') {
                text[--len_bytes] = '\0';
                text++;
                len_bytes--;
        }
        out->is_beginning = len_bytes && text[len_bytes - 1] == wildcard;
        if (out->is_beginning)
                text[--len_bytes] = '\0';
        if (!config_ifname_is_valid(text))
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is no interface's name", text);
        memset(out->name, 0, sizeof(out->name));
        memcpy(out->name, text, len_bytes);
        return NULL;
}

static struct error *read_value(struct words *w, uint8_t family, struct fw_condition *c)
{
        char what[WORD_BYTES];
        (void) snprintf(what, sizeof(what), "%s", w->word);
        if (!read_word(w))
                return error_new(ERROR_INVALID_ARGUMENT, "nothing stands behind \"%s\"", what);
        if (!w->by_blanks)
                return c->kind == FW_INTERFACE ? read_interface(w->word, '+', c)
                                               : read_subnet(w->word, family, &c->address);
        if (strcmp(w->word, "==") == 0 || strcmp(w->word, "!=") == 0) {
                c->differs = *w->word == '!';
                if (!read_word(w))
                        return error_new(ERROR_INVALID_ARGUMENT, "nothing stands behind \"%s\"", what);
        }
        return c->kind == FW_INTERFACE ? read_interface(w->word, '*', c)
                                       : read_subnet(w->word, family, &c->address);
}

static struct error *read_iptables(struct words *w, uint8_t family, struct fw_condition *c)
{
        static const struct {
                const char *word;
                enum fw_condition_kind kind;
        } options[] = { { "-s", FW_SOURCE },         { "--source", FW_SOURCE },
                        { "--src", FW_SOURCE },      { "-d", FW_DESTINATION },
                        { "--dst", FW_DESTINATION }, { "--destination", FW_DESTINATION },
                        { "-i", FW_INTERFACE },      { "--in-interface", FW_INTERFACE } };
        if (strcmp(w->word, "!") == 0) {
                c->differs = true;
                if (!read_word(w))
                        return error_new(ERROR_INVALID_ARGUMENT, "nothing stands behind \"!\"");
        }
        for (size_t i = 0; i < LENGTH(options); i++)
                if (strcmp(w->word, options[i].word) == 0) {
                        c->kind = options[i].kind;
                        return read_value(w, family, c);
                }
        return error_unbuilt(w->word);
}

static struct error *read_nft(struct words *w, uint8_t family, struct fw_condition *c)
{
        const char *own = family == AF_INET ? "ip" : "ip6";
        if (strcmp(w->word, "meta") == 0 && !read_word(w))
                return error_new(ERROR_INVALID_ARGUMENT, "nothing stands behind \"meta\"");
        if (strcmp(w->word, "iifname") == 0) {
                c->kind = FW_INTERFACE;
                return read_value(w, family, c);
        }
        if (strcmp(w->word, "ip") != 0 && strcmp(w->word, "ip6") != 0)
                return error_unbuilt(w->word);
        if (strcmp(w->word, own) != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is of the other family", w->word);
        if (!read_word(w))
                return error_new(ERROR_INVALID_ARGUMENT, "nothing stands behind \"%s\"", own);
        c->kind = strcmp(w->word, "saddr") == 0 ? FW_SOURCE : FW_DESTINATION;
        if (c->kind == FW_DESTINATION && strcmp(w->word, "daddr") != 0)
                return error_unbuilt(w->word);
        return read_value(w, family, c);
}

struct error *fw_conditions_parse(const char *const *words, uint8_t family, struct fw_conditions *out)
{
        const char *language = fw_conditions_language(words);
        *out = (struct fw_conditions){ .n = 0 };
        if (!language)
                return NULL;
        struct words w = { .next = words, .by_blanks = strcmp(language, "nftables") == 0 };
        while (read_word(&w)) {
                if (out->n == FW_CONDITIONS_MAX)
                        return error_new(ERROR_UNIMPLEMENTED, "more than %d conditions", FW_CONDITIONS_MAX);
                struct fw_condition *c = &out->all[out->n++];
                *c = (struct fw_condition){ .kind = FW_SOURCE };
                TRY(w.by_blanks ? read_nft(&w, family, c) : read_iptables(&w, family, c));
        }
        return NULL;
}
