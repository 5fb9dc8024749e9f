#include "tests/bench/floor_child.h"
#include "base/cleanup.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

/* CAP_CHOWN to CAP_AUDIT_WRITE: the fourteen that containers have. */
#define CONTAINER_CAPS 0xa80425fbU
/* What a range-sorted default profile comes to. */
#define SECCOMP_INSTRUCTIONS 168

static pid_t clone_new(const struct floor_entry *entry, uint64_t flags, int *pid_fd)
{
        struct clone_args args = { .flags = flags | CLONE_PIDFD,
                                   .pidfd = (uint64_t) (uintptr_t) pid_fd,
                                   .exit_signal = flags & CLONE_PARENT
                                                          ? 0U
                                                          : (uint64_t) SIGCHLD }; /* its parent's then */
        if (entry && entry->v2_fd >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (unsigned) entry->v2_fd;
        }
        return (pid_t) syscall(SYS_clone3, &args, sizeof(args));
}

static bool enter(const struct floor_entry *entry)
{
        for (size_t i = 0; i < entry->n; i++)
                if (write(entry->tasks[i], "0", 1) != 1)
                        return false;
        return true;
}

/* The child tells what failed by a byte; an end without one (exec closes it) is success. */
_Noreturn static void child_fail(int report_fd)
{
        int saved = errno;
        ssize_t ignored = write(report_fd, &saved, sizeof(saved));
        (void) ignored;
        _exit(1);
}

static bool report_read(int report_fd)
{
        int failed;
        ssize_t n_bytes = read(report_fd, &failed, sizeof(failed));
        if (n_bytes == (ssize_t) sizeof(failed))
                errno = failed;
        return n_bytes == 0;
}

/* --- the pod --- */

bool floor_pod(const struct floor_entry *entry, bool host_network, struct floor_process *out)
{
        int ends[2];
        uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC;
        if (!host_network)
                flags |= CLONE_NEWNET | CLONE_NEWUTS;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return false;
        out->pid = clone_new(entry, flags, &out->pid_fd);
        if (out->pid == 0) {
                if (!enter(entry))
                        child_fail(ends[1]);
                (void) close(ends[1]);
                for (;;)
                        (void) pause();
        }
        (void) close(ends[1]);
        bool made = out->pid > 0 && report_read(ends[0]);
        (void) close(ends[0]);
        return made;
}

/* --- the container --- */

static int filesystem(const char *type, const char *const options[][2], size_t n, unsigned attributes)
{
        _cleanup_(closep) int fs_fd = fsopen(type, FSOPEN_CLOEXEC);
        if (fs_fd < 0)
                return -1;
        for (size_t i = 0; i < n; i++)
                if (fsconfig(fs_fd, options[i][1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, options[i][0],
                             options[i][1], 0) < 0)
                        return -1;
        if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -1;
        return fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes);
}

int floor_overlay(const char *lower, const char *upper, const char *work)
{
        const char *const options[][2] = {
                { "lowerdir", lower }, { "upperdir", upper }, { "workdir", work }, { "volatile", NULL }
        };
        return filesystem("overlay", options, LENGTH(options), 0);
}

static bool attach(int fd, const char *target)
{
        bool done = fd >= 0 && move_mount(fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0;
        (void) close(fd);
        return done;
}

static bool mounts_make(void)
{
        const unsigned safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
        const char *const dev[][2] = { { "mode", "755" }, { "size", "65536k" } };
        const char *const pts[][2] = { { "newinstance", NULL }, { "ptmxmode", "0666" }, { "mode", "0620" } };
        const char *const shm[][2] = { { "mode", "1777" }, { "size", "65536k" } };
        return attach(filesystem("proc", NULL, 0, safe | MOUNT_ATTR_NODEV), "/proc") &&
               attach(filesystem("tmpfs", dev, LENGTH(dev), safe), "/dev") && mkdir("/dev/pts", 0755) == 0 &&
               mkdir("/dev/shm", 0755) == 0 && mkdir("/dev/mqueue", 0755) == 0 &&
               attach(filesystem("devpts", pts, LENGTH(pts), safe), "/dev/pts") &&
               attach(filesystem("tmpfs", shm, LENGTH(shm), safe | MOUNT_ATTR_NODEV), "/dev/shm") &&
               attach(filesystem("mqueue", NULL, 0, safe | MOUNT_ATTR_NODEV), "/dev/mqueue") &&
               attach(filesystem("sysfs", NULL, 0, safe | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY), "/sys");
}

static bool devices_make(void)
{
        static const struct {
                const char *path;
                unsigned major, minor;
        } nodes[] = { { "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
                      { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 } };
        static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" },
                                                { "/proc/self/fd/0", "/dev/stdin" },
                                                { "/proc/self/fd/1", "/dev/stdout" },
                                                { "/proc/self/fd/2", "/dev/stderr" },
                                                { "pts/ptmx", "/dev/ptmx" } };
        for (size_t i = 0; i < LENGTH(nodes); i++)
                if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0)
                        return false;
        for (size_t i = 0; i < LENGTH(links); i++)
                if (symlink(links[i][0], links[i][1]) < 0)
                        return false;
        return true;
}

/* /sys/fs/cgroup as containers on v1 have it: a tmpfs with each hierarchy's own directory bound in it. */
static bool cgroups_show(const int views[], const struct floor_hierarchy hierarchies[], size_t n)
{
        const char *const options[][2] = { { "mode", "755" }, { "size", "64k" } };
        if (!attach(filesystem("tmpfs", options, LENGTH(options), MOUNT_ATTR_NOSUID), "/sys/fs/cgroup"))
                return false;
        for (size_t i = 0; i < n; i++) {
                char path[64];
                struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
                (void) snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", hierarchies[i].name);
                if (mkdir(path, 0755) < 0 ||
                    mount_setattr(views[i], "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
                    !attach(views[i], path))
                        return false;
        }
        return true;
}

static bool paths_hide(void)
{
        static const char *const masked[] = { "/proc/kcore", "/proc/keys", "/proc/timer_list",
                                              "/proc/acpi",  "/proc/scsi", "/sys/firmware" };
        static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                "/proc/sysrq-trigger" };
        for (size_t i = 0; i < LENGTH(masked); i++) {
                struct stat st;
                if (stat(masked[i], &st) < 0)
                        continue;
                bool done = S_ISDIR(st.st_mode)
                                    ? mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "nr_inodes=2") == 0
                                    : mount("/dev/null", masked[i], NULL, MS_BIND, NULL) == 0;
                if (!done)
                        return false;
        }
        for (size_t i = 0; i < LENGTH(readonly); i++) {
                struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
                int fd = open_tree(AT_FDCWD, readonly[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
                if (fd < 0)
                        continue;
                if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 || !attach(fd, readonly[i]))
                        return false;
        }
        return true;
}

static bool privileges_drop(void)
{
        struct sock_filter filter[SECCOMP_INSTRUCTIONS];
        struct sock_fprog program = { .len = SECCOMP_INSTRUCTIONS, .filter = filter };
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct caps[2] = { { CONTAINER_CAPS, CONTAINER_CAPS, 0 } };
        for (size_t i = 0; i < SECCOMP_INSTRUCTIONS; i++)
                filter[i] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
        filter[SECCOMP_INSTRUCTIONS - 1] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        for (int cap = 0; cap <= 40; cap++)
                if (cap > 31 || !(CONTAINER_CAPS >> cap & 1))
                        (void) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0 && setgroups(0, NULL) == 0 &&
               syscall(SYS_capset, &header, caps) == 0;
}

_Noreturn static void container_run(const struct floor_entry *entry,
                                    const struct floor_hierarchy hierarchies[], size_t n, const int views[],
                                    int root_fd, int report_fd)
{
        char *const argv[] = { "busybox", "sleep", "100000", NULL };
        char *const env[] = { "PATH=/bin", NULL };
        if (!enter(entry) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            unshare(CLONE_NEWCGROUP) < 0 || !attach(root_fd, "/mnt") || chdir("/mnt") < 0 ||
            syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                child_fail(report_fd);
        if (!mounts_make() || !devices_make() || !cgroups_show(views, hierarchies, n) || !paths_hide() ||
            !privileges_drop())
                child_fail(report_fd);
        (void) execve("/bin/busybox", argv, env);
        child_fail(report_fd);
}

static bool views_open(const struct floor_hierarchy hierarchies[], size_t n, const char *cgroup, int views[])
{
        for (size_t i = 0; i < n; i++) {
                char path[512];
                (void) snprintf(path, sizeof(path), "/sys/fs/cgroup/%s%s/container", hierarchies[i].name,
                                cgroup);
                views[i] = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
                if (views[i] < 0)
                        return false;
        }
        return true;
}

bool floor_container(const struct floor_entry *entry, const struct floor_hierarchy hierarchies[], size_t n,
                     const char *cgroup, const struct floor_process *pod, int root_fd,
                     struct floor_process *out)
{
        int ends[2], views[FLOOR_HIERARCHIES_MAX];
        _cleanup_(closep) int ipc_fd = open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC);
        if (ipc_fd < 0 || !views_open(hierarchies, n, cgroup, views) || pipe2(ends, O_CLOEXEC) < 0 ||
            setns(pod->pid_fd, CLONE_NEWIPC) < 0)
                return false;
        out->pid = clone_new(entry, CLONE_NEWNS | CLONE_NEWPID, &out->pid_fd);
        if (out->pid == 0)
                container_run(entry, hierarchies, n, views, root_fd, ends[1]);
        (void) close(ends[1]);
        for (size_t i = 0; i < n; i++)
                (void) close(views[i]);
        bool made = out->pid > 0 && report_read(ends[0]) && setns(ipc_fd, CLONE_NEWIPC) == 0;
        (void) close(ends[0]);
        return made;
}

/* --- an exec --- */

_Noreturn static void exec_run(const struct floor_entry *entry, int pid_fd)
{
        char *const argv[] = { "busybox", "true", NULL };
        char *const env[] = { "PATH=/bin", NULL };
        int inner_fd = -1;
        if (!enter(entry) || setns(pid_fd, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_NEWPID) < 0)
                _exit(1);
        /* A pid namespace holds for children. */
        pid_t pid = clone_new(NULL, CLONE_PARENT, &inner_fd);
        if (pid != 0)
                _exit(pid < 0);
        if (!privileges_drop())
                _exit(1);
        (void) execve("/bin/busybox", argv, env);
        _exit(1);
}

bool floor_exec(const struct floor_entry *entry, const struct floor_process *container)
{
        int pid_fd = -1, status;
        pid_t pid = clone_new(entry, 0, &pid_fd);
        if (pid == 0)
                exec_run(entry, container->pid_fd);
        (void) close(pid_fd);
        /* The first one made the second our child too. */
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
                return false;
        do {
                pid = waitpid(-1, &status, __WALL);
        } while (pid < 0 && errno == EINTR);
        return pid > 0 && status == 0;
}
