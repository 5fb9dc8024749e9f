#include "base/socket.h"
#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#define OPTION_MAX_BYTES 256
#ifndef CGROUP2_SUPER_MAGIC
#define CGROUP2_SUPER_MAGIC 0x63677270
#endif

static uint64_t attributes_of(const struct container_mount *m)
{
        return (m->readonly ? MOUNT_ATTR_RDONLY : 0U) | (m->nosuid ? MOUNT_ATTR_NOSUID : 0U) |
               (m->nodev ? MOUNT_ATTR_NODEV : 0U) | (m->noexec ? MOUNT_ATTR_NOEXEC : 0U);
}

/* Hands "mode=755,size=64k" to the filesystem's context one by one. */
static int options_set(int fs_fd, const char *data)
{
        while (*data) {
                char option[OPTION_MAX_BYTES];
                size_t len_bytes = strcspn(data, ",");
                if (len_bytes >= sizeof(option)) {
                        errno = EINVAL;
                        return -1;
                }
                memcpy(option, data, len_bytes);
                option[len_bytes] = '\0';
                data += len_bytes + (data[len_bytes] == ',');
                char *value = strchr(option, '=');
                if (value)
                        *value++ = '\0';
                unsigned command = value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
                if (*option && sys_fsconfig(fs_fd, command, option, value) < 0)
                        return -1;
        }
        return 0;
}

/* context: SELinux's, of all files in it; "" or NULL: as the policy has them. */
static int new_filesystem_of(const char *context, const char *type, const char *data, uint64_t attributes)
{
        int fs_fd = sys_fsopen(type);
        if (fs_fd < 0 || options_set(fs_fd, data) < 0 ||
            (context && *context && sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "context", context) < 0) ||
            sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
                return -1;
        int fd = sys_fsmount(fs_fd, attributes);
        (void) close(fs_fd);
        return fd;
}

static int new_filesystem(const char *type, const char *data, uint64_t attributes)
{
        return new_filesystem_of(NULL, type, data, attributes);
}

/* One that others may have mounted already: its root has the label, and what is made in it takes that. A kernel or a filesystem
 * that keeps none has nothing to keep. */
static int labelled(int mount_fd, const char *context)
{
        if (mount_fd < 0 || !context || !*context)
                return mount_fd;
        int root_fd = openat(mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a mount is O_PATH */
        if (root_fd < 0 || (fsetxattr(root_fd, "security.selinux", context, strlen(context) + 1, 0) < 0 &&
                            errno != EOPNOTSUPP))
                return -1;
        (void) close(root_fd);
        return mount_fd;
}

/* Group 5 is "tty" to the images. */
static int new_terminals(const struct child *child, uint64_t attributes)
{
        char options[64];
        (void) snprintf(options, sizeof(options), "newinstance,ptmxmode=0666,mode=0620,gid=%u",
                        child->pod->users_base + 5);
        return new_filesystem_of(child->message->spec.mount_context, "devpts", options, attributes);
}

/* /proc and /sys must be what they say, at the name itself: a link there, or a file of the image under a mount that
 * failed, would make the masks below meaningless (CVE-2019-19921, CVE-2023-27561). */
static void check_magic(const struct child *child, size_t i, long magic)
{
        struct statfs fs;
        int fd = sys_openat2(AT_FDCWD, child->message->spec.mounts[i].target, O_PATH, RESOLVE_NO_SYMLINKS);
        if (fd < 0 || fstatfs(fd, &fs) < 0 || (long) fs.f_type != magic)
                child_fail(child, STAGE_MOUNT_FALSE, i);
        (void) close(fd);
}

static int is_directory(int fd)
{
        struct stat st;
        return fstat(fd, &st) < 0 || S_ISDIR(st.st_mode);
}

static void attach(const struct child *child, size_t i, int mount_fd)
{
        const struct container_mount *m = &child->message->spec.mounts[i];
        if (mount_fd < 0)
                child_fail(child, STAGE_MOUNT, i);
        int target_fd = child_target_open(m->target, !is_directory(mount_fd), 0755);
        if (target_fd < 0)
                child_fail(child, STAGE_MOUNT_TARGET, i);
        /* A link of the image's may lead into /proc, past skiffd's look at the path's text (CVE-2019-16884): what lands
         * there without being named so would make the masks meaningless. */
        struct statfs fs;
        if (strncmp(m->target, "/proc/", 6) != 0 &&
            (fstatfs(target_fd, &fs) < 0 || (long) fs.f_type == PROC_SUPER_MAGIC)) {
                errno = EPERM;
                child_fail(child, STAGE_MOUNT_TARGET, i);
        }
        if (sys_attach(mount_fd, target_fd) < 0)
                child_fail(child, STAGE_MOUNT, i);
        (void) close(target_fd);
        (void) close(mount_fd);
}

/* What lies at m->data in the detached mount, as a mount of its own. Only what is in our own namespace can be cloned in
 * part before kernel 6.15, so the whole is attached for a moment, on top of the root, where nothing looks for it. */
static int part_of(const struct child *child, size_t i, int whole_fd)
{
        const struct container_mount *m = &child->message->spec.mounts[i];
        int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0 || sys_attach(whole_fd, root_fd) < 0)
                child_fail(child, STAGE_MOUNT, i);
        int part_fd = sys_openat2(whole_fd, m->data, O_PATH, CHILD_IN_ROOT);
        int clone_fd = part_fd < 0 ? -1 : sys_open_tree(part_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
        if (clone_fd < 0 || fchdir(whole_fd) < 0 || sys_umount(".", SYS_UMOUNT_DETACH) < 0 || chdir("/") < 0)
                child_fail(child, STAGE_MOUNT, i);
        (void) close(part_fd);
        (void) close(root_fd);
        (void) close(whole_fd);
        return clone_fd;
}

static int bind_source(const struct child *child, size_t i)
{
        const struct container_mount *m = &child->message->spec.mounts[i];
        int fd = child->fds[m->source_fd];
        return m->data && *m->data ? part_of(child, i, fd) : fd;
}

static int make_readonly(const char *path)
{
        int fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, CHILD_IN_ROOT);
        if (fd < 0 || sys_mount_setattr(fd, 0, MOUNT_ATTR_RDONLY, 0) < 0)
                return -1;
        (void) close(fd);
        return 0;
}

/* What was taken from the supervisor's namespace before it is left behind; and the tmpfs that is being filled. */
struct taken {
        int shm_fd, null_fd, tree_fd;
};

/* A name in the tree: no path to resolve, and nothing of the image's can stand there. */
static void tree_add(const struct child *child, size_t i, const struct taken *taken)
{
        const struct container_mount *m = &child->message->spec.mounts[i];
        const char *slash = strrchr(m->target, '/'), *name = slash ? slash + 1 : m->target;
        if ((unsigned) m->kind == WIRE_MOUNT_TREE_LINK) {
                if (symlinkat(m->data, taken->tree_fd, name) < 0 && errno != EEXIST)
                        child_fail(child, STAGE_MOUNT, i);
                return;
        }
        int fd = child->fds[m->source_fd];
        if (mkdirat(taken->tree_fd, name, 0755) < 0 ||
            syscall(__NR_move_mount, fd, "", taken->tree_fd, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                child_fail(child, STAGE_MOUNT, i);
        (void) close(fd);
}

static void mount_one(const struct child *child, size_t i, struct taken *taken)
{
        const struct container_mount *m = &child->message->spec.mounts[i];
        const char *context = child->message->spec.mount_context;
        uint64_t attributes = attributes_of(m);
        switch ((unsigned) m->kind) {
        case MOUNT_BIND: /* its attributes were set by who opened it */
                attach(child, i, bind_source(child, i));
                break;
        case MOUNT_PROC:
                attach(child, i, new_filesystem("proc", "", attributes));
                check_magic(child, i, PROC_SUPER_MAGIC);
                break;
        case MOUNT_SYSFS:
                attach(child, i, new_filesystem("sysfs", "", attributes));
                check_magic(child, i, SYSFS_MAGIC);
                break;
        case MOUNT_TMPFS:
                attach(child, i, new_filesystem_of(context, "tmpfs", m->data, attributes));
                if (strcmp(m->target, "/dev") == 0)
                        child_dev_fill(child);
                break;
        case MOUNT_DEVPTS:
                attach(child, i, new_terminals(child, attributes));
                break;
        case MOUNT_MQUEUE:
                attach(child, i, labelled(new_filesystem("mqueue", "", attributes), context));
                break;
        case MOUNT_SHM:
                if (sys_mount_setattr(taken->shm_fd, 0, attributes, 0) < 0)
                        child_fail(child, STAGE_MOUNT, i);
                attach(child, i, labelled(taken->shm_fd, child->message->spec.shm_context));
                break;
        case MOUNT_CGROUP: /* v2: the cgroup namespace decides what is its root */
                attach(child, i, new_filesystem("cgroup2", "", attributes));
                check_magic(child, i, CGROUP2_SUPER_MAGIC);
                break;
        case WIRE_MOUNT_TREE:
                taken->tree_fd = new_filesystem_of(context, "tmpfs", m->data, attributes);
                attach(child, i, fcntl(taken->tree_fd, F_DUPFD_CLOEXEC, 3));
                break;
        case WIRE_MOUNT_TREE_BIND:
        case WIRE_MOUNT_TREE_LINK:
                tree_add(child, i, taken);
                break;
        case WIRE_MOUNT_TREE_READONLY:
                if (sys_mount_setattr(taken->tree_fd, 0, MOUNT_ATTR_RDONLY, 0) < 0)
                        child_fail(child, STAGE_MOUNT, i);
                break;
        default:
                errno = EINVAL;
                child_fail(child, STAGE_MOUNT, i);
        }
}

/* Comes from skiffd, which mounted it meanwhile; the end of the socket says that it gave up. With hooks the socket stays. */
static int rootfs_receive(const struct child *child)
{
        static const struct wait for_ever = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        int fd = -1;
        char byte;
        size_t len_bytes = 0, n_fds = 1;
        struct error *e = socket_receive(child->talk_fd, &byte, 1, &len_bytes, &fd, &n_fds, &for_ever);
        if (e || n_fds != 1) {
                errno = e ? error_errnum_of(e) : ECANCELED;
                child_fail(child, STAGE_ROOTFS, 0);
        }
        if (!child->message->hooks.of_host && child->message->spec.n_hooks == 0)
                (void) close(child->talk_fd);
        return fd;
}

static void rootfs_enter(const struct child *child, struct taken *taken)
{
        int rootfs_fd = rootfs_receive(child);
        taken->tree_fd = -1;
        taken->shm_fd = sys_open_tree(AT_FDCWD, "/shm", OPEN_TREE_CLONE);
        taken->null_fd = sys_open_tree(AT_FDCWD, "/null", OPEN_TREE_CLONE);
        int at_fd = open("/rootfs", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (taken->shm_fd < 0 || taken->null_fd < 0 || at_fd < 0)
                child_fail(child, STAGE_SUPERVISOR_MOUNTS, 0);
        /* Private: a clone of something on a shared mount is shared itself, and pivot_root(2) refuses that. */
        if (sys_attach(rootfs_fd, at_fd) < 0 || sys_mount_setattr(rootfs_fd, 0, 0, MS_PRIVATE) < 0 ||
            fchdir(rootfs_fd) < 0 || sys_pivot_root(".", ".") < 0 || sys_umount(".", SYS_UMOUNT_DETACH) < 0 ||
            chdir("/") < 0)
                child_fail(child, STAGE_ROOTFS, 0);
        (void) close(at_fd);
        (void) close(rootfs_fd);
}

/* Covers fd with a copy of the mount. The first use attaches the mount itself; from then on it can be copied, since it
 * is in our own namespace (copies of detached mounts need kernel 6.15). */
static int cover(int fd, int *mount_fd, int *used)
{
        int copy = *used ? sys_open_tree(*mount_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH) : *mount_fd;
        if (copy < 0 || sys_attach(copy, fd) < 0)
                return -1;
        if (*used)
                (void) close(copy);
        *used = 1;
        return 0;
}

/* Masks: a file gets /dev/null (the supervisor's own node, which no container ever touched: CVE-2025-31133), a
 * directory an empty read-only tmpfs. What is not there needs no mask. */
static void paths_mask(const struct child *child, int null_fd)
{
        char *const *paths = child->message->spec.masked_paths;
        int empty_fd = -1, empty_used = 0, null_used = 0;
        for (size_t i = 0; paths[i]; i++) {
                int fd = sys_openat2(AT_FDCWD, paths[i], O_PATH, CHILD_IN_ROOT);
                if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                        continue;
                if (fd < 0)
                        child_fail(child, STAGE_MASKED_PATH, i);
                int directory = is_directory(fd);
                if (directory && empty_fd < 0)
                        empty_fd = new_filesystem("tmpfs", "size=0,nr_inodes=1,mode=755",
                                                  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                                          MOUNT_ATTR_NOEXEC);
                if ((directory ? cover(fd, &empty_fd, &empty_used) : cover(fd, &null_fd, &null_used)) < 0)
                        child_fail(child, STAGE_MASKED_PATH, i);
                (void) close(fd);
        }
}

static void paths_protect(const struct child *child)
{
        char *const *paths = child->message->spec.readonly_paths;
        for (size_t i = 0; paths[i]; i++) {
                int fd = sys_openat2(AT_FDCWD, paths[i], O_PATH, CHILD_IN_ROOT);
                if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                        continue;
                int copy = fd < 0 ? -1 : sys_open_tree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | 0x8000);
                if (copy < 0 || sys_mount_setattr(copy, 1, MOUNT_ATTR_RDONLY, 0) < 0 ||
                    sys_attach(copy, fd) < 0)
                        child_fail(child, STAGE_READONLY_PATH, i);
                (void) close(copy);
                (void) close(fd);
        }
}

/* What we make in the root, and each tmpfs, belongs to the root of the pod's user namespace. We stay the host's root, or no
 * device could be made; and the change takes from the capabilities in effect those over files, which are taken back. */
static void owner_set(const struct child *child)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];
        uint32_t id = child->pod->users_base;
        if (child->pod->userns_fd < 0)
                return;
        (void) syscall(__NR_setfsgid, id);
        (void) syscall(__NR_setfsuid, id);
        if (syscall(__NR_setfsuid, id) != (long) id || syscall(__NR_setfsgid, id) != (long) id ||
            syscall(__NR_capget, &header, data) < 0)
                child_fail(child, STAGE_USER_NAMESPACE, 0);
        for (int i = 0; i < 2; i++)
                data[i].effective = data[i].permitted;
        if (syscall(__NR_capset, &header, data) < 0)
                child_fail(child, STAGE_USER_NAMESPACE, 0);
}

/* After the hooks of the host, which must not make peers of it: a volume with propagation, and what lies in one. */
static bool is_late(const struct child *child, size_t i)
{
        const struct container_mount *mounts = child->message->spec.mounts;
        for (size_t j = 0; j <= i && child->message->hooks.of_host; j++) {
                size_t n = strlen(mounts[j].target);
                if (mounts[j].propagation != MOUNT_PRIVATE &&
                    strncmp(mounts[i].target, mounts[j].target, n) == 0 &&
                    (mounts[i].target[n] == '/' || mounts[i].target[n] == '\0'))
                        return true;
        }
        return false;
}

static void mount_all(const struct child *child, struct taken *taken, bool late)
{
        for (size_t i = 0; i < child->message->spec.n_mounts; i++)
                if (is_late(child, i) == late)
                        mount_one(child, i, taken);
        child_devices_elsewhere(child);
}

void child_mounts(const struct child *child)
{
        const struct container_spec *spec = &child->message->spec;
        struct taken taken;
        rootfs_enter(child, &taken);
        owner_set(child);
        mount_all(child, &taken, false);
        if (child->message->hooks.of_host) {
                child_hooks_of_host(child);
                mount_all(child, &taken, true);
        }
        paths_protect(child);
        paths_mask(child, taken.null_fd);
        int cwd_fd = child_target_open(spec->process.cwd, 0, 0755); /* made when absent, as Docker does */
        if (cwd_fd >= 0)
                (void) close(cwd_fd);
        if (spec->readonly_rootfs && make_readonly("/") < 0)
                child_fail(child, STAGE_READONLY_ROOTFS, 0);
}
