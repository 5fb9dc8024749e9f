/* The mount namespace that hooks of the host run in. */
#include "runtime/native/hooks.h"
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_BYTES = 32768, PATH_BYTES = 4096 };

/* Shared with the child, as memory and descriptors are. */
struct making {
        int tree_fd;
        char path[PATH_BYTES];   /* of the bundle's rootfs */
        char parent[PATH_BYTES]; /* of the mount that it lies in */
        int mounts_fd, root_fd, errnum;
};

static int set_propagation(const char *path, unsigned long flags)
{
        return (int) syscall(__NR_mount, NULL, path, NULL, flags, NULL);
}

/* What is mounted on a shared mount is mounted on the host too: so the one that the bundle lies in becomes a slave, which is
 * found by going up, as in a chroot / need not be a mount. */
static bool leave_peers(struct making *v)
{
        (void) set_propagation("/", MS_REC | MS_SLAVE);
        memcpy(v->parent, v->path, sizeof(v->parent));
        while (set_propagation(v->parent, MS_SLAVE) < 0) {
                char *slash = strrchr(v->parent, '/');
                if (errno != EINVAL || !v->parent[1])
                        return false;
                slash[slash == v->parent] = '\0';
        }
        return true;
}

static int view_child(void *argument)
{
        struct making *v = argument;
        if (leave_peers(v) &&
            syscall(__NR_move_mount, v->tree_fd, "", AT_FDCWD, v->path, MOVE_MOUNT_F_EMPTY_PATH) == 0)
                v->mounts_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        if (v->mounts_fd >= 0)
                v->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        v->errnum = errno;
        return 0;
}

static struct error *view_make(struct making *v, char *stack)
{
        /* An exit signal of 0: no SIGCHLD for whoever waits for children by signal. */
        pid_t child =
                clone(view_child, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWNS, v);
        if (child < 0)
                return error_errno(errno, "clone");
        while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
                continue;
        return v->root_fd < 0 ? error_as(error_errno(v->errnum, "mount it at %s", v->path),
                                         ERROR_FAILED_PRECONDITION)
                              : NULL;
}

struct error *hook_view_make(int tree_fd, const struct hook_place *place, struct hook_view *out)
{
        _cleanup_(freep) struct making *v = NEW(struct making);
        _cleanup_(freep) char *stack = NEW_ARRAY(char, STACK_BYTES);
        v->tree_fd = tree_fd;
        v->mounts_fd = v->root_fd = -1;
        if (snprintf(v->path, sizeof(v->path), "%s/rootfs", place->bundle) >= (int) sizeof(v->path))
                return error_new(ERROR_FAILED_PRECONDITION, "the path of the bundle is too long");
        struct error *e = view_make(v, stack);
        *out = (struct hook_view){ v->mounts_fd, v->root_fd };
        if (e)
                hook_view_done(out);
        return e;
}

void hook_view_done(struct hook_view *view)
{
        closep(&view->mounts_fd);
        closep(&view->root_fd);
}
