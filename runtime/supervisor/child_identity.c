#include "runtime/apparmor.h"
#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CAPABILITY_BITS 64
#define NOFILE_SOFT 1024
#define NOFILE_HARD 524288

static void limits_set(const struct child *child)
{
        const struct process_spec *p = child->process;
        struct rlimit own, nofile = { .rlim_cur = NOFILE_SOFT, .rlim_max = NOFILE_HARD };
        /* Never skiffd's own: programs that close all possible descriptors would take minutes. Ours is the most that
         * can be given without CAP_SYS_RESOURCE. */
        if (getrlimit(RLIMIT_NOFILE, &own) == 0 && nofile.rlim_max > own.rlim_max)
                nofile.rlim_max = own.rlim_max;
        if (nofile.rlim_cur > nofile.rlim_max)
                nofile.rlim_cur = nofile.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &nofile);
        /* Of us no core is to be written; a container's is its own affair. */
        if (getrlimit(RLIMIT_CORE, &own) == 0) {
                own.rlim_cur = own.rlim_max;
                (void) setrlimit(RLIMIT_CORE, &own);
        }
        for (size_t i = 0; i < p->n_rlimits; i++) {
                struct rlimit limit = { .rlim_cur = p->rlimits[i].soft, .rlim_max = p->rlimits[i].hard };
                /* By number: the first argument's type differs between the libcs. */
                if (syscall(__NR_prlimit64, 0, p->rlimits[i].resource, &limit, NULL) < 0)
                        child_fail(child, STAGE_RLIMIT, i);
        }
}

/* From the exec on. The procfs is our own, which nothing can lie in front of; a program that may write to its attributes could
 * be told not to by seccomp, so this comes first. The kernel takes what has a NUL, and answers ENOENT for a profile that is not
 * loaded. */
static void apparmor_set(const struct child *child)
{
        const char *name = child->process->apparmor;
        char text[sizeof("exec ") + APPARMOR_NAME_MAX];
        if (!name || !*name)
                return;
        int n = snprintf(text, sizeof(text), "exec %s", name);
        int fd = openat(child->pod->proc_fd, "self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC);
        if (fd < 0) {
                errno = errno == ENOENT ? EOPNOTSUPP
                                        : errno; /* a kernel without, not a profile that is not there */
                child_fail(child, STAGE_APPARMOR, 0);
        }
        if (write(fd, text, (size_t) n) != n)
                child_fail(child, STAGE_APPARMOR, 0);
        (void) close(fd);
}

void child_label(const struct child *child, const char *attribute)
{
        const char *context = child->process->selinux;
        char path[32];
        if (!context || !*context)
                return;
        (void) snprintf(path, sizeof(path), "self/attr/%s", attribute);
        int fd = openat(child->pod->proc_fd, path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, context, strlen(context)) != (ssize_t) strlen(context))
                child_fail(child, STAGE_SELINUX, 0);
        (void) close(fd);
}

static void seccomp_load(const struct child *child)
{
        if (!child->seccomp || child->seccomp->len_bytes == 0)
                return;
        struct sock_fprog program = { .len = (unsigned short) (child->seccomp->len_bytes /
                                                               sizeof(struct sock_filter)),
                                      .filter = (struct sock_filter *) (uintptr_t) child->seccomp->bpf };
        if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
                child_fail(child, STAGE_SECCOMP, 0);
}

static void bounding_set(const struct child *child)
{
        for (int capability = 0; capability < CAPABILITY_BITS; capability++) {
                if (child->process->capabilities.bounding >> capability & 1)
                        continue;
                if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
                        if (errno == EINVAL) /* past the last that this kernel knows */
                                return;
                        child_fail(child, STAGE_CAPABILITIES, (size_t) capability);
                }
        }
}

/* Inheritable is empty but for what is ambient, which the kernel wants in it. */
static void capabilities_set(const struct child *child)
{
        const struct capability_sets *sets = &child->process->capabilities;
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];
        for (int i = 0; i < 2; i++)
                data[i] =
                        (struct __user_cap_data_struct){ .effective = (uint32_t) (sets->effective >> 32 * i),
                                                         .permitted = (uint32_t) (sets->permitted >> 32 * i),
                                                         .inheritable =
                                                                 (uint32_t) (sets->ambient >> 32 * i) };
        if (syscall(__NR_capset, &header, data) < 0)
                child_fail(child, STAGE_CAPABILITIES, 0);
        for (int capability = 0; capability < CAPABILITY_BITS; capability++)
                if (sets->ambient >> capability & 1 &&
                    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
                        child_fail(child, STAGE_CAPABILITIES, (size_t) capability);
}

/* By number: libc's wrappers would signal other threads, and there are none. */
static void user_set(const struct child *child)
{
        const struct process_spec *p = child->process;
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
                child_fail(child, STAGE_USER, 0);
        if (syscall(__NR_setgroups, p->n_groups, p->groups) < 0)
                child_fail(child, STAGE_GROUPS, 0);
        if (syscall(__NR_setresgid, p->gid, p->gid, p->gid) < 0 ||
            syscall(__NR_setresuid, p->uid, p->uid, p->uid) < 0)
                child_fail(child, STAGE_USER, 0);
        /* A change of user makes the process dumpable again by /proc/sys/fs/suid_dumpable only; be sure. */
        (void) prctl(PR_SET_DUMPABLE, 0);
}

void child_identity(const struct child *child)
{
        limits_set(child);
        apparmor_set(child);
        child_label(child, "exec");
        bounding_set(child);
        if (child->process->no_new_privs) {
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                        child_fail(child, STAGE_NO_NEW_PRIVS, 0);
        } else {
                seccomp_load(child); /* needs CAP_SYS_ADMIN, which goes below */
        }
        user_set(child);
        capabilities_set(child);
        if (child->process->no_new_privs)
                seccomp_load(child);
}
