#include "cri/client/host_checks.h"
#include "base/cleanup.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#define CNI_CONF_DIR "/etc/cni/net.d" /* unless skiffd is told of another */
#define NEEDED_MAJOR 5U
#define NEEDED_MINOR 15U
#define LIMIT_WANTED 4096

#define say(detail, size_bytes, ...) ((void) snprintf((detail), (size_bytes), __VA_ARGS__))

/* The first bytes of a small file of the kernel's; "" when it cannot be read. */
static void read_small(const char *path, char *text, size_t size_bytes)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, text, size_bytes - 1);
        text[n_bytes > 0 ? n_bytes : 0] = '\0';
}

static enum check_result check_root(char *detail, size_t size_bytes)
{
        say(detail, size_bytes, "this is user %u", geteuid());
        return geteuid() == 0 ? CHECK_OK : CHECK_WARN;
}

static enum check_result check_kernel(char *detail, size_t size_bytes)
{
        struct utsname name;
        unsigned major = 0, minor = 0;
        if (uname(&name) == 0)
                (void) sscanf(name.release, "%u.%u", &major, &minor);
        say(detail, size_bytes, "%u.%u, %u.%u or newer is needed", major, minor, NEEDED_MAJOR, NEEDED_MINOR);
        return major > NEEDED_MAJOR || (major == NEEDED_MAJOR && minor >= NEEDED_MINOR) ? CHECK_OK
                                                                                        : CHECK_FAIL;
}

static enum check_result check_mount_api(char *detail, size_t size_bytes)
{
        _cleanup_(closep) int fd = (int) syscall(SYS_fsopen, "tmpfs", 1);
        if (fd >= 0 || errno == EPERM) {
                say(detail, size_bytes, "fsopen, open_tree and move_mount are there");
                return CHECK_OK;
        }
        say(detail, size_bytes, "fsopen: %s", strerror(errno));
        return CHECK_FAIL;
}

static enum check_result check_overlay(char *detail, size_t size_bytes)
{
        _cleanup_(closep) int fd = (int) syscall(SYS_fsopen, "overlay", 1);
        if (fd >= 0) {
                say(detail, size_bytes, "there");
                return CHECK_OK;
        }
        if (errno == EPERM) {
                say(detail, size_bytes, "only root can tell");
                return CHECK_WARN;
        }
        say(detail, size_bytes, "the kernel has no overlay filesystem: %s", strerror(errno));
        return CHECK_FAIL;
}

/* "ID PARENT DEV ROOT / OPTIONS [shared:N]... - TYPE SOURCE OPTIONS" of the last mount at /, proc_pid_mountinfo(5). */
static bool find_root_mount(char *line, size_t size_bytes)
{
        char *next = NULL;
        size_t room = 0;
        bool found = false;
        FILE *file = fopen("/proc/self/mountinfo", "re");
        while (file && getline(&next, &room, file) > 0) {
                char point[3];
                if (sscanf(next, "%*s %*s %*s %*s %2s", point) == 1 && strcmp(point, "/") == 0) {
                        (void) snprintf(line, size_bytes, "%s", next);
                        found = true;
                }
        }
        free(next);
        if (file)
                (void) fclose(file);
        return found;
}

/* Any propagation does: skiff's own namespaces take none of it. What cannot be left is an initramfs (pivot_root(2)). */
static enum check_result check_root_mount(char *detail, size_t size_bytes)
{
        char line[1024] = "";
        if (!find_root_mount(line, sizeof(line))) {
                say(detail, size_bytes,
                    "/ is a chroot that is no mount: mounts of the host may not be seen here");
                return CHECK_WARN;
        }
        if (strstr(line, " - rootfs ")) {
                say(detail, size_bytes, "/ is an initramfs");
                return CHECK_FAIL;
        }
        const char *separator = strstr(line, " - ");
        const char *shared = strstr(line, " shared:");
        const char *slave = strstr(line, " master:");
        bool is_shared = shared && separator && shared < separator;
        say(detail, size_bytes,
            is_shared ? "/ is shared, as systemd mounts it"
            : slave && separator && slave < separator
                    ? "/ is a slave: what pods mount in volumes with mountPropagation Bidirectional stays "
                      "here"
                    : "/ is private: volumes with mountPropagation need a shared mount below them");
        return CHECK_OK;
}

static enum check_result check_namespaces(char *detail, size_t size_bytes)
{
        static const char *const needed[] = { "mnt", "pid", "net", "ipc", "uts", "cgroup" };
        for (size_t i = 0; i < LENGTH(needed); i++) {
                char path[64];
                (void) snprintf(path, sizeof(path), "/proc/self/ns/%s", needed[i]);
                if (access(path, F_OK) < 0) {
                        say(detail, size_bytes, "the kernel has no %s namespaces", needed[i]);
                        return CHECK_FAIL;
                }
        }
        say(detail, size_bytes, "mnt, pid, net, ipc, uts and cgroup are there");
        return CHECK_OK;
}

static enum check_result check_seccomp(char *detail, size_t size_bytes)
{
        char actions[256];
        read_small("/proc/sys/kernel/seccomp/actions_avail", actions, sizeof(actions));
        bool there = strstr(actions, "errno") != NULL;
        say(detail, size_bytes, there ? "filters are there" : "the kernel has no seccomp filters");
        return there ? CHECK_OK : CHECK_FAIL;
}

static bool is_filesystem(const char *path, unsigned long magic)
{
        struct statfs fs;
        return statfs(path, &fs) == 0 && (unsigned long) fs.f_type == magic;
}

/* v1 hierarchies count where the controllers are on them, also beside a v2 that has none (a hybrid host). */
static enum check_result check_cgroups(char *detail, size_t size_bytes)
{
        static const char *const needed[] = { "cpu", "memory", "pids", "devices", "freezer" };
        if (is_filesystem("/sys/fs/cgroup", CGROUP2_SUPER_MAGIC)) {
                char controllers[512];
                read_small("/sys/fs/cgroup/cgroup.controllers", controllers, sizeof(controllers));
                for (size_t i = 0; i < 3; i++)
                        if (!strstr(controllers, needed[i])) {
                                say(detail, size_bytes, "version 2 without the %s controller", needed[i]);
                                return CHECK_FAIL;
                        }
                say(detail, size_bytes, "version 2");
                return CHECK_OK;
        }
        for (size_t i = 0; i < LENGTH(needed); i++) {
                char path[64];
                (void) snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", needed[i]);
                if (!is_filesystem(path, CGROUP_SUPER_MAGIC)) {
                        say(detail, size_bytes, "no version 2, and %s is not mounted", path);
                        return CHECK_FAIL;
                }
        }
        say(detail, size_bytes, "version 1 (cpu, memory, pids, devices, freezer)");
        return CHECK_OK;
}

static bool has_capability(int capability)
{
        char status[4096];
        unsigned long long effective = 0;
        read_small("/proc/self/status", status, sizeof(status));
        const char *line = strstr(status, "CapEff:");
        return line && sscanf(line, "CapEff: %llx", &effective) == 1 && (effective >> capability & 1);
}

static enum check_result check_admin(char *detail, size_t size_bytes)
{
        bool there = has_capability(CAP_SYS_ADMIN) && has_capability(CAP_NET_ADMIN);
        say(detail, size_bytes,
            there ? "CAP_SYS_ADMIN and CAP_NET_ADMIN are there"
                  : "CAP_SYS_ADMIN or CAP_NET_ADMIN is missing");
        return there ? CHECK_OK : CHECK_FAIL;
}

static enum check_result check_oom_score(char *detail, size_t size_bytes)
{
        bool there = has_capability(CAP_SYS_RESOURCE);
        say(detail, size_bytes,
            there ? "it can be lowered"
                  : "it cannot be lowered without CAP_SYS_RESOURCE: pods run at skiffd's own value");
        return there ? CHECK_OK : CHECK_WARN;
}

static enum check_result check_files(char *detail, size_t size_bytes)
{
        struct rlimit limit = { 0 };
        (void) getrlimit(RLIMIT_NOFILE, &limit);
        say(detail, size_bytes, "%llu open files", (unsigned long long) limit.rlim_max);
        return limit.rlim_max >= LIMIT_WANTED ? CHECK_OK : CHECK_WARN;
}

static enum check_result check_forwarding(char *detail, size_t size_bytes)
{
        char value[16];
        read_small("/proc/sys/net/ipv4/ip_forward", value, sizeof(value));
        say(detail, size_bytes, "net.ipv4.ip_forward is %.1s", *value ? value : "?");
        return *value == '1' ? CHECK_OK : CHECK_WARN;
}

static const char *const plugin_dirs[] = { "/opt/cni/bin", "/usr/lib/cni" };

/* Whether our own plugin is there, which needs neither the others nor iptables; *dir is where. */
static bool has_bridge(const char **dir)
{
        for (size_t d = 0; d < LENGTH(plugin_dirs); d++) {
                char path[64];
                (void) snprintf(path, sizeof(path), "%s/skiff-bridge", plugin_dirs[d]);
                *dir = plugin_dirs[d];
                if (access(path, X_OK) == 0)
                        return true;
        }
        return false;
}

static enum check_result check_plugins(char *detail, size_t size_bytes)
{
        const char *const *dirs = plugin_dirs, *of_ours;
        static const char *const plugins[] = { "bridge", "host-local", "portmap" };
        if (has_bridge(&of_ours)) {
                say(detail, size_bytes, "skiff-bridge in %s", of_ours);
                return CHECK_OK;
        }
        for (size_t d = 0; d < LENGTH(plugin_dirs); d++) {
                size_t found = 0;
                for (size_t i = 0; i < LENGTH(plugins); i++) {
                        char path[64];
                        (void) snprintf(path, sizeof(path), "%s/%s", dirs[d], plugins[i]);
                        found += access(path, X_OK) == 0;
                }
                if (found == LENGTH(plugins)) {
                        say(detail, size_bytes, "in %s", dirs[d]);
                        return CHECK_OK;
                }
        }
        say(detail, size_bytes,
            "neither skiff-bridge nor bridge, host-local and portmap are in /opt/cni/bin or /usr/lib/cni");
        return CHECK_WARN;
}

static enum check_result check_network(char *detail, size_t size_bytes)
{
        static const char *const endings[] = { ".conflist", ".conf", ".json" };
        _cleanup_(closedirp) DIR *dir = opendir(CNI_CONF_DIR);
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                for (size_t i = 0; i < LENGTH(endings); i++) {
                        const char *dot = strrchr(entry->d_name, '.');
                        if (!dot || strcmp(dot, endings[i]) != 0)
                                continue;
                        say(detail, size_bytes, "%s in " CNI_CONF_DIR, entry->d_name);
                        return CHECK_OK;
                }
        say(detail, size_bytes,
            "no configuration in " CNI_CONF_DIR ": pods can only have the host's network");
        return CHECK_WARN;
}

static enum check_result check_iptables(char *detail, size_t size_bytes)
{
        static const char *const places[] = { "/usr/sbin/iptables", "/sbin/iptables", "/usr/bin/iptables" };
        for (size_t i = 0; i < LENGTH(places); i++)
                if (access(places[i], X_OK) == 0) {
                        say(detail, size_bytes, "%s", places[i]);
                        return CHECK_OK;
                }
        const char *dir;
        bool is_needed = !has_bridge(&dir);
        say(detail, size_bytes, is_needed ? "not found" : "not found, and skiff-bridge needs none");
        return is_needed ? CHECK_WARN : CHECK_OK;
}

const struct host_check host_checks[] = {
        { "root", check_root, "run it as root: skiffd does, and some of what follows only root can see" },
        { "kernel", check_kernel, "boot a newer kernel" },
        { "capabilities", check_admin,
          "run skiffd as root on the host, or in a container that has all capabilities" },
        { "mount API", check_mount_api,
          "boot a newer kernel, or let the sandbox around this one pass fsopen(2)" },
        { "overlayfs", check_overlay, "modprobe overlay, and put it in /etc/modules-load.d" },
        { "root mount", check_root_mount,
          "start skiffd on a root filesystem that is mounted (switch_root), and let its service see the "
          "host's" },
        { "namespaces", check_namespaces, "boot a kernel with CONFIG_NAMESPACES and all kinds of them" },
        { "seccomp", check_seccomp, "boot a kernel with CONFIG_SECCOMP_FILTER" },
        { "user namespaces", check_user_namespaces,
          "boot a kernel of 5.19 or newer, if pods are to have them" },
        { "AppArmor", check_apparmor, "apt-get install apparmor, and restart skiffd" },
        { "SELinux", check_selinux, "install container-selinux: pods run without labels of their own" },
        { "cgroups", check_cgroups,
          "mount cgroup2 at /sys/fs/cgroup with cpu, memory and pids, or version 1 below it" },
        { "oom_score_adj", check_oom_score, "give skiffd CAP_SYS_RESOURCE; its systemd unit does" },
        { "open files", check_files, "raise LimitNOFILE of skiffd's unit to 4096 or more" },
        { "forwarding", check_forwarding,
          "sysctl -w net.ipv4.ip_forward=1, for pods that talk beyond this node" },
        { "CNI plugins", check_plugins,
          "copy skiff-bridge to /opt/cni/bin and deploy/10-skiff.conflist to /etc/cni/net.d; or apt-get "
          "install "
          "containernetworking-plugins" },
        { "network", check_network,
          "copy 10-skiff.conflist (deploy/, or /usr/share/doc/skiff/examples) there, and give it the node's "
          "own subnet" },
        { "programs", check_programs,
          "install all of skiff into one directory; the tarball has the libraries, and needs glibc 2.36 or "
          "newer" },
        { "certificates", check_authorities,
          "apt-get install ca-certificates, or name the node's own file as `ca` in a registry's hosts.toml" },
        { "iptables", check_iptables, "apt-get install iptables: portmap and firewall run it" },
};
const size_t n_host_checks = LENGTH(host_checks);
