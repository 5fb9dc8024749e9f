/* A network namespace gets a path, since CNI takes one: a bind mount of its nsfs file below /run/netns, where `ip netns`
 * and plugins look. Source: iproute2's ip-netns(8); mount(2), network_namespaces(7). */
#include "base/file.h"
#include "cni/cni.h"
#include <linux/magic.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define NETNS_DIR "/run/netns"
#define PIN_MOUNTS_MAX 64
#define LOCK_MS 1000
#define LOCK_LOOK_MS 10

static pthread_mutex_t bind_lock =
        PTHREAD_MUTEX_INITIALIZER; /* over the one bind of a boot: a second at most */

static struct error *check_name(const char *name)
{
        if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 200)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is no name for a network namespace", name);
        return NULL;
}

/* Only a mount point can be shared. */
static struct error *share(bool *is_mount_point)
{
        *is_mount_point = mount("", NETNS_DIR, "none", MS_SHARED, NULL) == 0;
        if (!*is_mount_point && errno != EINVAL)
                return error_errno(errno, "make " NETNS_DIR " shared");
        return NULL;
}

/* A second bind on top would hide the pins of whoever made the first: so `ip netns add` and we take a lock on the directory
 * for it. Any user can open that directory and hold the lock for ever, so it is waited for, and then gone without. */
static struct error *bind_locked(int dir_fd)
{
        const struct wait patience = wait_of_ms(LOCK_MS);
        bool done = false;
        while (flock(dir_fd, LOCK_EX | LOCK_NB) < 0) {
                struct error *late = wait_delay(&patience, LOCK_LOOK_MS, "lock"); /* flock has no poll */
                if (late) {
                        error_ignore(late); /* on without it */
                        break;
                }
                TRY(share(&done));
                if (done) /* who held it has done it */
                        return NULL;
        }
        TRY(share(&done));
        if (done)
                return NULL;
        if (mount(NETNS_DIR, NETNS_DIR, "none", MS_BIND | MS_REC, NULL) < 0)
                return error_errno(errno, "bind " NETNS_DIR);
        TRY(share(&done));
        return done ? NULL : error_errno(EINVAL, "make " NETNS_DIR " shared");
}

/* Shared, so that what is pinned here is seen in other mount namespaces too, and what is unpinned goes there. Where the
 * directory is no mount point it is bound onto itself, as `ip netns add` does: once a boot, and needs no lock after. */
static struct error *dir_make(void)
{
        bool done = false;
        if (mkdir(NETNS_DIR, 0755) < 0 && errno != EEXIST)
                return error_errno(errno, "make " NETNS_DIR);
        TRY(share(&done));
        if (done)
                return NULL;
        _cleanup_(closep) int fd = open(NETNS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "open " NETNS_DIR);
        (void) pthread_mutex_lock(&bind_lock);
        struct error *e = bind_locked(fd);
        (void) pthread_mutex_unlock(&bind_lock);
        return e;
}

static bool is_pinned(int netns_fd, const char *path)
{
        struct stat wanted, there;
        return fstat(netns_fd, &wanted) == 0 && stat(path, &there) == 0 && wanted.st_dev == there.st_dev &&
               wanted.st_ino == there.st_ino;
}

static struct error *unpin_path(const char *path)
{
        /* Whatever else was mounted on it goes too. EINVAL: a plain file, left from between its making and the mount. */
        int errnum = 0;
        for (int i = 0; i < PIN_MOUNTS_MAX && !errnum; i++)
                errnum = umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? errno : 0;
        if (errnum && errnum != EINVAL && errnum != ENOENT)
                return error_errno(errnum, "unmount %s", path);
        if (unlink(path) < 0 && errno != ENOENT)
                return error_errno(errno, "remove %s", path);
        return NULL;
}

static struct error *pin_path(int netns_fd, const char *path)
{
        char source[64];
        TRY(unpin_path(path)); /* of another namespace: the name is ours */
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        if (fd < 0)
                return error_errno(errno, "make %s", path);
        (void) snprintf(source, sizeof(source), "/proc/self/fd/%d", netns_fd);
        if (mount(source, path, "none", MS_BIND, NULL) < 0) {
                struct error *e = error_errno(errno, "mount on %s", path);
                (void) unlink(path);
                return e;
        }
        return NULL;
}

struct error *netns_pin(int netns_fd, const char *name)
{
        TRY(check_name(name));
        TRY(dir_make());
        _cleanup_(freep) char *path = format_string("%s/%s", NETNS_DIR, name);
        return is_pinned(netns_fd, path) ? NULL : pin_path(netns_fd, path);
}

struct error *netns_unpin(const char *name)
{
        TRY(check_name(name));
        _cleanup_(freep) char *path = format_string("%s/%s", NETNS_DIR, name);
        return unpin_path(path);
}

bool netns_is_at(const char *path)
{
        struct statfs fs;
        return statfs(path, &fs) == 0 && (unsigned long) fs.f_type == NSFS_MAGIC;
}
