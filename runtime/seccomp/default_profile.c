#include "runtime/seccomp/profile.h"

/* The file as it is, in our own binary: a node needs no file beside it for RuntimeDefault. */
__asm__(".section .rodata\n"
        ".global seccomp_default_json\n"
        ".global seccomp_default_json_end\n"
        "seccomp_default_json:\n"
        ".incbin \"" PROFILE_PATH "\"\n"
        "seccomp_default_json_end:\n"
        ".byte 0\n"
        ".previous\n");
