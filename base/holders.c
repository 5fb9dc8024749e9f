#include "base/holders.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define RETRY_MS 5

/* Whether any descriptor of the process, given by its /proc directory, is the file. */
static bool holds(int process_fd, const struct stat *file)
{
        int fds_fd = openat(process_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *fds = fds_fd < 0 ? NULL : fdopendir(fds_fd);
        if (!fds)
                closep(&fds_fd); /* it has ended meanwhile */
        for (struct dirent *entry; fds && (entry = readdir(fds));) {
                struct stat st;
                if (fstatat(dirfd(fds), entry->d_name, &st, 0) == 0 && st.st_dev == file->st_dev &&
                    st.st_ino == file->st_ino)
                        return true;
        }
        return false;
}

/* The pidfd is opened before the look, so that the number cannot come to mean another process in between. */
static void kill_if_holder(int proc_fd, const char *name, const struct stat *file)
{
        pid_t pid = (pid_t) strtol(name, NULL, 10);
        if (pid <= 1 || pid == getpid())
                return;
        _cleanup_(closep) int pid_fd = (int) syscall(SYS_pidfd_open, pid, 0);
        _cleanup_(closep) int process_fd = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (pid_fd >= 0 && process_fd >= 0 && holds(process_fd, file))
                (void) syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0);
}

static struct error *kill_holders(const struct stat *file)
{
        _cleanup_(closedirp) DIR *proc = opendir("/proc");
        if (!proc)
                return error_errno(errno, "open /proc");
        for (struct dirent *entry; (entry = readdir(proc));)
                if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
                        kill_if_holder(dirfd(proc), entry->d_name, file);
        return NULL;
}

struct error *holders_claim(int dir_fd, const char *name, int64_t patience_ms, const struct wait *wait,
                            int *out_fd)
{
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        struct wait patience = wait_within(wait, patience_ms);
        struct stat file;
        if (fd < 0 || fstat(fd, &file) < 0)
                return error_errno(errno, "open %s", name);
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return error_errno(errno, "lock %s", name);
                /* Again each time: a helper may have forked since the last look. */
                if (wait_left_ms(&patience) == 0)
                        TRY(kill_holders(&file));
                TRY(wait_delay(wait, RETRY_MS,
                               "wait for helpers of an earlier skiffd to end")); /* flock has no poll */
        }
        *out_fd = TAKE_FD(fd);
        return NULL;
}
