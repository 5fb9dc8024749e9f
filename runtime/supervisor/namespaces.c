#include "runtime/supervisor/spawn.h"
#include "runtime/supervisor/sys.h"
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

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

static void sysctls_set(const struct pod *pod, char *const *sysctls, struct child_report *report)
{
        for (size_t i = 0; sysctls[i] && sysctls[i + 1]; i += 2) {
                if (sysctl_set(pod, sysctls[i], sysctls[i + 1]) < 0) {
                        failed(report, STAGE_SYSCTL, i / 2);
                        return;
                }
        }
}

/* Some hold ids (net.ipv4.ping_group_range), which are those of whoever writes them: so a child does it as the
 * namespace's root. */
static void sysctls_set_inside(const struct pod *pod, char *const *sysctls, struct child_report *report)
{
        _cleanup_(closep) int read_fd = -1, write_fd = -1;
        const struct sys_clone_args args = { .exit_signal = SIGCHLD };
        struct child_report inside = { .stage = STAGE_NONE };
        if (!sysctls[0])
                return;
        pid_t pid = report_socket(&read_fd, &write_fd) < 0 ? -1 : sys_clone3(&args);
        if (pid == 0) {
                if (userns_enter(pod) < 0)
                        failed(&inside, STAGE_USER_NAMESPACE, 0);
                else
                        sysctls_set(pod, sysctls, &inside);
                _exit(write(write_fd, &inside, sizeof(inside)) == (ssize_t) sizeof(inside) ? 0 : 1);
        }
        closep(&write_fd);
        if (pid < 0 || recv(read_fd, &inside, sizeof(inside), 0) != (ssize_t) sizeof(inside))
                failed(&inside, STAGE_USER_NAMESPACE, 0);
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                continue;
        *report = inside;
}

int userns_enter(const struct pod *pod)
{
        if (setns(pod->userns_fd, CLONE_NEWUSER) < 0)
                return -1;
        /* By number: libc's wrappers would signal other threads, and there are none. */
        return syscall(__NR_setgroups, 0, NULL) < 0 || syscall(__NR_setresgid, 0, 0, 0) < 0 ||
                               syscall(__NR_setresuid, 0, 0, 0) < 0
                       ? -1
                       : prctl(PR_SET_DUMPABLE, 0);
}

void namespaces_set(struct pod *pod, const struct pod_start *start, struct child_report *report)
{
        if (*start->hostname && sethostname(start->hostname, strlen(start->hostname)) < 0) {
                failed(report, STAGE_HOSTNAME, 0);
                return;
        }
        if (!(pod->flags & POD_HOST_NETWORK)) {
                pod->netns_fd = openat(pod->proc_fd, "self/ns/net", O_RDONLY | O_CLOEXEC);
                if (pod->netns_fd < 0) {
                        failed(report, STAGE_NAMESPACES, 0);
                        return;
                }
        }
        if (!(pod->flags & POD_USERNS)) {
                sysctls_set(pod, start->sysctls, report);
                return;
        }
        pod->userns_fd = pod->netns_fd < 0 ? -1 : ioctl(pod->netns_fd, NS_GET_USERNS);
        if (pod->userns_fd < 0)
                failed(report, STAGE_USER_NAMESPACE, 0);
        else
                sysctls_set_inside(pod, start->sysctls, report);
}
