#include "runtime/native/userns.h"
#include "base/fault.h"
#include "runtime/native/call.h"
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

enum { STACK_BYTES = 16384 };

/* It shares our memory, with the thread's errno: so it makes only calls that succeed. Of our descriptors it keeps none but
 * the end of a pipe, whose other is ours alone: it ends when we do, and holds no lock of ours until then. */
__attribute__((no_sanitize("address", "thread", "undefined"))) static int hold(void *argument)
{
        const unsigned fd = *(const unsigned *) argument;
        (void) syscall(__NR_close_range, fd + 1, ~0U, 0U);
        if (fd > 0)
                (void) syscall(__NR_close_range, 0U, fd - 1, 0U);
        (void) syscall(__NR_read, fd, argument, 1);
        return 0;
}

static struct error *map_write(pid_t pid, const char *name, const struct userns_range *range)
{
        char path[48], line[48];
        (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid,
                        name); /* our child, not reaped: its own pid */
        int n = snprintf(line, sizeof(line), "0 %u %u\n", range->base, range->length);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, line, (size_t) n) != n)
                return error_errno(errno, "write %s", name);
        return NULL;
}

#if defined(__SANITIZE_THREAD__)
/* TSan's clone(3) jumps to the flags. Not sharing our memory costs a copy of its tables, and is as good. */
static pid_t hold_clone(struct userns_holder *holder, int namespaces)
{
        pid_t pid = (pid_t) syscall(SYS_clone, CLONE_PIDFD | (long) namespaces, NULL, &holder->pid_fd, NULL,
                                    NULL);
        if (pid == 0)
                _exit(hold(holder->stack));
        return pid;
}
#else
static pid_t hold_clone(struct userns_holder *holder, int namespaces)
{
        return clone(hold, (char *) holder->stack + STACK_BYTES, CLONE_VM | CLONE_PIDFD | namespaces,
                     holder->stack, &holder->pid_fd);
}
#endif

static struct error *hold_make(const struct userns_range *range, struct userns_holder *holder)
{
        _cleanup_(closep) int its_fd = -1;
        const int namespaces = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(errno, "pipe");
        its_fd = ends[0];
        holder->our_fd = ends[1];
        holder->stack = malloc(STACK_BYTES);
        if (!holder->stack)
                return error_errno(ENOMEM, "stack");
        /* Where it reads it from lives as long as it does. */
        memcpy(holder->stack, &its_fd, sizeof(its_fd));
        /* An exit signal of 0: no SIGCHLD for whoever waits for children by signal. */
        holder->pid = hold_clone(holder, namespaces);
        if (holder->pid < 0)
                return error_errno(errno, "clone");
        TRY(map_write(holder->pid, "gid_map", range));
        TRY(map_write(holder->pid, "uid_map", range));
        return fault_point("userns.hold.after");
}

struct error *userns_hold(const struct userns_range *range, struct userns_holder *out)
{
        *out = USERNS_HOLDER_NONE;
        struct error *e = hold_make(range, out);
        if (e)
                userns_holder_done(out);
        return e;
}

void userns_holder_done(struct userns_holder *holder)
{
        if (holder->pid > 0) {
                (void) kill(holder->pid, SIGKILL);
                while (waitpid(holder->pid, NULL, __WALL) < 0 && errno == EINTR)
                        continue;
        }
        closep(&holder->pid_fd);
        closep(&holder->our_fd);
        free(holder->stack);
        *holder = USERNS_HOLDER_NONE;
}

static struct error *owner_of(int netns_fd, int *out_fd)
{
        int fd = ioctl(netns_fd, NS_GET_USERNS);
        if (fd < 0)
                return error_errno(errno, "find the pod's user namespace");
        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
        *out_fd = fd;
        return NULL;
}

struct error *runtime_pod_userns(const struct runtime_pod *pod, int *out_fd)
{
        if (!(pod->flags & POD_USERNS) || pod->netns_fd < 0)
                return error_new(ERROR_FAILED_PRECONDITION, "the pod has no user namespace");
        return owner_of(pod->netns_fd, out_fd);
}

struct error *runtime_userns_try(const struct userns_range *range, int *out_fd)
{
        _cleanup_(userns_holder_done) struct userns_holder holder = USERNS_HOLDER_NONE;
        _cleanup_(closep) int netns_fd = -1;
        char path[48];
        TRY(userns_hold(range, &holder));
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/net", holder.pid);
        netns_fd = open(path, O_RDONLY | O_CLOEXEC);
        if (netns_fd < 0)
                return error_errno(errno, "open a network namespace");
        return owner_of(netns_fd, out_fd);
}
