#include "runtime/native/protocol.h"
#include <string.h>

/* What each stage was doing, for those whose sentence needs no more than the name of the thing. */
static const char *const doing[STAGE_LAST + 1] = {
        [STAGE_NONE] = "nothing",
        [STAGE_CGROUP] = "enter the cgroup",
        [STAGE_NAMESPACES] = "enter the namespaces",
        [STAGE_CGROUP_NAMESPACE] = "make a cgroup namespace",
        [STAGE_SUPERVISOR_MOUNTS] = "take the supervisor's mounts",
        [STAGE_ROOTFS] = "enter the root filesystem",
        [STAGE_MOUNT_TARGET] = "prepare the mount point",
        [STAGE_MOUNT] = "mount",
        [STAGE_MOUNT_FALSE] = "check the filesystem at",
        [STAGE_DEVICE] = "make device",
        [STAGE_MASKED_PATH] = "mask",
        [STAGE_READONLY_PATH] = "make read-only",
        [STAGE_READONLY_ROOTFS] = "make the root filesystem read-only",
        [STAGE_STDIO] = "set up standard input and output",
        [STAGE_RLIMIT] = "set resource limits",
        [STAGE_SECCOMP] = "load the seccomp program",
        [STAGE_NO_NEW_PRIVS] = "set no_new_privs",
        [STAGE_GROUPS] = "set supplementary groups",
        [STAGE_USER] = "set user and group",
        [STAGE_CAPABILITIES] = "set capabilities",
        [STAGE_HOSTNAME] = "set the hostname",
        [STAGE_SYSCTL] = "set sysctl",
        [STAGE_CLONE] = "make a process",
        [STAGE_PID_NAMESPACE] = "enter the pid namespace",
        [STAGE_ROOT] = "make the supervisor's root",
        [STAGE_SHM] = "make the pod's /dev/shm",
        [STAGE_PIPE] = "make pipes",
        [STAGE_MEMORY] = "take memory",
        [STAGE_TERMINAL] = "make a terminal in the container's /dev/pts",
        [STAGE_USER_NAMESPACE] = "enter the pod's user namespace",
        [STAGE_HOOK_VIEW] = "show the container to its hooks",
        [STAGE_HOOK] = "run a startContainer hook",
        [STAGE_SELINUX] = "set the SELinux context",
        [STAGE_CONSOLE] = "make the terminal /dev/console",
};

/* errno as Go programs word it, since that is what users of other runtimes know: lower case. */
static const char *reason(int errnum)
{
        switch (errnum) {
        case ENOENT:
                return "no such file or directory";
        case EACCES:
                return "permission denied";
        case EPERM:
                return "operation not permitted";
        case ENOEXEC:
                return "exec format error";
        case ENOTDIR:
                return "not a directory";
        case EISDIR:
                return "is a directory";
        case E2BIG:
                return "argument list too long";
        default:
                return strerror(errnum);
        }
}

static const char *nth(char *const *texts, uint32_t index)
{
        for (uint32_t i = 0; texts && texts[i]; i++)
                if (i == index)
                        return texts[i];
        return "?";
}

/* The name of what the index names. */
static const char *subject(const struct child_report *report, const struct container_spec *spec)
{
        if (!spec)
                return "";
        switch (report->stage) {
        case STAGE_MOUNT:
        case STAGE_MOUNT_TARGET:
        case STAGE_MOUNT_FALSE:
                return report->index < spec->n_mounts ? spec->mounts[report->index].target : "?";
        case STAGE_DEVICE:
                return report->index < spec->n_devices ? spec->devices[report->index].path : "/dev";
        case STAGE_MASKED_PATH:
                return nth(spec->masked_paths, report->index);
        case STAGE_READONLY_PATH:
                return nth(spec->readonly_paths, report->index);
        case STAGE_SELINUX:
                return spec->process.selinux ? spec->process.selinux : "";
        default:
                return "";
        }
}

static struct error *exec_error(int errnum, const char *program)
{
        if (errnum == ENOENT || errnum == ENOTDIR)
                return error_new(ERROR_FAILED_PRECONDITION, "exec: \"%s\": stat %s: %s", program, program,
                                 reason(errnum));
        if (errnum == ENOEXEC)
                return error_new(ERROR_FAILED_PRECONDITION, "exec %s: %s", program, reason(errnum));
        return error_new(ERROR_FAILED_PRECONDITION, "exec: \"%s\": %s", program, reason(errnum));
}

static struct error *apparmor_error(int errnum, const struct process_spec *process)
{
        const char *profile = process && process->apparmor ? process->apparmor : "?";
        if (errnum == ENOENT)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "AppArmor profile \"%s\" is not loaded on this node", profile);
        return error_new(ERROR_FAILED_PRECONDITION, "set AppArmor profile \"%s\": %s", profile,
                         reason(errnum));
}

/* A sysctl that there is not, or a value that it does not take. */
static bool is_bad_request(const struct child_report *report)
{
        return report->stage == STAGE_SYSCTL && (report->errnum == EINVAL || report->errnum == ENOENT);
}

struct error *stage_error(const struct child_report *report, const struct container_spec *spec,
                          const struct process_spec *process)
{
        const enum error_code code =
                is_bad_request(report) ? ERROR_INVALID_ARGUMENT : ERROR_FAILED_PRECONDITION;
        const char *program = process && process->argv ? process->argv[0] : "?";
        const char *cwd = process && process->cwd ? process->cwd : "?";
        switch (report->stage) {
        case STAGE_EXEC_NOT_FOUND:
                return error_new(code, "exec: \"%s\": executable file not found in $PATH", program);
        case STAGE_EXEC:
                return exec_error(report->errnum, program);
        case STAGE_CWD:
                return error_new(code, "chdir to cwd (\"%s\") set in config.json failed: %s", cwd,
                                 reason(report->errnum));
        case STAGE_CWD_OUTSIDE:
                return error_new(code, "cwd (\"%s\") is outside of the container's root filesystem", cwd);
        case STAGE_APPARMOR:
                return apparmor_error(report->errnum, process);
        case STAGE_MOUNT_FALSE:
                return error_new(code, "%s in the container is not the filesystem that it must be",
                                 subject(report, spec));
        case STAGE_NO_CONTAINER:
                return error_new(code, "the container is not running");
        case STAGE_RUNNING_ALREADY:
                return error_new(code, "the container is running already");
        case STAGE_ENDING:
                return error_new(code, "an earlier start of the container has not ended yet");
        case STAGE_NO_INFRA:
                return error_new(code, "the pod's namespaces are gone: its infra process has ended");
        case STAGE_TOO_MANY:
                return error_new(ERROR_RESOURCE_EXHAUSTED,
                                 "too many containers, processes or clients in the pod");
        case STAGE_MESSAGE:
                return error_new(ERROR_INTERNAL, "the pod's supervisor did not understand the request");
        default:
                break;
        }
        const char *what = report->stage <= STAGE_LAST ? doing[report->stage] : NULL;
        const char *name = subject(report, spec);
        return error_new(code, "%s%s%s: %s", what ? what : "start", *name ? " " : "", name,
                         reason(report->errnum));
}
