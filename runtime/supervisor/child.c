#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <limits.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static void signals_reset(void)
{
        sigset_t none;
        (void) sigemptyset(&none);
        (void) signal(SIGPIPE, SIG_DFL); /* the one that skiff-pod changes */
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The supervisor's session keyring came from skiffd, and so from whoever started that: its keys are no container's. Where
 * the kernel has no keys, forbids them or has no room for one more, a container runs all the same. */
static void keyring_join(const struct child *child)
{
        if (syscall(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
            errno != EPERM && errno != EDQUOT)
                child_fail(child, STAGE_MEMORY, 0);
}

static void oom_score_set(const struct child *child)
{
        char text[16];
        const struct process_spec *process = child->process;
        int score = process->set_oom_score_adj ? process->oom_score_adj : 0; /* never skiff-pod's own */
        int n = snprintf(text, sizeof(text), "%d", score);
        int fd = openat(child->pod->proc_fd, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        /* Where the kernel does not let us lower it, the container runs all the same. */
        ssize_t ignored = fd < 0 ? 0 : write(fd, text, (size_t) n);
        (void) ignored;
        if (fd >= 0)
                (void) close(fd);
}

static void cgroups_enter(const struct child *child)
{
        for (size_t i = 0; i < child->n_enter_fds; i++)
                if (child->enter_fds[i] >= 0 && write(child->enter_fds[i], "0", 1) != 1)
                        child_fail(child, STAGE_CGROUP, i);
}

/* The pid namespace was chosen before the clone: it is never the process's own that changes. The network, IPC and UTS
 * namespaces are skiff-pod's. */
static void namespaces_enter(const struct child *child)
{
        if (!child->message) {
                int all = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
                if (setns(child->container_fd, all) < 0)
                        child_fail(child, STAGE_NAMESPACES, 0);
                return;
        }
        if (child->message->spec.private_cgroup_namespace && unshare(CLONE_NEWCGROUP) < 0)
                child_fail(child, STAGE_CGROUP_NAMESPACE, 0);
}

/* From here on we are the root of the pod's user namespace, and what a container mounts goes into a mount namespace that this
 * owns. What was mounted for it is locked there by the kernel: no mask comes off. The keyring is made anew, with its own. */
static void users_enter(const struct child *child)
{
        if (child->pod->userns_fd < 0)
                return;
        if (userns_enter(child->pod) < 0 || (child->message && unshare(CLONE_NEWNS) < 0))
                child_fail(child, STAGE_USER_NAMESPACE, 0);
        keyring_join(child);
}

/* Goes to the working directory; false when that needs the container's user (a home on a root-squashed NFS, say). */
static bool cwd_try(const struct child *child, bool last)
{
        const char *cwd = child->process->cwd;
        if (chdir(cwd) == 0)
                return true;
        if (errno == EACCES && !last)
                return false;
        child_fail(child, STAGE_CWD, 0);
}

/* A descriptor that leaked, or a link like /proc/self/fd/7, could have led outside (CVE-2024-21626): the kernel then
 * has no path for where we are, or one that says (unreachable). */
static void cwd_check(const struct child *child)
{
        char path[PATH_MAX];
        long n = syscall(SYS_getcwd, path, sizeof(path));
        if (n < 0 || path[0] != '/')
                child_fail(child, STAGE_CWD_OUTSIDE, 0);
}

static const char *variable(char *const *env, const char *name)
{
        size_t len_bytes = strlen(name);
        for (; *env; env++)
                if (strncmp(*env, name, len_bytes) == 0 && (*env)[len_bytes] == '=')
                        return *env + len_bytes + 1;
        return NULL;
}

/* Tries one directory of $PATH. What is not there, or no executable file, is passed over, as shells do. */
static void exec_in(const struct child *child, const char *dir, size_t dir_bytes)
{
        char path[PATH_MAX];
        const char *name = child->process->argv[0];
        int n = snprintf(path, sizeof(path), "%.*s/%s", (int) dir_bytes, dir, name);
        if (n < 0 || (size_t) n >= sizeof(path) || dir_bytes == 0)
                return;
        (void) execve(path, child->process->argv, child->process->env);
        /* ENOENT for a file that is there: its interpreter is missing, and that is what should be said. */
        if ((errno == ENOENT && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0) ||
            (errno != ENOENT && errno != EACCES && errno != ENOTDIR))
                child_fail(child, STAGE_EXEC, 0);
}

_Noreturn static void exec_now(const struct child *child)
{
        char *const *argv = child->process->argv, *const *env = child->process->env;
        (void) sys_close_range(3, CLOSE_RANGE_CLOEXEC); /* they all are; this is the second bolt */
        if (strchr(argv[0], '/')) {
                (void) execve(argv[0], argv, env);
                child_fail(child, STAGE_EXEC, 0);
        }
        const char *path = variable(env, "PATH");
        if (!path || !*path)
                path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        while (*argv[0]) {
                size_t dir_bytes = strcspn(path, ":");
                exec_in(child, path, dir_bytes);
                if (!path[dir_bytes])
                        break;
                path += dir_bytes + 1;
        }
        errno = ENOENT;
        child_fail(child, STAGE_EXEC_NOT_FOUND, 0);
}

_Noreturn void child_run(const struct child *child)
{
        /* Until exec nobody in the container may look into us: we still hold descriptors of the host's. */
        (void) prctl(PR_SET_DUMPABLE, 0);
        signals_reset();
        (void) umask(0);
        (void) setsid();
        child_label(child, "keycreate");
        if (child->pod->userns_fd < 0)
                keyring_join(child);
        cgroups_enter(child);
        oom_score_set(child);
        namespaces_enter(child);
        child_stdio_pipes(child);
        if (child->message)
                child_mounts(child);
        users_enter(child);
        if (child->console_fd >= 0)
                child_terminal(child);
        else
                child_stdio_null(child);
        bool there = cwd_try(child, false);
        child_identity(child);
        if (!there)
                (void) cwd_try(child, true);
        cwd_check(child);
        if (child->message)
                child_hooks_of_container(child);
        (void) umask(child->process->umask);
        exec_now(child);
}
