/* What of a host's ways to keep pods apart skiff can use; pods that ask for what is not there are refused. */
#include "base/cleanup.h"
#include "cri/client/host_checks.h"
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define USERNS_MAJOR 5U /* the first kernel in which overlayfs takes idmapped layers */
#define USERNS_MINOR 19U

#define say(detail, size_bytes, ...) ((void) snprintf((detail), (size_bytes), __VA_ARGS__))

static char first_byte(const char *path)
{
        char byte = '\0';
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd >= 0 && read(fd, &byte, 1) == 1 ? byte : '\0';
}

enum check_result check_user_namespaces(char *detail, size_t size_bytes)
{
        struct utsname name;
        unsigned major = 0, minor = 0;
        if (uname(&name) == 0)
                (void) sscanf(name.release, "%u.%u", &major, &minor);
        if (major > USERNS_MAJOR || (major == USERNS_MAJOR && minor >= USERNS_MINOR)) {
                say(detail, size_bytes, "this kernel can (`skiff info` tells whether the image store can)");
                return CHECK_OK;
        }
        say(detail, size_bytes, "pods that ask for one (hostUsers: false) are refused on %u.%u", major,
            minor);
        return CHECK_WARN;
}

enum check_result check_apparmor(char *detail, size_t size_bytes)
{
        static const char *const parsers[] = { "/usr/sbin/apparmor_parser", "/sbin/apparmor_parser" };
        if (first_byte("/sys/module/apparmor/parameters/enabled") != 'Y') {
                say(detail, size_bytes,
                    "not in this kernel: pods run without, and one that asks for it is refused");
                return CHECK_OK;
        }
        for (size_t i = 0; i < LENGTH(parsers); i++)
                if (access(parsers[i], X_OK) == 0) {
                        say(detail, size_bytes, "on; skiffd loads its profile with %s", parsers[i]);
                        return CHECK_OK;
                }
        say(detail, size_bytes, "on, but there is no apparmor_parser: pods run without a profile");
        return CHECK_WARN;
}

/* The policy that /etc/selinux/config names. */
static bool policy_name(char *out, size_t size_bytes)
{
        char text[4096];
        _cleanup_(closep) int fd = open("/etc/selinux/config", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = '\0';
        char *rest = text;
        for (char *line; (line = strsep(&rest, "\n"));)
                if (strncmp(line, "SELINUXTYPE=", 12) == 0) {
                        say(out, size_bytes, "%.*s", (int) strcspn(line + 12, " \t\r"), line + 12);
                        return true;
                }
        return false;
}

enum check_result check_selinux(char *detail, size_t size_bytes)
{
        char enforces = first_byte("/sys/fs/selinux/enforce"), policy[64] = "";
        if (!enforces) {
                say(detail, size_bytes, "off: labels are passed over");
                return CHECK_OK;
        }
        bool is_named = policy_name(policy, sizeof(policy));
        _cleanup_(freep) char *contexts = format_string("/etc/selinux/%s/contexts/lxc_contexts", policy);
        bool has_contexts = is_named && access(contexts, R_OK) == 0;
        say(detail, size_bytes, "%s, %s contexts for containers%s%s",
            enforces == '1' ? "enforcing" : "permissive", has_contexts ? "with" : "but its policy has no",
            has_contexts ? " of " : "", policy);
        return has_contexts ? CHECK_OK : CHECK_WARN;
}
