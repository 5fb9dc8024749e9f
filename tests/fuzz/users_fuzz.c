/* An image's passwd and group, and the user text: three parts of the input, parted by 0xff. */
#include "runtime/users_internal.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct user user = { 0 };
        const uint8_t *end = bytes + len_bytes;
        const uint8_t *first = len_bytes ? memchr(bytes, 0xff, len_bytes) : NULL;
        const uint8_t *second = first ? memchr(first + 1, 0xff, (size_t) (end - first - 1)) : NULL;
        if (!second)
                return 0;
        _cleanup_(freep) char *text = dup_bytes(bytes, (size_t) (first - bytes));
        struct error *e = user_of_files((const char *) first + 1, (size_t) (second - first - 1),
                                        (const char *) second + 1, (size_t) (end - second - 1), text, &user);
        if (!e && user.home[0] != '/')
                abort();
        error_free(e);
        user_done(&user);
        return 0;
}
