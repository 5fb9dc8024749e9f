#include "images/loopback.h"
#include "base/cleanup.h"
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

bool is_loopback(const char *host)
{
        struct in_addr four;
        struct in6_addr six;
        size_t n = strlen(host);
        bool bracketed = n >= 2 && host[0] == '[' && host[n - 1] == ']';
        _cleanup_(freep) char *plain = bracketed ? dup_bytes(host + 1, n - 2) : dup_string(host);
        if (inet_pton(AF_INET, plain, &four) == 1)
                return (ntohl(four.s_addr) >> 24) == 127;
        if (inet_pton(AF_INET6, plain, &six) == 1)
                return IN6_IS_ADDR_LOOPBACK(&six);
        return strcasecmp(plain, "localhost") == 0;
}
