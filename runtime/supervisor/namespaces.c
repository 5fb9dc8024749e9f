#include "runtime/supervisor/pod.h"
#include "runtime/supervisor/sys.h"
#include <string.h>

/* "net.ipv4.ip_forward" to "sys/net/ipv4/ip_forward". As sysctl(8) does, a name whose first separator is a slash is
 * taken as it is, for interface names with dots in them. */
static int sysctl_set(const struct pod *pod, const char *name, const char *value)
{
        char path[256] = "sys/";
        size_t len_bytes = strlen(name);
        if (len_bytes + 5 > sizeof(path)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        memcpy(path + 4, name, len_bytes + 1);
        if (path[4 + strcspn(path + 4, "./")] == '.')
                for (char *at = path + 4; *at; at++)
                        *at = *at == '.' ? '/' : *at == '/' ? '.' : *at;
        /* Through our own procfs: nothing that a container mounted can stand in the way (CVE-2025-52881). */
        int fd = sys_openat2(pod->proc_fd, path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (fd < 0)
                return -1;
        size_t value_bytes = strlen(value);
        return write(fd, value, value_bytes) == (ssize_t) value_bytes ? 0 : -1;
}

static void failed(struct child_report *report, enum stage stage, size_t index)
{
        *report = (struct child_report){ .stage = stage, .errnum = errno, .index = (uint32_t) index };
}

void namespaces_set(struct pod *pod, const struct pod_start *start, struct child_report *report)
{
        if (*start->hostname && sethostname(start->hostname, strlen(start->hostname)) < 0) {
                failed(report, STAGE_HOSTNAME, 0);
                return;
        }
        for (size_t i = 0; start->sysctls[i] && start->sysctls[i + 1]; i += 2) {
                if (sysctl_set(pod, start->sysctls[i], start->sysctls[i + 1]) < 0) {
                        failed(report, STAGE_SYSCTL, i / 2);
                        return;
                }
        }
        if (pod->flags & POD_HOST_NETWORK)
                return;
        pod->netns_fd = openat(pod->proc_fd, "self/ns/net", O_RDONLY | O_CLOEXEC);
        if (pod->netns_fd < 0)
                failed(report, STAGE_NAMESPACES, 0);
}
