#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static void from_get(const struct child *child, int from[3])
{
        from[0] = child->stdin_fd;
        from[1] = child->stdout_fd;
        from[2] = child->stderr_fd;
}

void child_stdio_pipes(const struct child *child)
{
        int from[3];
        from_get(child, from);
        for (int i = 0; i < 3; i++)
                if (from[i] >= 0 && from[i] != i && dup2(from[i], i) < 0)
                        child_fail(child, STAGE_STDIO, (size_t) i);
}

static int is_null(int fd)
{
        struct stat st;
        return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

/* /dev/null, looked at before it is opened: whatever else the image or a process of the container has put there is not. */
static int null_of_container(const struct child *child)
{
        char path[32];
        int path_fd = sys_openat2(AT_FDCWD, "/dev/null", O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS),
            fd = -1;
        if (path_fd >= 0 && is_null(path_fd)) {
                (void) snprintf(path, sizeof(path), "self/fd/%d", path_fd);
                fd = openat(child->pod->proc_fd, path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        }
        if (path_fd >= 0)
                (void) close(path_fd);
        return fd;
}

/* A node that nobody else has, in a filesystem that ends with its last descriptor. */
static int null_of_its_own(void)
{
        int fs_fd = sys_fsopen("tmpfs"), fd = -1;
        if (fs_fd < 0 || sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
                return -1;
        int root_fd = sys_fsmount(fs_fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        if (root_fd >= 0 && mknodat(root_fd, "null", S_IFCHR | 0666, makedev(1, 3)) == 0)
                fd = openat(root_fd, "null", O_RDWR | O_NOCTTY | O_CLOEXEC);
        (void) close(fs_fd);
        if (root_fd >= 0)
                (void) close(root_fd);
        return fd;
}

/* Never the one that we were born with: by /proc/self/fd a container changes the mode and the owner of what it has open,
 * and that node is the host's. */
void child_stdio_null(const struct child *child)
{
        int from[3];
        from_get(child, from);
        if (from[0] >= 0 && from[1] >= 0 && from[2] >= 0)
                return;
        int fd = null_of_container(child);
        if (fd < 0)
                fd = null_of_its_own();
        if (fd < 0)
                child_fail(child, STAGE_STDIO, 0);
        for (int i = 0; i < 3; i++)
                if (from[i] < 0 && dup2(fd, i) < 0)
                        child_fail(child, STAGE_STDIO, (size_t) i);
        (void) close(fd);
}
