#include "base/fault.h"
#include "cni/bridge/commands.h"
#include "cni/bridge/link.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define DESCRIPTORS 1024 /* where those that a process is started with lie, when nobody says */

static void close_if_inherited(int fd)
{
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC))
                (void) close(fd);
}

/* Our own are all close-on-exec; those that came with the start cannot be. */
static void close_inherited(void)
{
        DIR *dir = opendir("/proc/self/fd");
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                if (entry->d_name[0] != '.')
                        close_if_inherited((int) strtol(entry->d_name, NULL, 10));
        for (int fd = 0; !dir && fd < DESCRIPTORS; fd++)
                close_if_inherited(fd);
        if (dir)
                (void) closedir(dir);
}

static struct error *remove_all(struct netlink *nl, const int *indexes, size_t n)
{
        struct error *first = NULL;
        for (size_t i = 0; i < n; i++) {
                struct error *e = link_remove(nl, indexes[i]);
                if (first)
                        error_free(e);
                else
                        first = e;
        }
        return first;
}

struct error *leave_links(struct netlink *nl, struct rules *rules, const int *indexes, size_t n)
{
        if (n == 0)
                return NULL;
        /* As fork(2): this process has one thread and is small. */
        pid_t pid = (pid_t) syscall(SYS_clone, (unsigned long) SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid > 0)
                return NULL;
        if (pid < 0)
                return remove_all(nl, indexes, n);
        close_inherited();
        (void) setsid();
        /* Whoever looks later, a DEL or GC again, finds what a failure leaves. */
        struct error *e = fault_point("bridge.leaving");
        if (!e)
                e = remove_all(nl, indexes, n);
        rules_free(rules);
        _exit(e ? 1 : 0);
}
