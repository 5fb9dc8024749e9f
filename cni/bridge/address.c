#include "cni/bridge/address.h"
#include <arpa/inet.h>
#include <string.h>

unsigned address_length(const struct address *a)
{
        return a->family == AF_INET ? 4 : 16;
}

unsigned address_bits(const struct address *a)
{
        return address_length(a) * 8;
}

struct error *address_parse(const char *text, struct address *out)
{
        static const uint8_t mapped[12] = { [10] = 0xff, 0xff };
        struct address a = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };
        if (inet_pton(a.family, text, a.bytes) != 1)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not an IP address", text);
        if (a.family == AF_INET6 && memcmp(a.bytes, mapped, sizeof(mapped)) == 0) {
                memmove(a.bytes, a.bytes + 12, 4);
                memset(a.bytes + 4, 0, 12);
                a.family = AF_INET;
        }
        a.prefix = (uint8_t) address_bits(&a);
        *out = a;
        return NULL;
}

struct error *address_parse_cidr(const char *text, struct address *out)
{
        char alone[ADDRESS_TEXT_BYTES];
        const char *slash = strchr(text, '/');
        size_t len_bytes = slash ? (size_t) (slash - text) : 0;
        if (!slash || len_bytes >= sizeof(alone))
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not an address with a prefix", text);
        memcpy(alone, text, len_bytes);
        alone[len_bytes] = '\0';
        struct address a;
        TRY(address_parse(alone, &a));
        const char *digits = slash + 1;
        size_t n = strspn(digits, "0123456789");
        unsigned long prefix = n ? strtoul(digits, NULL, 10) : 0;
        if (n == 0 || n > 3 || digits[n] || prefix > address_bits(&a))
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not an address with a prefix", text);
        a.prefix = (uint8_t) prefix;
        *out = a;
        return NULL;
}

struct error *address_parse_either(const char *text, struct address *out)
{
        return strchr(text, '/') ? address_parse_cidr(text, out) : address_parse(text, out);
}

/* Own code, for names of lease files must be host-local's: musl shortens a single group of zeros too, glibc writes the
 * last 32 bits of some addresses as IPv4. */
static void ipv6_text(const uint8_t bytes[16], char out[ADDRESS_TEXT_BYTES])
{
        unsigned group[8], best = 8, best_length = 1;
        for (unsigned i = 0; i < 8; i++)
                group[i] = (unsigned) bytes[2 * i] << 8 | bytes[2 * i + 1];
        for (unsigned i = 0, n; i < 8; i += n ? n : 1) {
                for (n = 0; i + n < 8 && group[i + n] == 0; n++)
                        ;
                if (n > best_length) {
                        best = i;
                        best_length = n;
                }
        }
        size_t at = 0;
        out[0] = '\0';
        for (unsigned i = 0; i < 8; i++) {
                if (i == best) {
                        at += (size_t) snprintf(out + at, ADDRESS_TEXT_BYTES - at, "::");
                        i += best_length - 1;
                        continue;
                }
                const char *colon = at == 0 || out[at - 1] == ':' ? "" : ":";
                at += (size_t) snprintf(out + at, ADDRESS_TEXT_BYTES - at, "%s%x", colon, group[i]);
        }
}

char *address_text(const struct address *a, char out[ADDRESS_TEXT_BYTES])
{
        out[0] = '\0';
        if (a->family == AF_INET6)
                ipv6_text(a->bytes, out);
        else if (a->family == AF_INET)
                (void) snprintf(out, ADDRESS_TEXT_BYTES, "%u.%u.%u.%u", a->bytes[0], a->bytes[1], a->bytes[2],
                                a->bytes[3]);
        return out;
}

char *address_cidr(const struct address *a, char out[ADDRESS_TEXT_BYTES])
{
        size_t len_bytes = strlen(address_text(a, out));
        (void) snprintf(out + len_bytes, ADDRESS_TEXT_BYTES - len_bytes, "/%u", a->prefix);
        return out;
}

int address_compare(const struct address *a, const struct address *b)
{
        if (a->family != b->family)
                return a->family < b->family ? -1 : 1;
        return memcmp(a->bytes, b->bytes, address_length(a));
}

struct address address_network(const struct address *a)
{
        struct address net = *a;
        for (unsigned bit = a->prefix; bit < address_bits(a); bit++)
                net.bytes[bit / 8] &= (uint8_t) ~(0x80U >> bit % 8);
        return net;
}

struct address address_broadcast(const struct address *a)
{
        struct address last = *a;
        for (unsigned bit = a->prefix; bit < address_bits(a); bit++)
                last.bytes[bit / 8] |= (uint8_t) (0x80U >> bit % 8);
        return last;
}

bool address_within(const struct address *net, const struct address *a)
{
        if (net->family != a->family)
                return false;
        struct address of_a = *a;
        of_a.prefix = net->prefix;
        struct address base = address_network(net);
        of_a = address_network(&of_a);
        return address_compare(&base, &of_a) == 0;
}

struct address address_next(const struct address *a)
{
        struct address next = *a;
        for (unsigned i = address_length(a); i-- > 0;)
                if (++next.bytes[i])
                        break;
        return next;
}
