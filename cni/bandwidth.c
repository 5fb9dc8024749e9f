/* Kubernetes' bandwidth annotations to the capability's JSON. Source: apimachinery's Quantity ("10M", "1.5Gi", "1e6"), and
 * kubernetes/pkg/util/bandwidth for the range. */
#include "base/buf.h"
#include "cni/cni.h"
#include <ctype.h>
#include <string.h>

#define DIGITS_MAX 18
#define RATE_LEAST UINT64_C(1000)
#define RATE_MOST UINT64_C(1000000000000000)
#define BURST UINT32_MAX /* the most that the plugin takes: the rate alone limits */

__extension__ typedef unsigned __int128 wide; /* 18 digits times the largest suffix */

/* Digits with at most one point; *scale is the number of those behind it. */
static const char *read_digits(const char *at, uint64_t *out, int *scale)
{
        int n = 0;
        bool any = false, point = false;
        *out = 0;
        *scale = 0;
        for (; isdigit((unsigned char) *at) || (*at == '.' && !point); at++) {
                if (*at == '.') {
                        point = true;
                        continue;
                }
                any = true;
                *out = *out * 10 + (uint64_t) (*at - '0');
                *scale += point;
                n += *out != 0; /* leading zeros cost nothing */
                if (n > DIGITS_MAX || *scale > DIGITS_MAX)
                        return NULL;
        }
        return any ? at : NULL;
}

static bool read_exponent(const char *at, int *power)
{
        bool negative = *at == '-';
        at += *at == '-' || *at == '+';
        size_t n = strspn(at, "0123456789");
        if (n == 0 || n > 2 || at[n])
                return false;
        int value = (int) strtol(at, NULL, 10);
        *power = negative ? -value : value;
        return value <= DIGITS_MAX;
}

/* The suffix: a power of ten, or of 1024. */
static bool read_suffix(const char *at, int *ten, int *binary)
{
        static const char decimal[] = "num kMGTPE", *const binaries[] = {
                "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"
        };
        *ten = *binary = 0;
        if (!*at)
                return true;
        if (*at == 'e' || (*at == 'E' && at[1]))
                return read_exponent(at + 1, ten) || (strcmp(at, "Ei") == 0 && (*binary = 6));
        for (size_t i = 0; i < LENGTH(binaries); i++)
                if (strcmp(at, binaries[i]) == 0)
                        *binary = (int) i + 1;
        const char *found = strchr(decimal, *at);
        if (!*binary && *at != ' ' && found && !at[1])
                *ten = 3 * ((int) (found - decimal) - 3);
        return *binary || *ten;
}

static wide power_of(unsigned base, int exponent)
{
        wide value = 1;
        while (exponent-- > 0)
                value *= base;
        return value;
}

/* Rounded up, as Quantity does. */
static bool read_rate(const char *text, uint64_t *out)
{
        uint64_t digits;
        int scale, ten, binary;
        const char *rest = read_digits(text + (*text == '+'), &digits, &scale);
        if (!rest || !read_suffix(rest, &ten, &binary))
                return false;
        ten -= scale;
        wide value = digits * power_of(1024, binary);
        if (ten >= 0) {
                *out = value > RATE_MOST || (value && power_of(10, ten) > RATE_MOST)
                               ? UINT64_MAX
                               : (uint64_t) (value * power_of(10, ten));
                return true;
        }
        wide unit = power_of(10, -ten);
        value = value / unit + (value % unit != 0);
        *out = value > RATE_MOST ? UINT64_MAX : (uint64_t) value;
        return true;
}

static struct error *put_rate(struct buf *out, const char *name, const char *text)
{
        uint64_t rate;
        if (!text)
                return NULL;
        if (!read_rate(text, &rate))
                return error_new(ERROR_INVALID_ARGUMENT, "%s bandwidth \"%.80s\" is no quantity", name, text);
        if (rate < RATE_LEAST || rate > RATE_MOST)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "%s bandwidth \"%.80s\" is not from 1k to 1P bits a second", name, text);
        return buf_append_format(out, "%s\"%sRate\":%llu,\"%sBurst\":%u", out->len_bytes > 1 ? "," : "", name,
                                 (unsigned long long) rate, name, BURST);
}

struct error *cni_bandwidth(const char *ingress, const char *egress, char **out_json)
{
        _cleanup_(buf_done) struct buf json;
        buf_init(&json, 1024);
        TRY(buf_append_text(&json, "{"));
        TRY(put_rate(&json, "ingress", ingress));
        TRY(put_rate(&json, "egress", egress));
        TRY(buf_append_text(&json, "}"));
        *out_json = ingress || egress ? buf_take_text(&json) : NULL;
        return NULL;
}
