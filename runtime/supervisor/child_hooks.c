/* Hooks: the container's mounts for those that skiffd runs, and those that run in the container. */
#include "base/clock.h"
#include "base/socket.h"
#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define STATE_MAX_BYTES 65536 /* what a pipe holds: it is written before there is a reader */

#define TREE_RECURSIVE 0x8000 /* AT_RECURSIVE */

/* Our mounts as peers, for a mount namespace of skiffd's own: what is mounted there below our root is mounted here, and of
 * the host nothing ever is. */
static int tree_share(const struct child *child)
{
        int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd = root_fd < 0 || sys_mount_setattr(root_fd, 1, 0, MS_SHARED) < 0
                         ? -1
                         : sys_open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | TREE_RECURSIVE);
        if (fd < 0)
                child_fail(child, STAGE_HOOK_VIEW, 0);
        (void) close(root_fd);
        return fd;
}

static void tree_unshare(const struct child *child)
{
        int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0 || sys_mount_setattr(root_fd, 1, 0, MS_PRIVATE) < 0)
                child_fail(child, STAGE_HOOK_VIEW, 0);
        (void) close(root_fd);
}

/* skiffd runs them, with our process id; the end of the socket is its giving up. */
void child_hooks_of_host(const struct child *child)
{
        static const struct wait for_ever = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        char byte = 0;
        if (!child->message->hooks.of_host)
                return;
        int fd = tree_share(child);
        struct error *e = socket_send(child->talk_fd, &byte, 1, &fd, 1, &for_ever);
        (void) close(fd);
        ssize_t n_bytes = e ? -1 : recv(child->talk_fd, &byte, 1, 0);
        while (!e && n_bytes < 0 && errno == EINTR)
                n_bytes = recv(child->talk_fd, &byte, 1, 0);
        if (n_bytes != 1) {
                errno = e ? error_errnum_of(e) : ECANCELED;
                child_fail(child, STAGE_HOOK_VIEW, 0);
        }
        tree_unshare(child);
}

/* --- in the container --- */

struct hook_run {
        const struct child *child;
        const struct container_hook *hook;
        size_t index;
        char words[HOOK_TEXT_MAX];
        size_t words_bytes;
};

_Noreturn static void hook_failed(struct hook_run *run, const char *why)
{
        char text[HOOK_TEXT_MAX];
        int saved = errno;
        int n = snprintf(text, sizeof(text), "error running startContainer hook #%u (%s): %s%s%.*s",
                         (unsigned) run->index, run->hook->path, why, run->words_bytes ? ": " : "",
                         (int) run->words_bytes, run->words);
        size_t n_bytes = n < 0 ? 0 : (size_t) n < sizeof(text) ? (size_t) n : sizeof(text) - 1;
        (void) !send(run->child->talk_fd, text, n_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        errno = saved;
        child_fail(run->child, STAGE_HOOK, run->index);
}

/* A pipe with the state in it, its writing end closed. */
static int state_pipe(struct hook_run *run)
{
        const struct hook_message *m = &run->child->message->hooks;
        char text[STATE_MAX_BYTES];
        int fds[2], n = snprintf(text, sizeof(text), "%s%d%s", m->state_begin, (int) getpid(), m->state_end);
        if (n < 0 || (size_t) n >= sizeof(text) || pipe2(fds, O_CLOEXEC) < 0)
                hook_failed(run, "its state is too long, or there is no pipe for it");
        if (write(fds[1], text, (size_t) n) != n)
                hook_failed(run, "its state does not fit into a pipe");
        (void) close(fds[1]);
        return fds[0];
}

_Noreturn static void hook_exec(const struct container_hook *hook, int in_fd, int out_fd)
{
        if (dup2(in_fd, 0) == 0 && dup2(out_fd, 1) == 1 && dup2(out_fd, 2) == 2 &&
            sys_close_range(3, CLOSE_RANGE_CLOEXEC) == 0)
                (void) execve(hook->path, hook->argv, hook->env);
        const char *why = strerror(errno);
        (void) !write(2, why, strlen(why));
        _exit(127);
}

/* Reads until the process has ended and what it left is read; false when that took too long. */
static bool hook_collect(struct hook_run *run, int pid_fd, int out_fd, int64_t until_ns)
{
        for (;;) {
                struct pollfd fds[] = { { .fd = out_fd, .events = POLLIN },
                                        { .fd = pid_fd, .events = POLLIN } };
                int64_t left_ms = (until_ns - clock_monotonic_ns()) / 1000000;
                char chunk[1024];
                if (left_ms <= 0)
                        return false;
                if (poll(fds, LENGTH(fds), left_ms < 1000 ? (int) left_ms : 1000) <= 0)
                        continue;
                ssize_t n_bytes = fds[0].revents ? read(out_fd, chunk, sizeof(chunk)) : 0;
                if (fds[0].revents && n_bytes <= 0)
                        out_fd = -1;
                if (n_bytes <= 0 && fds[1].revents)
                        return true;
                size_t room_bytes = sizeof(run->words) - run->words_bytes;
                size_t take_bytes = n_bytes < 0                     ? 0
                                    : (size_t) n_bytes < room_bytes ? (size_t) n_bytes
                                                                    : room_bytes;
                memcpy(run->words + run->words_bytes, chunk, take_bytes);
                run->words_bytes += take_bytes;
        }
}

static void hook_run(struct hook_run *run)
{
        int in_fd = state_pipe(run), out_fds[2], status = 0;
        int64_t timeout_s = run->hook->timeout_s ? run->hook->timeout_s : HOOK_TIMEOUT_S;
        if (pipe2(out_fds, O_CLOEXEC) < 0)
                hook_failed(run, "there is no pipe for its words");
        pid_t pid = sys_fork();
        if (pid == 0)
                hook_exec(run->hook, in_fd, out_fds[1]);
        int pid_fd = pid < 0 ? -1 : sys_pidfd_open(pid);
        if (pid_fd < 0)
                hook_failed(run, strerror(errno));
        (void) close(in_fd);
        (void) close(out_fds[1]);
        int64_t until_ns =
                clock_monotonic_ns() + (timeout_s > HOOK_TIMEOUT_S ? HOOK_TIMEOUT_S : timeout_s) * 1000000000;
        if (!hook_collect(run, pid_fd, out_fds[0], until_ns)) {
                (void) kill(pid, SIGKILL);
                hook_failed(run, "it took too long");
        }
        (void) close(out_fds[0]);
        (void) close(pid_fd);
        if (waitpid(pid, &status, 0) != pid || status != 0) {
                char why[64];
                (void) snprintf(why, sizeof(why),
                                WIFEXITED(status) ? "exit status %d" : "killed by signal %d",
                                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
                hook_failed(run, why);
        }
}

void child_hooks_of_container(const struct child *child)
{
        const struct container_spec *spec = &child->message->spec;
        for (size_t i = 0; i < spec->n_hooks; i++) {
                struct hook_run run = { .child = child, .hook = &spec->hooks[i], .index = i };
                hook_run(&run);
        }
}
