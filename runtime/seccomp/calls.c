#include "runtime/seccomp/calls.h"
#include "base/cleanup.h"
#include <seccomp.h>
#include <string.h>

static const struct {
        const char *name;
        int number;
} calls[] = {
#if defined(__x86_64__)
        { "uretprobe", 335 }, /* 6.11 */
        { "uprobe", 336 },    /* 6.18 */
#endif
        { "cachestat", 451 },
        { "fchmodat2", 452 },
        { "map_shadow_stack", 453 },
        { "futex_wake", 454 },
        { "futex_wait", 455 },
        { "futex_requeue", 456 },
        { "statmount", 457 },
        { "listmount", 458 },
        { "lsm_get_self_attr", 459 },
        { "lsm_set_self_attr", 460 },
        { "lsm_list_modules", 461 },
        { "mseal", 462 },
        { "setxattrat", 463 },
        { "getxattrat", 464 },
        { "listxattrat", 465 },
        { "removexattrat", 466 },
        { "open_tree_attr", 467 },
        { "file_getattr", 468 },
        { "file_setattr", 469 },
};

int call_number(const char *name, bool *by_us)
{
        int number = seccomp_syscall_resolve_name(name);
        *by_us = false;
        if (number != __NR_SCMP_ERROR)
                return number;
        for (size_t i = 0; i < LENGTH(calls); i++)
                if (strcmp(calls[i].name, name) == 0) {
                        *by_us = true;
                        return calls[i].number;
                }
        return CALL_UNKNOWN;
}

char *call_name(int number)
{
        char *name = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), number);
        for (size_t i = 0; i < LENGTH(calls) && !name; i++)
                if (calls[i].number == number)
                        name = dup_string(calls[i].name);
        return name;
}
