#include "images/quota.h"
#include "base/cleanup.h"
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif

/* Above what people and kubelet (from 2^20 on) give away. */
#define FIRST_PROJECT 0x40000000U
#define PROJECTS 0x20000000U
#define BLOCK_BYTES 1024 /* of a limit */
#define TRIES_MAX 65536

static int quota_call(int fd, unsigned command, uint32_t project, void *argument)
{
        return (int) syscall(SYS_quotactl_fd, fd, QCMD(command, PRJQUOTA), project, argument);
}

struct error *quota_check(int dir_fd)
{
        struct fs_quota_statv state = { .qs_version = FS_QSTATV_VERSION1 };
        if (quota_call(dir_fd, Q_XGETQSTATV, 0, &state) < 0)
                return error_new(
                        ERROR_FAILED_PRECONDITION,
                        "its filesystem has no project quotas (%s): ext4 and XFS have them, mounted with "
                        "prjquota",
                        strerror(errno));
        if (!(state.qs_flags & FS_QUOTA_PDQ_ENFD))
                return error_new(
                        ERROR_FAILED_PRECONDITION,
                        "its filesystem counts projects and does not hold them to their quota: it has to be "
                        "mounted with prjquota");
        return NULL;
}

static struct error *set_project(int fd, uint32_t project)
{
        struct fsxattr attributes;
        if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0)
                return error_errno(errno, "read a directory's project");
        attributes.fsx_projid = project;
        attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
        if (ioctl(fd, FS_IOC_FSSETXATTR, &attributes) < 0)
                return error_errno(errno, "set a directory's project");
        return NULL;
}

static struct error *set_limit(int dir_fd, uint32_t project, uint64_t max_bytes)
{
        struct if_dqblk limit = { .dqb_bhardlimit = (max_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES,
                                  .dqb_valid = QIF_BLIMITS };
        if (quota_call(dir_fd, Q_SETQUOTA, project, &limit) < 0)
                return error_errno(errno, "set the quota of project %u", project);
        return NULL;
}

/* Nothing belongs to it, and nobody has set a bound for it. */
static struct error *is_free(int dir_fd, uint32_t project, bool *out)
{
        struct if_dqblk now = { .dqb_valid = 0 };
        if (quota_call(dir_fd, Q_GETQUOTA, project, &now) < 0) {
                *out = errno == ENOENT; /* XFS: it has none at all */
                return errno == ENOENT ? NULL : error_errno(errno, "read the quota of project %u", project);
        }
        *out = !now.dqb_curspace && !now.dqb_curinodes && !now.dqb_bhardlimit && !now.dqb_bsoftlimit &&
               !now.dqb_ihardlimit && !now.dqb_isoftlimit;
        return NULL;
}

/* Takes the next that is free, by giving it its bound. One at a time, and each after the last one: two that come at once must
 * not find the same. */
static struct error *project_take(int dir_fd, uint64_t max_bytes, uint32_t *out)
{
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static uint32_t next; /* locked */
        struct error *e = NULL;
        bool found = false;
        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < TRIES_MAX && !found && !e; i++) {
                *out = FIRST_PROJECT + next++ % PROJECTS;
                e = is_free(dir_fd, *out, &found);
        }
        if (!e)
                e = found ? set_limit(dir_fd, *out, max_bytes)
                          : error_new(ERROR_RESOURCE_EXHAUSTED, "no project number is free");
        (void) pthread_mutex_unlock(&lock);
        return e;
}

struct error *quota_bound(int dir_fd, const char *const *names, uint64_t max_bytes, uint32_t *project)
{
        TRY(quota_check(dir_fd));
        TRY(project_take(dir_fd, max_bytes, project));
        struct error *e = set_project(dir_fd, *project);
        for (; *names && !e; names++) {
                _cleanup_(closep) int fd =
                        openat(dir_fd, *names, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                e = fd < 0 ? error_errno(errno, "open %s", *names) : set_project(fd, *project);
        }
        if (e)
                error_ignore(quota_free(dir_fd, *project)); /* the first failure is told */
        return e;
}

uint32_t quota_project(int dir_fd)
{
        struct fsxattr attributes;
        if (ioctl(dir_fd, FS_IOC_FSGETXATTR, &attributes) < 0)
                return 0;
        uint32_t project = attributes.fsx_projid;
        return project >= FIRST_PROJECT && project - FIRST_PROJECT < PROJECTS ? project : 0;
}

struct error *quota_free(int dir_fd, uint32_t project)
{
        return set_limit(dir_fd, project, 0);
}
