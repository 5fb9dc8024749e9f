/* skiff-pod - one a pod: the parent of its containers, the keeper of its namespaces, the owner of output, logs, execs and
 * exit codes. It outlives skiffd.
 *
 * skiffd starts it as pid 1 of a pid namespace of its own (so that all it started dies with it), already in its cgroup and
 * in the pod's network, IPC and UTS namespaces, with three descriptors: the listening socket, the exits file, the first
 * connection. It makes itself a root that holds
 * nothing but a null device, the pod's shm and a mount point for root filesystems, and opens no path of the host's ever
 * after. It never aborts: what fails is answered as an error. */
#include "base/mount.h"
#include "base/socket.h"
#include "runtime/supervisor/pod.h"
#include "runtime/supervisor/sys.h"
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define NO_EXEC (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)

#if defined(__SANITIZE_ADDRESS__)
/* The leak checker wants /proc, which is not there any more at the end; the container tests count descriptors and
 * processes, and the decoders are checked in the fuzz targets. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
        return "detect_leaks=0";
}
#endif

/* Our root: a tmpfs of a few entries, read-only since all pods' supervisors may share it. The host's mounts, which our
 * namespace began with, are let go. */
static struct error *root_make(void)
{
        const char *const options[] = { "mode", "755", "size", "64k", "nr_inodes", "16", NULL };
        _cleanup_(closep) int root_fd = -1;
        TRY(mount_new("tmpfs", options, NO_EXEC, &root_fd));
        if (mkdirat(root_fd, "rootfs", 0700) < 0 || mkdirat(root_fd, "shm", 0700) < 0 ||
            mknodat(root_fd, "null", S_IFCHR | 0666, makedev(1, 3)) < 0)
                return error_errno(errno, "fill the root");
        if (fchmodat(root_fd, "null", 0666, 0) < 0)
                return error_errno(errno, "mode of the null device");
        TRY(mount_pivot(root_fd));
        return mount_attributes(root_fd, MOUNT_ATTR_RDONLY, 0, 0, false);
}

/* The root alone, for skiffd to take our mount namespace from: it ends us. */
_Noreturn static void root_lend(void)
{
        struct error *e = root_make();
        if (!e && write(FD_LISTENER, "", 1) == 1)
                for (;;)
                        (void) pause();
        error_free(e);
        _exit(1);
}

static struct error *shm_make(const struct pod *pod, uint64_t size_bytes, int host_fd)
{
        char size[24], owner[16];
        _cleanup_(closep) int fd = -1;
        if (pod->flags & POD_HOST_IPC && host_fd >= 0)
                return mount_attach(host_fd, AT_FDCWD, "/shm");
        (void) snprintf(size, sizeof(size), "%llu", (unsigned long long) size_bytes);
        (void) snprintf(owner, sizeof(owner), "%u", pod->users_base);
        const char *const options[] = { "mode", "1777", "size", size, "uid", owner, "gid", owner, NULL };
        TRY(mount_new("tmpfs", options, NO_EXEC | MOUNT_ATTR_NODEV, &fd));
        return mount_attach(fd, AT_FDCWD, "/shm");
}

static void oom_score_set(struct pod *pod, int score)
{
        char text[16];
        int n = snprintf(text, sizeof(text), "%d", score);
        _cleanup_(closep) int fd = openat(pod->proc_fd, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, text, (size_t) n) != n)
                (void) snprintf(pod->notice, sizeof(pod->notice), "oom_score_adj %d: %s", score,
                                strerror(errno));
}

void pod_start(struct pod *pod, const struct pod_start *start, int shm_fd, struct child_report *report)
{
        pod->flags = start->flags;
        pod->users_base = start->users_base;
        pod->started = true;
        if (start->set_oom_score_adj)
                oom_score_set(pod, start->oom_score_adj);
        struct error *e = shm_make(pod, start->shm_size_bytes, shm_fd);
        if (e) {
                *report = (struct child_report){ .stage = STAGE_SHM, .errnum = error_errnum_of(e) };
                error_free(e);
                return;
        }
        namespaces_set(pod, start, report);
        if (report->stage == STAGE_NONE && pod->flags & POD_SHARE_PID)
                infra_start(pod, report);
}

static void listener_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct pod *pod = CONTAINER_OF(source, struct pod, listener);
        struct socket_peer peer;
        int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return;
        struct error *e = socket_peer(fd, &peer);
        if (!e && peer.uid != 0)
                e = error_new(ERROR_PERMISSION_DENIED, "peer is not root");
        if (!e)
                e = connection_open(pod, fd, false);
        if (e)
                (void) close(fd);
        error_ignore(e); /* the caller sees its connection end */
}

static struct error *descriptors_check(void)
{
        for (int fd = FD_LISTENER; fd <= FD_FIRST; fd++)
                if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                        return error_errno(errno, "descriptor %d", fd);
        (void) fcntl(FD_FIRST, F_SETFL, O_NONBLOCK);
        /* Anew, or SO_PEERCRED would name the skiffd that bound it. */
        if (listen(FD_LISTENER, SOMAXCONN) < 0)
                return error_errno(errno, "listen");
        return NULL;
}

static struct error *pod_open(struct pod *pod, bool is_rooted)
{
        *pod = (struct pod){ .listener = { .fd = FD_LISTENER, .ready = listener_ready },
                             .exits_fd = FD_EXITS,
                             .netns_fd = -1,
                             .userns_fd = -1,
                             .infra = { .exit.fd = -1, .report.fd = -1 } };
        TRY(descriptors_check());
        if (!is_rooted)
                TRY(root_make());
        TRY(mount_new("proc", NULL, NO_EXEC | MOUNT_ATTR_NODEV, &pod->proc_fd));
        pod->self_fd = sys_pidfd_open(getpid());
        if (pod->self_fd < 0)
                return error_errno(errno, "pidfd_open");
        TRY(loop_open(&pod->loop));
        TRY(loop_add(&pod->loop, &pod->listener, EPOLLIN));
        return connection_open(pod, FD_FIRST, true);
}

int main(int argc, char **argv)
{
        static struct pod pod;
        const uintptr_t page_mask = (uintptr_t) sysconf(_SC_PAGESIZE) - 1;
        uintptr_t heap_start = ((uintptr_t) syscall(__NR_brk, 0) + page_mask) & ~page_mask;
        (void) setsid();
        (void) umask(0);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) prctl(PR_SET_DUMPABLE, 0);
        if (argc > 1 && strcmp(argv[1], "root") == 0)
                root_lend();
        struct error *e = pod_open(&pod, argc > 1 && strcmp(argv[1], "rooted") == 0);
        pod.heap_start = heap_start;
        while (!e)
                e = loop_once(&pod.loop);
        /* Read by who debugs with descriptor 2 set; skiffd sees the connection end. */
        (void) dprintf(2, "skiff-pod: %s\n", error_message(e));
        error_free(e);
        return 1;
}
