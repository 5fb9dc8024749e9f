#include "runtime/capabilities.h"
#include <fcntl.h>
#include <string.h>
#include <strings.h>

static const char *const names[] = {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
};

struct error *capability_parse(const char *name, int *out)
{
        const char *bare = strncasecmp(name, "CAP_", 4) == 0 ? name + 4 : name;
        for (size_t i = 0; i < LENGTH(names); i++) {
                if (strcasecmp(bare, names[i] + 4) == 0) {
                        *out = (int) i;
                        return NULL;
                }
        }
        return error_new(ERROR_INVALID_ARGUMENT, "unknown capability \"%s\"", name);
}

uint64_t capabilities_default(void)
{
        static const char *const granted[] = { "CHOWN",   "DAC_OVERRIDE", "FSETID",           "FOWNER",
                                               "MKNOD",   "NET_RAW",      "SETGID",           "SETUID",
                                               "SETFCAP", "SETPCAP",      "NET_BIND_SERVICE", "SYS_CHROOT",
                                               "KILL",    "AUDIT_WRITE" };
        uint64_t set = 0;
        for (size_t i = 0; i < LENGTH(granted); i++) {
                int capability;
                struct error *e = capability_parse(granted[i], &capability);
                if (e)
                        abort(); /* a name of our own */
                set |= UINT64_C(1) << capability;
        }
        return set;
}

/* What we may hand on is our bounding set: the kernel has left out what it does not know. */
uint64_t capabilities_all(void)
{
        char text[4096];
        _cleanup_(closep) int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n_bytes <= 0)
                return capabilities_default();
        text[n_bytes] = '\0';
        const char *line = strstr(text, "\nCapBnd:");
        return line ? strtoull(line + sizeof("\nCapBnd:") - 1, NULL, 16) : capabilities_default();
}

const char *capability_name(int capability)
{
        return capability >= 0 && (size_t) capability < LENGTH(names) ? names[capability] : NULL;
}
